"""Shell. The task that moves the bytes of all connections of one worker.

Knows flows by their file descriptors, the epoll object, and trio; does not know services or policy.

A connection is one trio task, which is parked while bytes flow. One loop moves the bytes of all. It owns an
epoll object in which each socket is registered once (edge-triggered, so there is no epoll_ctl an event), and
asks trio only for "wake me when this epoll object has something to say". So trio's own cost, about 15 us an
event, is paid once a batch, not once a read. Every `stretch_s` the loop lets the other tasks have a turn.
"""

import select
import socket
import time
from collections.abc import Collection

import trio

from meshtrio.forward.flow import Ending, Flow
from meshtrio.forward.lane import INTEREST, Lane, Watch
from meshtrio.forward.lookout import Lookout
from meshtrio.forward.pipes import MOST_PIPES
from meshtrio.forward.sealed import Sealed
from meshtrio.forward.silence import Silence
from meshtrio.forward.tcp import close_with_reset
from meshtrio.forward.workbench import RelayLimits, Workbench
from meshtrio.outcome import Outcome

_BATCH_EVENTS = 256
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.001, 0.05


class Relay:
    """Moves bytes between pairs of sockets while `run` runs; a relay that does not run cuts at once."""

    def __init__(self, limits: RelayLimits | None = None) -> None:
        self._limits = limits or RelayLimits()
        self._bench = Workbench(self._limits)
        self._epoll: select.epoll | None = None
        # Bounded by the worker's limit of connections: two lanes, one flow, one parked task for each.
        self._lanes: dict[int, Lane] = {}
        self._flows: dict[Flow, Silence] = {}
        self._parked: dict[Flow, trio.lowlevel.Task] = {}
        self._woke = False
        """Other tasks have something to do: no time to look out for more bytes."""

    @property
    def flows(self) -> Collection[Flow]:
        """The flows that are not over, with their live byte counts. A view: copy it before an await."""
        return self._flows.keys()

    def allow_splice(self, *, allowed: bool) -> None:
        """Let much be spliced between plain sockets from now on, or copied; also of flows that are here."""
        self._bench.pipes.allow(MOST_PIPES if allowed else 0)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Move bytes until cancelled. Then every flow is cut by RST, and ends as DRAINED."""
        with select.epoll() as epoll:
            self._epoll = epoll
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._end_the_idle)
                    task_status.started()
                    await self._keep_moving(epoll)
            finally:
                for flow in list(self._flows):
                    flow.cut()
                self._epoll = None
                self._bench.again.clear()
                self._bench.pipes.close()

    async def carry(
        self,
        client: socket.socket | Sealed,
        upstream: socket.socket | Sealed,
        *,
        idle_s: float,
        watch: Watch | None = None,
    ) -> Ending:
        """Carry bytes both ways until both are done, and say how it ended.

        Both sockets, connected and non-blocking, are closed when this returns, however it returns. If it is
        cancelled both get a RST. `idle_s` of 0 or less means never. See `join` for live counts. Raises only
        what `watch` raised (or a bug of ours), after a RST to both.
        """
        return await self.ended(self.join(client, upstream, idle_s=idle_s, watch=watch))

    def join(
        self,
        client: socket.socket | Sealed,
        upstream: socket.socket | Sealed,
        *,
        idle_s: float,
        watch: Watch | None = None,
        watch_answer: Watch | None = None,
    ) -> Flow:
        """Begin to carry, and give a flow with live counts. Await `ended` on it next, without fail.

        `watch` sees what the client says first, `watch_answer` what the upstream does.
        """
        try:
            flow = Flow(client, upstream, bench=self._bench, heed=self._heed)
            flow.client_lane.watch, flow.upstream_lane.watch = watch, watch_answer
            if self._epoll is None:
                flow.cut()
                return flow
            for sock, lane in ((client, flow.client_lane), (upstream, flow.upstream_lane)):
                self._epoll.register(sock, INTEREST)
                self._lanes[sock.fileno()] = lane
        except BaseException:  # e.g. ENOSPC: fs.epoll.max_user_watches
            for sock in (client, upstream):
                self._lanes.pop(sock.fileno(), None)
                close_with_reset(sock)
            raise
        self._flows[flow] = Silence(idle_s, time.monotonic())
        return flow

    async def ended(self, flow: Flow) -> Ending:
        """Wait until the flow is over. If cancelled, both sides get a RST, and `flow.ending` says so."""
        try:
            if flow.ending is not None:
                await trio.lowlevel.cancel_shielded_checkpoint()
            while flow.ending is None and flow.dead is None:
                await self._park(flow)
            if flow.ending is None:
                await self._let_drain(flow)
        finally:
            flow.cut()
            flow.forget()
        if flow.bug is not None:
            raise flow.bug
        assert flow.ending is not None
        return flow.ending

    async def _park(self, flow: Flow) -> None:
        def unpark(_: object) -> trio.lowlevel.Abort:
            del self._parked[flow]
            return trio.lowlevel.Abort.SUCCEEDED

        self._parked[flow] = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(unpark)

    async def _let_drain(self, flow: Flow) -> None:
        """Wait for a dying flow until the living side has acknowledged all, or makes no progress."""
        wait_s = _FIRST_WAIT_S
        since, last = trio.current_time(), (-1, -1)
        while flow.ending is None:
            flow.settle()
            now, progress = trio.current_time(), (flow.owed_bytes, flow.sent_bytes + flow.received_bytes)
            if progress != last:
                since, last = now, progress
            elif now - since >= self._limits.drain_s:
                flow.cut()
            if flow.ending is None:
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _heed(self, flow: Flow) -> None:
        """Wake the connection's task; forget the sockets of a flow that is over, before they are closed."""
        if flow.ending is not None and self._flows.pop(flow, None) is not None and self._epoll is not None:
            for lane in (flow.client_lane, flow.upstream_lane):
                # Explicit, since close() does not unregister a socket that another process still holds.
                self._epoll.unregister(lane.source)
                del self._lanes[lane.source.fileno()]
        task = self._parked.pop(flow, None)
        if task is not None:
            trio.lowlevel.reschedule(task)
            self._woke = True

    async def _keep_moving(self, epoll: select.epoll) -> None:
        poll, lanes, bench = epoll.poll, self._lanes, self._bench
        monotonic, stretch_s = time.monotonic, self._limits.stretch_s
        lookout = Lookout(poll, look_s=self._limits.look_s, batch_events=_BATCH_EVENTS)
        began = monotonic()
        while True:
            events = poll(0, _BATCH_EVENTS)
            if not events and not bench.again and not self._woke:
                events = lookout.look()
            if not events and not bench.again:
                self._woke = False
                await trio.lowlevel.wait_readable(epoll.fileno())
                began = monotonic()
                continue
            for fd, mask in events:
                lane = lanes.get(fd)
                if lane is not None:  # None: its flow ended earlier in this batch
                    try:
                        lane.happened(mask)
                    except Exception as bug:  # noqa: BLE001  one flow's bug must not stop the others
                        lane.flow.broke(bug)
            if bench.again:
                self._go_on()
            if monotonic() - began > stretch_s:
                await trio.lowlevel.checkpoint()
                began = monotonic()

    def _go_on(self) -> None:
        turns, self._bench.again = self._bench.again, []
        for lane in turns:
            try:
                lane.go_on()
            except Exception as bug:  # noqa: BLE001  as above
                lane.flow.broke(bug)

    async def _end_the_idle(self) -> None:
        while True:
            await trio.sleep(self._limits.sweep_s)
            now = time.monotonic()
            # Not pairs: of 10,000 at rest those would let Python look through all its objects, for 140 ms.
            for flow in list(self._flows):
                silence = self._flows.get(flow)
                if silence is not None and now >= silence.look_at and silence.is_over(flow, now):
                    flow.cut(Outcome.IDLE)
