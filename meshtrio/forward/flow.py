"""Shell. One pair of TCP sockets, and how each end of the one is passed on to the other.

Synchronous: knows two lanes, does not know trio, epoll objects, clocks, or other flows.

The table of ends (the same table, line by line, is in tests/forward/test_flow.py):

    one side                           the other side sees                          outcome
    FIN                                all its bytes, FIN; the way back stays open  -
    FIN, and FIN from the other        all bytes, FIN, both ways                    CARRIED
    RST                                all bytes before it, then RST                *_RESET
    FIN, then RST                      all bytes, FIN, then RST                     *_RESET
    RST while the other reads slowly   all bytes at its own pace, then RST          *_RESET
    RST while the other does not read  what fits, RST after `drain_s`               *_RESET
    RST of both                        -                                            the first one seen
    keepalive found nobody             as RST                                       *_RESET
    silence for `idle_s`               RST                                          IDLE
    we are cancelled or killed         RST; never a FIN that was not sent to us     DRAINED

A RST waits until the other side's kernel has acknowledged what came before, because our own RST throws away
the send queue. Linux keeps received bytes readable after a RST, so the peer reads as much as it would have
read without us, and then ECONNRESET: a truncated answer never looks whole.
"""

import socket
from collections.abc import Callable

import msgspec

from meshtrio.forward.bulk_lane import BulkLane
from meshtrio.forward.lane import Lane, Way
from meshtrio.forward.sealed import Sealed
from meshtrio.forward.sealed_lane import SealedLane, SealingLane
from meshtrio.forward.tcp import arm_reset, close_cleanly, unacked_bytes
from meshtrio.forward.workbench import Workbench
from meshtrio.outcome import Outcome


class Ending(msgspec.Struct, frozen=True):
    """How one flow ended. The bytes are those that the receiving side's kernel queue took from us."""

    outcome: Outcome
    sent_bytes: int
    """Client to upstream."""
    received_bytes: int
    """Upstream to client."""


class Flow:
    """Two sockets whose bytes go to each other. Owns both, and closes both when it is over.

    `heed` is called when `dead` is set, and when the flow is over: then before the sockets are closed.
    """

    __slots__ = ("bug", "client_lane", "dead", "ending", "heed", "upstream_lane")

    def __init__(
        self,
        client: socket.socket | Sealed,
        upstream: socket.socket | Sealed,
        *,
        bench: Workbench,
        heed: Callable[["Flow"], None],
    ) -> None:
        for sock in (client, upstream):
            sock.setblocking(False)  # one socket that blocks would stop every flow
            arm_reset(sock)
        self.heed = heed
        self.client_lane = _lane(self, client, upstream, bench=bench)
        self.upstream_lane = _lane(self, upstream, client, bench=bench)
        self.client_lane.back, self.upstream_lane.back = self.upstream_lane, self.client_lane
        self.dead: Lane | None = None
        """The lane whose source died first. The other side is still owed what came before."""
        self.ending: Ending | None = None
        self.bug: Exception | None = None

    @property
    def sent_bytes(self) -> int:
        """What went from client to upstream so far."""
        return self.client_lane.moved_bytes

    @property
    def received_bytes(self) -> int:
        """What went from upstream to client so far."""
        return self.upstream_lane.moved_bytes

    @property
    def owed_bytes(self) -> int:
        """What the living side of a dying flow has not acknowledged; 1 while the dead side may have more."""
        if self.ending is not None or self.dead is None:
            return 0
        sink = self.dead.sink
        encrypted = len(sink.owed) if isinstance(sink, Sealed) else 0
        return self.dead.held_bytes + encrypted + (self.dead.way is Way.OPEN) + unacked_bytes(sink)

    def copy_only(self) -> None:
        """Move its bytes by copying them, whatever its relay allows."""
        for lane in (self.client_lane, self.upstream_lane):
            if isinstance(lane, BulkLane):
                lane.splices = False

    def died(self, lane: Lane, *, error_taken: bool) -> None:
        """Begin to die: nothing goes to the dead side any more, and what it sent before goes on.

        A read of nothing then still means FIN, since Linux shows a RST behind a FIN only to writers. But when
        a call of ours has taken the error from the socket, reads show nothing in its place: that is no FIN.
        """
        if self.ending is not None:
            return
        if self.dead is None:
            self.dead = lane
            if error_taken:
                lane.on_nothing = Way.SPENT
            lane.back.abandon()
            lane.eager = True
            lane.pump()
            self.settle()
            if self.ending is None:
                self.heed(self)
        elif self.dead is lane:
            self.settle()
        else:
            self.cut()

    def settle(self) -> None:
        """Be over, if both directions are done, or if a dying flow owes nothing any more."""
        if self.ending is not None:
            return
        if self.dead is None:
            if self.client_lane.way is Way.SHUT and self.upstream_lane.way is Way.SHUT:
                self._over(Outcome.CARRIED)
        elif self.owed_bytes == 0:
            self.cut()

    def cut(self, outcome: Outcome = Outcome.DRAINED) -> None:
        """Be over now, by RST to both sides; a dying flow ends as what it is dying of."""
        if self.dead is not None:
            reset = Outcome.UPSTREAM_RESET if self.received_bytes else Outcome.UPSTREAM_RESET_EARLY
            outcome = Outcome.CLIENT_RESET if self.dead is self.client_lane else reset
        self._over(outcome)

    def broke(self, bug: Exception) -> None:
        """Be over by RST to both sides, and keep the bug for whoever waits for the ending."""
        self.bug = bug
        self._over(Outcome.OUR_BUG)

    def forget(self) -> None:
        """Untie what points at each other, so that memory comes back without the cycle collector.

        The flow must be over, and no call into it may be under way. Its counts and its ending stay.
        """
        for lane in (self.client_lane, self.upstream_lane):
            del lane.back, lane.flow, lane.tools

    def _over(self, outcome: Outcome) -> None:
        if self.ending is not None:
            return
        self.ending = Ending(outcome, self.sent_bytes, self.received_bytes)
        for lane in (self.client_lane, self.upstream_lane):
            lane.abandon()
            lane.watch = None
        self.heed(self)
        for lane in (self.client_lane, self.upstream_lane):
            if outcome is Outcome.CARRIED:
                close_cleanly(lane.source)
            else:
                lane.source.close()  # a RST, see `arm_reset`


def _lane(
    flow: Flow, source: socket.socket | Sealed, sink: socket.socket | Sealed, *, bench: Workbench
) -> Lane:
    if not isinstance(source, Sealed):
        if isinstance(sink, Sealed):
            return SealingLane(flow, source, sink, bench=bench)
        return BulkLane(flow, source, sink, bench=bench)
    if isinstance(sink, Sealed):
        raise TypeError("TLS at both ends of one flow")
    return SealedLane(flow, source, sink, bench=bench)
