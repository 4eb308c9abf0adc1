"""Shell. One direction of a flow: bytes go from a source socket to a sink socket, driven by epoll's words.

Synchronous: knows two sockets and the owner it reports to; does not know trio, epoll objects or clocks.

Events are edges (EPOLLET): the kernel speaks once when something changes, so a lane goes on until its source
is empty or its sink is full. A read that did not fill the buffer found the source empty, and new bytes make a
new edge; this saves the second read that would say EAGAIN. The rule fails when FIN, RST or urgent data stand
behind the bytes: then epoll says so (RDHUP, ERR, HUP, PRI), and from then on the lane is `eager`: it reads
until the kernel says that there is no more.

A sink that encrypts takes all, and may owe the kernel ciphertext: then the lane holds nothing, and waits.
"""

import enum
import errno
import select
import socket
from collections.abc import Callable
from typing import Protocol

from meshtrio.forward.sealed import Owing, Sealed
from meshtrio.forward.tcp import is_at_mark
from meshtrio.forward.workbench import Workbench

Watch = Callable[[bytes], bool]
"""Sees the first bytes of a lane, chunk by chunk, until it returns True. Cannot change them."""

INTEREST = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET
_IN, _OUT, _PRI, _ERR, _HUP = (
    select.EPOLLIN,
    select.EPOLLOUT,
    select.EPOLLPRI,
    select.EPOLLERR,
    select.EPOLLHUP,
)
_UNUSUAL = select.EPOLLRDHUP | _PRI | _ERR | _HUP
_NOTHING = memoryview(b"")


class Owner(Protocol):
    """What a lane reports to: the flow that it is one half of."""

    def died(self, lane: "Lane", *, error_taken: bool) -> None:
        """The connection that is this lane's source is gone."""

    def settle(self) -> None:
        """A lane has come to its end."""

    def broke(self, bug: Exception) -> None:
        """A lane met a bug."""


class Way(enum.Enum):
    """How far one lane is."""

    OPEN = enum.auto()
    ENDED = enum.auto()
    """FIN was read; held bytes may still have to go before it is passed on."""
    SHUT = enum.auto()
    """FIN was passed on."""
    SPENT = enum.auto()
    """No byte will come or none can be delivered, and no FIN is owed."""


OPEN = Way.OPEN
"""For comparing once a chunk: through the class a member costs five times as much to look up."""


