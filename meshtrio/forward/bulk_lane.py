"""Shell. The direction of a flow between two plain sockets: as lane.py, and by splice(2) while much is moved.

A direction that moved much in one turn has bytes waiting, so the next turns splice them through a pipe: the
relay's own CPU a byte is about half of what copying costs. It goes back to copying when little comes, when
urgent data is announced, and where no pipe is to be had. What a splice did not take says nothing of what
waits, so the source is read until the kernel says that there is no more.

A splice stops at urgent data and never passes it, read or not, and says there what it would say of an empty
source: later, the end, or an error. So none of these is believed at the mark; a copying turn goes past it.
"""

import errno
import os
import socket

from meshtrio.forward.lane import OPEN, Lane, Owner, Way
from meshtrio.forward.pipes import PIPE_BYTES, Pipe
from meshtrio.forward.tcp import has_heard_end, is_at_mark
from meshtrio.forward.workbench import Workbench

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class BulkLane(Lane):
    """One direction of a flow, from a plain socket to a plain socket."""

    __slots__ = ("bulk", "piped", "splices")

    def __init__(self, flow: Owner, source: socket.socket, sink: socket.socket, *, bench: Workbench) -> None:
        super().__init__(flow, source, sink, bench=bench)
        self.bulk = False
        """The last turn moved much."""
        self.splices = True
        """It may splice, if the bench lends it a pipe."""
        self.piped: Pipe | None = None
        """What the sink did not take, if that is in a pipe; `held` is then empty and says that it waits."""

    def abandon(self) -> None:
        """Move nothing any more, and throw away what is held."""
        super().abandon()
        if self.piped is not None:
            self._hand_back(self.piped)

    @property
    def held_bytes(self) -> int:
        """What the sink did not take yet."""
        return super().held_bytes + (len(self.piped) if self.piped is not None else 0)

    def pump(self) -> None:
        """Move bytes until the source is empty, the sink is full, or the turn is over."""
        if self.way is not OPEN or self.held is not None:
            return
        if self.bulk and self.splices and not self.urgent and self.watch is None:
            pipe = self.bench.pipes.lend()
            if pipe is not None:
                self._splice_through(pipe)
                return
        before = self.moved_bytes
        self._move()
        self.bulk = self.moved_bytes - before >= self.bench.limits.bulk_bytes

    def flush(self) -> None:
        """Send what is held; when all is gone, pass on the FIN or read on."""
        pipe = self.piped
        if pipe is None:
            super().flush()
        elif self._empty(pipe):
            self._hand_back(pipe)
            self.held = None
            self.pump()

    def _splice_through(self, pipe: Pipe) -> None:
        left, source = self.bench.limits.turn_bytes, self.source.fileno()
        while left > 0:
            try:
                got = os.splice(source, pipe.writing, PIPE_BYTES, flags=_FLAGS)
            except BlockingIOError:
                self._hand_back(pipe)
                if self._stands_at_mark():
                    super().pump()
                return
            except OSError:
                self._hand_back(pipe)
                if not self._stands_at_mark():
                    self.way = Way.SPENT
                self.flow.died(self, error_taken=True)
                return
            if not got:
                self._hand_back(pipe)
                if self._stands_at_mark():
                    super().pump()
                    return
                self._end()
                return
            self.bulk = got >= self.bench.limits.pressed_bytes  # else many small pieces: copying is cheaper
            pipe.count = got
            if not self._empty(pipe):
                return
            left -= max(got, self.bench.least_cost) if self.bulk else left
        self._hand_back(pipe)
        self.queued = True
        self.bench.again.append(self)

    def _has_taken_error(self, number: int) -> bool:
        """Say whether the sink's error is gone, so that reads of it will show nothing in its place.

        A splice into a socket may give it several pieces. If one is refused after another was taken, the
        socket's error is used up, and the splice says only how much went: the next one gets EPIPE, as if
        there had been a FIN before the RST. Whether there was one says the kernel's count.
        """
        sink, back = self.sink, self.back
        assert isinstance(sink, socket.socket)
        return number != errno.EPIPE or not has_heard_end(sink, back.moved_bytes + back.held_bytes)

    def _stands_at_mark(self) -> bool:
        """Say whether urgent data is what stopped a splice; the next turn then copies, and passes it on."""
        if not is_at_mark(self.source):
            return False
        self.bulk, self.urgent = False, True
        return True

    def _empty(self, pipe: Pipe) -> bool:
        """Give the pipe's bytes to the sink. False: the sink is full and the rest waits, or it is dead."""
        sink = self.sink.fileno()
        while pipe.count:
            try:
                put = os.splice(pipe.reading, sink, pipe.count, flags=_FLAGS)
            except BlockingIOError:
                self.piped, self.held = pipe, memoryview(b"")
                return False
            except OSError as wrong:
                self._hand_back(pipe)
                self.flow.died(self.back, error_taken=self._has_taken_error(wrong.errno or 0))
                return False
            pipe.count -= put
            self.moved_bytes += put
        return True

    def _hand_back(self, pipe: Pipe) -> None:
        self.piped = None
        self.bench.pipes.hand_back(pipe)
