"""World. Real workers on their seats: told, heard, killed, stopped, drained."""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trio

from meshtrio.config.schema import Config, Log
from meshtrio.fleet import Fleet, Seat, Told
from meshtrio.intercept.netns import Netns
from meshtrio.messages import (
    CloseDoor,
    KnowWorkload,
    OpenDoor,
    Settings,
    Tally,
    WorkloadName,
)
from meshtrio.observe.process import is_alive, usage
from meshtrio.outcome import Outcome

pytestmark = pytest.mark.world

SETTINGS = Settings(Config(log=Log(level="error")))


class Crew:
    """A fleet at work, and what its workers told."""

    def __init__(self, count: int) -> None:
        self.fleet = Fleet(count, self._hear)
        self.heard: list[tuple[int, Told]] = []
        self.buried = 0
        self.fleet.buried = self._bury

    async def _hear(self, seat: Seat, message: Told) -> None:
        await trio.lowlevel.checkpoint()
        self.heard.append((seat.number, message))

    def _bury(self) -> None:
        self.buried += 1

    @property
    def pids(self) -> list[int]:
        return [seat.pid for seat in self.fleet.seats]

    def ended(self) -> int:
        """Count the connections that workers say have ended at a door that someone dialled himself."""
        return sum(
            count.connections
            for _, message in self.heard
            if isinstance(message, Tally)
            for count in message.counts
            if count.outcome is Outcome.NO_DESTINATION
        )


async def eventually(true: Callable[[], object], patience_s: float = 5) -> None:
    with trio.fail_after(patience_s):
        while not true():
            await trio.sleep(0.01)


@contextlib.asynccontextmanager
async def at_work(count: int) -> AsyncIterator[Crew]:
    """Let workers work until the block ends; then drain them."""
    crew = Crew(count)
    crew.fleet.tell(("settings",), SETTINGS)
    try:
        async with trio.open_nursery() as seats:
            for seat in crew.fleet.seats:
                with trio.fail_after(20):
                    await seats.start(crew.fleet.keep, seat)
            try:
                yield crew
            except BaseException:
                seats.cancel_scope.cancel()
                raise
            with trio.fail_after(5):
                if not crew.fleet.draining:
                    crew.fleet.drain(0.5)
                await eventually(lambda: not any(crew.pids))
    finally:
        crew.fleet.close()


@contextlib.contextmanager
def door(number: int = 1) -> Iterator[tuple[OpenDoor, list[int], socket.socket]]:
    """Make a door on loopback, and all that a worker needs to serve it."""
    netns = Netns.current()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        opened = OpenDoor(number, "outbound", "nft", netns.id, WorkloadName(7, "shop"), 1)
        yield opened, [netns.descriptor, listener.fileno()], listener
    netns.close()


async def dial(listener: socket.socket) -> bool:
    """Dial the door itself, and say whether a worker refused that."""
    with trio.move_on_after(3):
        try:
            async with await trio.open_tcp_stream(*listener.getsockname()) as stream:
                return await stream.receive_some(1) == b""
        except (OSError, trio.BrokenResourceError):
            return True  # reset, maybe before connect() has returned
    return False


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


# A seat alone


def test_the_newest_word_on_a_subject_replaces_the_older_and_its_descriptors() -> None:
    seat = Seat(3)
    one = os.memfd_create("one")
    before = descriptors_of(os.getpid())
    with contextlib.suppress(OSError):
        for number in range(1000):
            seat.tell(("a", number % 2), CloseDoor(number), [one])
    assert descriptors_of(os.getpid()) < before + 10
    assert [message for message, _ in seat.waiting.values()] == [CloseDoor(998), CloseDoor(999)]
    os.close(one)
    seat.empty()
    assert not seat.waiting


