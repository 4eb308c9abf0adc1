"""Shell. The direction of a flow whose source is the end of a TLS connection.

As lane.py, but for what reads tell. A read that decrypts takes more bytes from the kernel than it gives, and
may know of more that epoll will never speak of: then it says so (`Sealed.more`). And an end of the stream is
always one that was sent to us, whatever became of the socket since.
"""

import select
import socket

from meshtrio.forward.lane import OPEN, Lane, Owner, Way
from meshtrio.forward.sealed import Sealed
from meshtrio.forward.workbench import Workbench

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_UNUSUAL = select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLERR | select.EPOLLHUP


class SealedLane(Lane):
    """One direction of a flow, out of TLS."""

    __slots__ = ("sealed",)

    def __init__(
        self, flow: Owner, source: Sealed, sink: socket.socket | Sealed, *, bench: Workbench
    ) -> None:
        super().__init__(flow, source, sink, bench=bench)
        self.sealed = source

    def happened(self, mask: int) -> None:
        """Act on what epoll says about the source socket, which is also the sink of the lane back."""
        sealed = self.sealed
        if sealed.owed and mask & _OUT and self.back.held is None:
            try:
                sealed.flush()  # what reading made it say; nobody else waits for that
            except OSError:
                self.flow.died(self, error_taken=True)
                return
        if mask & _UNUSUAL:
            super().happened(mask | _IN if sealed.more else mask)
            return
        if self.back.held is not None and mask & _OUT:
            self.back.flush()
        # The handshake's last read may have brought the first bytes; an event comes for every new socket.
        if (mask & _IN or sealed.more) and not self.queued:
            self.pump()

    def pump(self) -> None:
        """Move bytes until the source is empty, the sink is full, or the turn is over."""
        if self.way is not OPEN or self.held is not None:
            return
        bench, sealed, receive = self.bench, self.sealed, self.receive
        scratch, left = bench.scratch, bench.limits.turn_bytes
        while left > 0:
            asked = self.read_bytes
            try:
                got = receive(scratch, asked)
            except BlockingIOError:
                return
            except OSError:
                self.way = Way.SPENT
                self.flow.died(self, error_taken=True)
                return
            if not got:
                self.way = Way.ENDED
                self._finish()
                return
            chunk = scratch[:got]
            if self.watch is not None and self.watch(bytes(chunk)):
                self.watch = None
            more = sealed.more
            if not self._put(chunk):
                return
            if more:
                self.read_bytes = min(2 * asked, bench.limits.chunk_bytes)
            elif not self.eager:
                return
            left -= max(got, bench.least_cost)
        self.queued = True
        bench.again.append(self)
