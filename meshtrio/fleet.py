"""Shell. The workers of an agent: started, told, heard, started again. Does not know what they are told.

What a worker should know is kept as a table, newest word by subject, and sent from there. So a worker
that is started again gets everything, and one that does not read (SIGSTOP) costs no memory: words
about one subject replace each other until it reads on.
"""

import os
import random
import signal
import socket
import subprocess
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from meshtrio import program
from meshtrio.channel import Channel, ChannelClosed, SocketChannel, local_pair
from meshtrio.messages import Drain, Forget, Live, Observed, Ready, Resolve, Tally, ToAgent, ToWorker
from meshtrio.observe import log
from meshtrio.questions import Loads, Picked, Report

Subject = tuple[object, ...]
Told = Resolve | Forget | Tally | Observed
Answer = Live | Loads | Picked
A = TypeVar("A", Live, Loads, Picked)
Asked = Callable[["Seat", Told], Awaitable[None]]

STEADY_S = 10.0
"""Whoever lived this long is started again at once; who died sooner waits a little, up to `WAIT_S`."""
WAIT_S = 5.0


class Seat:
    """One worker's place, whoever sits on it."""

    def __init__(self, number: int) -> None:
        """Begin empty."""
        self.number = number
        self.pid = 0
        self.restarts = 0
        self.began = 0.0
        self.ready = trio.Event()
        self.reads = trio.Event()
        self.waiting: OrderedDict[Subject, tuple[ToWorker, list[int]]] = OrderedDict()
        """What is still to be sent. Bounded by the number of subjects."""
        self.interests: dict[object, object] = {}
        """What this worker asked about; the agent keeps it, and it goes with the worker."""
        self.reports: dict[int, Answer] = {}
        self.wants_report = trio.Event()

    def tell(self, subject: Subject, message: ToWorker, descriptors: Sequence[int] = ()) -> None:
        """Send soon. A word on the same subject that was not sent yet is replaced."""
        old = self.waiting.pop(subject, None)
        if old is not None:
            _close(old[1])
        self.waiting[subject] = (message, [os.dup(descriptor) for descriptor in descriptors])
        self.reads.set()

    def empty(self) -> None:
        """Forget what was to be said and what was asked: the worker has gone."""
        for _, descriptors in self.waiting.values():
            _close(descriptors)
        self.waiting.clear()
        self.interests.clear()
        self.ready = trio.Event()
        self.pid = 0