def test_a_told_word_is_untold_with_its_descriptors() -> None:
    fleet = Crew(2).fleet
    one = os.memfd_create("one")
    fleet.tell(("a",), CloseDoor(1), [one])
    fleet.tell(("a",), CloseDoor(2), [one])
    os.close(one)
    fleet.untell(("a",))
    fleet.untell(("a",))  # again: nothing happens
    fleet.close()  # and nothing is left open


@pytest.mark.parametrize(("count", "seats", "inside"), [(0, 1, True), (1, 1, False), (3, 3, False)])
def test_how_many_seats(count: int, seats: int, inside: bool) -> None:
    fleet = Crew(count).fleet
    assert (len(fleet.seats), fleet.inside) == (seats, inside)


# Workers


@pytest.mark.parametrize("count", [0, 1, 2])
async def test_workers_serve_what_they_are_told_and_say_what_became_of_it(count: int) -> None:
    async with at_work(count) as crew:
        assert all(seat.ready.is_set() and is_alive(seat.pid) for seat in crew.fleet.seats)
        assert (os.getpid() in crew.pids) == (count == 0)
        with door() as (opened, descriptors, listener):
            crew.fleet.tell(("door", 1), opened, descriptors)
            assert await dial(listener)
            assert await dial(listener)
            await eventually(lambda: crew.ended() == 2)
            assert {len(one.connections) for _, one in await crew.fleet.live()} == {0}
            crew.fleet.tell(("door", 1), CloseDoor(1))
            crew.fleet.untell(("door", 1))
            await trio.sleep(0.1)
            stream = await trio.open_tcp_stream(*listener.getsockname())
            async with stream:
                with trio.move_on_after(0.2) as nobody:
                    await stream.receive_some(1)
                assert nobody.cancelled_caught


@pytest.mark.parametrize("count", [0, 2])
async def test_a_drain_ends_the_workers_and_keeping_them(count: int) -> None:
    async with at_work(count) as crew:
        pids = crew.pids
        began = trio.current_time()
        crew.fleet.drain(5)
        await eventually(lambda: not any(crew.pids))
        assert trio.current_time() - began < 3  # nobody was connected
        assert [seat.restarts for seat in crew.fleet.seats] == [0] * len(pids)
        assert crew.buried == len(pids)
    assert not any(is_alive(pid) for pid in pids if pid != os.getpid())


async def test_a_killed_worker_is_replaced_and_knows_everything_again() -> None:
    async with at_work(2) as crew:
        with door() as (opened, descriptors, listener):
            crew.fleet.tell(("workload", 7), KnowWorkload(WorkloadName(7, "shop")))
            crew.fleet.tell(("door", 1), opened, descriptors)
            first, second = crew.fleet.seats
            first.interests["something"] = None
            second.interests["something"] = None
            old, other = crew.pids
            began = trio.current_time()
            os.kill(old, signal.SIGKILL)
            await eventually(lambda: first.pid != old)
            await eventually(first.ready.is_set)
            took_s = trio.current_time() - began
            assert took_s < 1.5
            assert (first.restarts, second.restarts, crew.buried) == (1, 0, 1)
            assert first.interests == {}  # the new one has asked nothing yet
            assert second.interests == {"something": None}
            assert second.pid == other
            # Only the new one is left to serve the door.
            os.kill(other, signal.SIGSTOP)
            try:
                assert await dial(listener)
                await eventually(lambda: crew.ended() >= 1)
                assert {number for number, _ in crew.heard} == {0}
            finally:
                os.kill(other, signal.SIGCONT)


async def test_a_worker_that_is_killed_amid_being_told_is_replaced_too() -> None:
    async with at_work(1) as crew:
        (seat,) = crew.fleet.seats
        os.kill(seat.pid, signal.SIGSTOP)
        for number in range(400):
            crew.fleet.tell(("workload", number), KnowWorkload(WorkloadName(number, "x" * 2000)))
        await trio.sleep(0.05)
        assert seat.waiting  # the line is full
        os.kill(seat.pid, signal.SIGKILL)
        await eventually(lambda: seat.restarts == 1)
        await eventually(seat.ready.is_set)
        assert len(await crew.fleet.live()) == 1


