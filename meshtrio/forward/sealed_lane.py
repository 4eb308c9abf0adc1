"""Shell. The directions of a flow whose source, or only whose sink, is the end of a TLS connection.

As lane.py, but for what reads of TLS tell. A read that decrypts takes more bytes from the kernel than it
gives, and may know of more that epoll will never speak of: then it says so (`Sealed.more`). And an end of the
stream is always one that was sent to us, whatever became of the socket since.

Both have a short way for the usual event: one small chunk arrives, and the sink takes all of it. Then one
call of the TLS end's own reads and sends, and nothing is asked of what a `Lane` asks.
"""

import select
import socket

from meshtrio.forward.lane import OPEN, Lane, Owner, Way
from meshtrio.forward.sealed import CIPHER_BYTES, RECORD_BYTES, Owing, Sealed
from meshtrio.forward.workbench import Workbench

LEAST_BYTES = 1024
_USUAL = select.EPOLLIN | select.EPOLLOUT
"""What epoll says of nearly every event, for it names all that holds. To compare is cheaper than to mask."""


class SealingLane(Lane):
    """One direction of a flow, from a plain socket into TLS."""

    __slots__ = ("carrying", "sealed")

    def __init__(self, flow: Owner, source: socket.socket, sink: Sealed, *, bench: Workbench) -> None:
        super().__init__(flow, source, sink, bench=bench)
        self.sealed = sink
        self.carrying = sink.carry_in, bench.scratch, source.fileno()

    def happened(self, mask: int) -> None:
        """Act on what epoll says about the source socket, which is also the sink of the lane back."""
        if (
            mask != _USUAL
            or self.way is not OPEN
            or self.held is not None
            or self.back.held is not None
            or self.queued
            or self.eager
            or self.watch is not None
        ):
            super().happened(mask)
            return
        asked, (carry, scratch, source) = self.read_bytes, self.carrying
        try:
            got = carry(scratch, asked, source)  # all of it: what the kernel did not take is owed
        except (OSError, Owing) as why:
            self._cannot_carry(scratch[: self.sealed.took], why)
            return
        if not got:
            self._end()
            return
        self.moved_bytes += got
        if got == asked:
            self.read_bytes = min(2 * asked, self.bench.limits.chunk_bytes)
            self._move(max(got, self.bench.least_cost))


class SealedLane(Lane):
    """One direction of a flow, out of TLS."""

    __slots__ = ("carrying", "most_bytes", "sealed")

    def __init__(self, flow: Owner, source: Sealed, sink: socket.socket, *, bench: Workbench) -> None:
        super().__init__(flow, source, sink, bench=bench)
        self.sealed = source
        self.carrying = source.carry_out, bench.scratch, sink.fileno()
        chunk_bytes = bench.limits.chunk_bytes
        self.most_bytes = min(chunk_bytes, max(chunk_bytes - RECORD_BYTES, LEAST_BYTES), CIPHER_BYTES)
        """Of ciphertext, so that what was left of a record before fits into the buffer, too."""
        self.read_bytes = self.most_bytes

    def happened(self, mask: int) -> None:
        """Act on what epoll says about the source socket, which is also the sink of the lane back."""
        sealed = self.sealed
        if (
            mask != _USUAL
            or self.way is not OPEN
            or self.held is not None
            or self.back.held is not None
            or self.queued
            or self.eager
            or self.watch is not None
            or sealed.owed
        ):
            self._consider(mask)
            return
        carry, scratch, sink = self.carrying
        try:
            put = carry(scratch, self.read_bytes, sink)
        except OSError as why:
            self._cannot_carry(scratch[: sealed.took], why)
            return
        got = sealed.took
        if not got:
            self._end()
            return
        self.moved_bytes += put
        if put != got:
            self._wait_for_room(memoryview(bytes(scratch[put:got])), 0)
        elif sealed.more:
            self.read_bytes = min(2 * self.read_bytes, self.most_bytes)
            self._move(max(got, self.bench.least_cost))

    def _consider(self, mask: int) -> None:
        """Act on an event that may be any."""
        sealed = self.sealed
        if sealed.owed and mask & select.EPOLLOUT and self.back.held is None:
            try:
                sealed.flush()  # what reading made it say; nobody else waits for that
            except OSError:
                self.flow.died(self, error_taken=True)
                return
        # The handshake's last read may have brought the first bytes; an event comes for every new socket.
        super().happened(mask | select.EPOLLIN if sealed.more else mask)

    def _move(self, spent: int = 0) -> None:
        """Move bytes for what is left of a turn."""
        bench, sealed, (receive, _, scratch) = self.bench, self.sealed, self.tools
        left = bench.limits.turn_bytes - spent
        while left > 0:
            asked = self.read_bytes
            try:
                got = receive(scratch, asked)
            except OSError as why:
                self._cannot_read(why)
                return
            if not got:
                self._end()
                return
            chunk = scratch[:got]
            if self.watch is not None and self.watch(bytes(chunk)):
                self.watch = None
            more = sealed.more
            if not self._put(chunk):
                return
            if more:
                self.read_bytes = min(2 * asked, self.most_bytes)
            elif not self.eager:
                return
            left -= max(got, bench.least_cost)
        self.queued = True
        bench.again.append(self)

    def _end(self) -> None:
        """Act on a read of nothing."""
        self.way = Way.ENDED
        self._finish()