class Fleet:
    """All seats, and the table of what every worker should know."""

    def __init__(self, count: int, asked: Asked) -> None:
        """`count` workers, 0 for one inside this process. `asked` gets what they ask and tell."""
        self.inside = count == 0
        self.seats = [Seat(number) for number in range(max(1, count))]
        self._asked = asked
        self._table: OrderedDict[Subject, tuple[ToWorker, list[int]]] = OrderedDict()
        self._reports = 0
        self._reporting = trio.Lock()
        self.draining = False
        self.buried: Callable[[], object] = int
        """Called when a worker has gone."""

    def tell(self, subject: Subject, message: ToWorker, descriptors: Sequence[int] = ()) -> None:
        """Let every worker know, also those that are started later. The descriptors are duplicated."""
        old = self._table.get(subject)
        # Replaced in its place: what depends on it (doors on maps) stays behind it.
        self._table[subject] = (message, [os.dup(descriptor) for descriptor in descriptors])
        if old is not None:
            _close(old[1])
        for seat in self.seats:
            seat.tell(subject, message, descriptors)

    def untell(self, subject: Subject) -> None:
        """Forget a subject: workers that are started later need not hear of it."""
        old = self._table.pop(subject, None)
        if old is not None:
            _close(old[1])

    def close(self) -> None:
        """Forget everything; workers that live are not told."""
        for subject in list(self._table):
            self.untell(subject)
        for seat in self.seats:
            seat.empty()

    async def keep(self, seat: Seat, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a worker on this seat until a drain has emptied it; ready when the first one is."""
        wait_s = 0.0
        while True:
            await trio.sleep(wait_s)
            seat.began = time.monotonic()
            try:
                if self.inside:
                    await self._sit_inside(seat, task_status)
                else:
                    await self._sit(seat, task_status)
            except OSError as cause:
                log.error("a worker cannot be started", worker=seat.number, why=cause.strerror)
            if seat.ready.is_set():
                task_status = trio.TASK_STATUS_IGNORED
            seat.empty()
            self.buried()
            if self.draining:
                return
            seat.restarts += 1
            lived = time.monotonic() - seat.began
            wait_s = 0.0 if lived > STEADY_S else min(WAIT_S, max(0.1, 2 * wait_s)) * random.uniform(0.8, 1.2)
            log.error("a worker has gone; starting another", worker=seat.number, lived_s=round(lived, 1))

    def drain(self, drain_s: float) -> None:
        """Let every worker end its connections until the deadline, and then end. Again, to move it."""
        self.draining = True
        for seat in self.seats:
            seat.tell(("drain",), Drain(drain_s))

    async def live(self) -> list[tuple[Seat, Live]]:
        """Ask all workers for their connections; those that do not answer within a second are left out."""
        return await self.ask(Report, Live)

    async def ask(self, question: Callable[[int], ToWorker], kind: type[A]) -> list[tuple[Seat, A]]:
        """Ask all ready workers; who is silent for a second is left out. `question` makes the message."""
        async with self._reporting:
            self._reports += 1
            number = self._reports
            asked = [seat for seat in self.seats if seat.ready.is_set()]
            for seat in asked:
                seat.reports.clear()
                seat.tell(("report",), question(number))
            with trio.move_on_after(1):
                for seat in asked:
                    while number not in seat.reports:
                        await seat.wants_report.wait()
            reports = [(seat, seat.reports.get(number)) for seat in asked]
        return [(seat, report) for seat, report in reports if isinstance(report, kind)]

    async def _sit(self, seat: Seat, task_status: trio.TaskStatus[None]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        line: SocketChannel[ToAgent, ToWorker] = SocketChannel(ours, ToAgent)
        try:
            with theirs:
                process = await trio.lowlevel.open_process(
                    program.command("meshtrio.worker_process", str(theirs.fileno())),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    # What a terminal sends to its group (^C, ^\\, hang-up) is for the agent.
                    start_new_session=True,
                )
            seat.pid = process.pid
            try:
                await self._converse(seat, line, task_status)
            finally:
                await _reap(process, patient=self.draining)
        finally:
            line.close()

    async def _sit_inside(self, seat: Seat, task_status: trio.TaskStatus[None]) -> None:
        # An agent with workers of their own has no use for what moves bytes.
        from meshtrio.worker import Worker

        pair: tuple[Channel[ToAgent, ToWorker], Channel[ToWorker, ToAgent]] = local_pair()
        ours, theirs = pair
        seat.pid = os.getpid()
        async with trio.open_nursery() as inside:
            inside.start_soon(Worker(theirs).run)
            try:
                await self._converse(seat, ours, task_status)
            finally:
                ours.close()

    async def _converse(
        self, seat: Seat, line: Channel[ToAgent, ToWorker], task_status: trio.TaskStatus[None]
    ) -> None:
        for subject, (message, descriptors) in self._table.items():
            seat.tell(subject, message, descriptors)
        async with trio.open_nursery() as talk:
            talk.start_soon(self._say, seat, line)
            try:
                while True:
                    heard, _ = await line.receive()
                    match heard:
                        case Ready():
                            if not seat.ready.is_set():
                                seat.ready.set()
                                task_status.started()
                        case Live() | Loads() | Picked():
                            seat.reports[heard.number] = heard
                            seat.wants_report.set()
                            seat.wants_report = trio.Event()
                        case _:
                            await self._asked(seat, heard)
            except ChannelClosed:
                talk.cancel_scope.cancel()

    async def _say(self, seat: Seat, line: Channel[ToAgent, ToWorker]) -> None:
        while True:
            while seat.waiting:
                _, (message, descriptors) = seat.waiting.popitem(last=False)
                try:
                    await line.send(message, descriptors)
                except ChannelClosed:
                    return
                finally:
                    _close(descriptors)
            seat.reads = trio.Event()
            await seat.reads.wait()


async def _reap(process: trio.Process, *, patient: bool) -> None:
    """Wait for a worker that hung up; one that does not end by itself is killed."""
    # Also when cancelled: nobody else would wait for it. After SIGKILL only the kernel can be slow.
    with trio.move_on_after(30, shield=True):
        # It has closed its line, so it is ending; ten seconds are for its interpreter to come down.
        with trio.move_on_after(10 if patient else 1):
            await process.wait()
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