class Lane:
    """One direction of a flow."""

    __slots__ = (
        "back", "bench", "eager", "flow", "held", "held_flags", "moved_bytes", "on_nothing",
        "queued", "read_bytes", "sink", "source", "tools", "urgent", "watch", "way",
    )  # fmt: skip
    back: "Lane"

    def __init__(
        self, flow: Owner, source: socket.socket | Sealed, sink: socket.socket | Sealed, *, bench: Workbench
    ) -> None:
        self.flow, self.source, self.sink = flow, source, sink
        self.bench = bench
        self.tools = source.recv_into, sink.send, bench.scratch
        """What each turn needs, in one piece."""
        self.moved_bytes = 0
        self.held: memoryview | None = None
        """What the sink did not take. Nothing is read while this waits: that is the back-pressure."""
        self.held_flags = 0
        self.way = Way.OPEN
        self.on_nothing = Way.ENDED
        """What a read of nothing means; see `Flow.died`."""
        self.read_bytes = bench.limits.chunk_bytes
        self.watch: Watch | None = None
        self.queued = self.eager = self.urgent = False

    @property
    def held_bytes(self) -> int:
        """What the sink did not take yet."""
        return len(self.held) if self.held is not None else 0

    def abandon(self) -> None:
        """Move nothing any more, and throw away what is held."""
        self.way, self.held = Way.SPENT, None

    def happened(self, mask: int) -> None:
        """Act on what epoll says about the source socket, which is also the sink of the lane back."""
        if mask & _UNUSUAL:
            self.eager = True
            self.urgent = mask & _PRI != 0
            # HUP alone means both directions are shut. If we did not shut ours, the connection is gone and
            # someone else has already taken the error; what reads as end of file is none.
            if mask & _ERR or (mask & _HUP and self.back.way is not Way.SHUT):
                self.flow.died(self, error_taken=not mask & _ERR)
        if self.back.held is not None and mask & _OUT:
            self.back.flush()
        if mask & _IN and not self.queued:
            self.pump()

    def pump(self) -> None:
        """Move bytes until the source is empty, the sink is full, or the turn is over."""
        if self.way is OPEN and self.held is None:
            self._move()

    def _move(self, spent: int = 0) -> None:
        """Move bytes for what is left of a turn."""
        bench, (receive, _, scratch) = self.bench, self.tools
        left = bench.limits.turn_bytes - spent
        while left > 0:
            if self.urgent and not self._pass_urgent():
                return
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
            if not self._put(chunk):
                return
            if got < asked:
                if not self.eager:
                    return
            elif asked < bench.limits.chunk_bytes:
                self.read_bytes = min(2 * asked, bench.limits.chunk_bytes)
            left -= max(got, bench.least_cost)
        # The kernel will not speak again about bytes that it has announced.
        self.queued = True
        bench.again.append(self)

    def go_on(self) -> None:
        """Take the next turn after one that was cut short."""
        self.queued = False
        self.pump()

    def flush(self) -> None:
        """Send what is held; when all is gone, pass on the FIN or read on."""
        held, self.held = self.held, None
        if held is not None and self._put(held, self.held_flags):
            self.held_flags = 0
            if self.way is Way.OPEN:
                self.pump()
            else:
                self._finish()

    def _put(self, chunk: memoryview, flags: int = 0) -> bool:
        """Give the chunk to the sink. False: the sink is full and the rest is held, or it is dead."""
        try:
            put = self.sink.send(chunk, flags)
        except (OSError, Owing) as why:
            self._cannot_put(chunk, flags, why)
            return False
        self.moved_bytes += put
        if put == len(chunk):
            return True
        self._wait_for_room(memoryview(bytes(chunk[put:])), flags)
        return False

    def _cannot_put(self, chunk: memoryview, flags: int, why: OSError | Owing) -> None:
        """Act on what the sink raised when it was given the chunk: it is full, or dead."""
        if isinstance(why, Owing):
            self.moved_bytes += len(chunk)
            self._wait_for_room(_NOTHING, 0)
        elif isinstance(why, BlockingIOError):
            self._wait_for_room(memoryview(bytes(chunk)), flags)
        else:
            self.flow.died(self.back, error_taken=self._has_taken_error(why.errno or 0))

    def _cannot_carry(self, chunk: memoryview, why: OSError | Owing) -> None:
        """Act on what a call raised that reads and sends: sending did, if the chunk is not empty."""
        if chunk or isinstance(why, Owing):
            self._cannot_put(chunk, 0, why)
        else:
            self._cannot_read(why)

    def _has_taken_error(self, number: int) -> bool:
        """Say whether the sink's error is gone, so that reads of it will show nothing in its place.

        EPIPE is no error of a socket that was reset without a FIN, unless somebody took that before.
        """
        return number != errno.EPIPE

    def _cannot_read(self, why: OSError) -> None:
        """Act on what a read of the source raised: it is empty, or dead."""
        if not isinstance(why, BlockingIOError):
            self.way = Way.SPENT
            self.flow.died(self, error_taken=True)

    def _wait_for_room(self, held: memoryview, flags: int) -> None:
        self.held, self.held_flags = held, flags
        self.read_bytes = min(self.bench.limits.pressed_bytes, self.read_bytes)

    def _end(self) -> None:
        """Act on a read of nothing."""
        self.way = self.on_nothing
        self._finish()

    def _finish(self) -> None:
        """Pass on the FIN if one is owed, and see whether the flow is over."""
        if self.way is Way.ENDED:
            try:
                self.sink.shutdown(socket.SHUT_WR)
            except Owing:
                self.held = _NOTHING
                return
            except OSError:
                self.flow.died(self.back, error_taken=self._has_taken_error(errno.EPIPE))
                return
            self.way = Way.SHUT
        self.flow.settle()

    def _pass_urgent(self) -> bool:
        """Pass the urgent byte on as urgent, at its place in the stream. False: the sink is full or dead."""
        if not is_at_mark(self.source):
            return True  # ordinary bytes come first; the kernel's reads stop at the mark
        self.urgent = False
        try:
            byte = self.source.recv(1, socket.MSG_OOB)
        except OSError:
            return True  # not there (EINVAL) or gone; a dead source shows at the next read
        return self._put(memoryview(byte), socket.MSG_OOB)