async def test_a_worker_that_dies_again_and_again_is_not_replaced_in_a_rush() -> None:
    async with at_work(1) as crew:
        (seat,) = crew.fleet.seats
        began = trio.current_time()
        for restarts in range(1, 4):
            os.kill(seat.pid, signal.SIGKILL)
            await eventually(lambda wanted=restarts: seat.restarts == wanted)  # type: ignore[misc]
            await eventually(seat.ready.is_set)
        assert trio.current_time() - began > 0.8 * (0.1 + 0.2 + 0.4)


async def test_a_worker_that_dies_before_it_is_ready_delays_the_start_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nmkdir {tmp_path}/once 2>/dev/null && exit 1\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    async with at_work(1) as crew:
        (seat,) = crew.fleet.seats
        assert seat.restarts == 1
        assert seat.ready.is_set()


async def test_a_stopped_worker_costs_bounded_memory_and_hears_the_newest_later() -> None:
    async with at_work(1) as crew:
        (seat,) = crew.fleet.seats
        os.kill(seat.pid, signal.SIGSTOP)
        with door() as (opened, descriptors, listener):
            before = usage()
            for number in range(50_000):
                for subject in range(4):
                    crew.fleet.tell(("workload", subject), KnowWorkload(WorkloadName(subject, f"w{number}")))
                if number % 10 == 0:
                    crew.fleet.tell(("door", 1), opened, descriptors)
                if number % 500 == 0:
                    await trio.lowlevel.checkpoint()
            await trio.sleep(0.05)
            assert len(seat.waiting) <= 6
            grown = usage()
            assert grown.rss_bytes - before.rss_bytes < 8 << 20
            # Six for the table and what is waiting; a few hundred words have gone into the socket.
            assert grown.descriptors - before.descriptors <= 8
            os.kill(seat.pid, signal.SIGCONT)
            assert await dial(listener)
            await eventually(lambda: crew.ended() == 1)
            assert seat.restarts == 0


async def test_a_report_leaves_out_a_silent_worker_after_a_second() -> None:
    async with at_work(3) as crew:
        began = trio.current_time()
        assert [seat.number for seat, _ in await crew.fleet.live()] == [0, 1, 2]
        assert trio.current_time() - began < 0.9
        stopped = crew.pids[1]
        os.kill(stopped, signal.SIGSTOP)
        try:
            began = trio.current_time()
            reports = await crew.fleet.live()
            assert [seat.number for seat, _ in reports] == [0, 2]
            assert 0.9 < trio.current_time() - began < 1.5
        finally:
            os.kill(stopped, signal.SIGCONT)
        # What it says late is no answer to the next question.
        reports = await crew.fleet.live()
        assert [seat.number for seat, _ in reports] == [0, 1, 2]
        assert len({report.number for _, report in reports}) == 1


@pytest.mark.parametrize("count", [0, 2])
async def test_two_who_ask_at_once_both_get_all_answers(count: int) -> None:
    async with at_work(count) as crew:
        answers: list[list[int]] = []

        async def ask() -> None:
            answers.append([report.number for _, report in await crew.fleet.live()])

        async with trio.open_nursery() as asking:
            for _ in range(3):
                asking.start_soon(ask)
        assert sorted(answers) == [[number] * max(1, count) for number in (1, 2, 3)]


async def test_cancelled_it_leaves_no_process() -> None:
    crew = Crew(1)
    crew.fleet.tell(("settings",), SETTINGS)
    async with trio.open_nursery() as seats:
        await seats.start(crew.fleet.keep, crew.fleet.seats[0])
        pid = crew.pids[0]
        os.kill(pid, signal.SIGSTOP)
        began = trio.current_time()
        seats.cancel_scope.cancel()
    assert trio.current_time() - began < 3
    assert not is_alive(pid)
    crew.fleet.close()
