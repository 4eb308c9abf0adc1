"""Shell. One thread, one selector: moves many sides, with their pauses and their deadline.

Does not know where sides come from: client.py dials them, server.py accepts them.
"""

import heapq
import itertools
import selectors
import socket
import time
from collections.abc import Callable

from tests.integrity.record import Record
from tests.integrity.side import Side

_NOTHING = 0


class Loop:
    """Steps sides until they have their records."""

    def __init__(self, *, deadline_s: float, ended: Callable[[Record], None]) -> None:
        self.live = 0
        self._deadline_s = deadline_s
        self._ended = ended
        self._selector = selectors.DefaultSelector()
        self._masks: dict[Side, int] = {}
        self._connecting: set[Side] = set()
        self._wakes: dict[Side, float] = {}
        self._timers: list[tuple[float, int, Side]] = []
        self._turn = itertools.count()

    def close(self) -> None:
        """Give the selector back."""
        self._selector.close()

    def watch(self, listener: socket.socket, accept: Callable[[], None]) -> None:
        """Call whenever the listener has a connection."""
        self._selector.register(listener, selectors.EVENT_READ, accept)

    def take(self, side: Side, *, connecting: bool) -> None:
        """Move this side from now on. One that is connecting begins with the answer to its connect."""
        self.live += 1
        self._masks[side] = _NOTHING
        heapq.heappush(self._timers, (time.monotonic() + self._deadline_s, next(self._turn), side))
        if connecting:
            self._connecting.add(side)
            self._register(side, selectors.EVENT_WRITE)
        else:
            self._move(side, readable=True, writable=True)

    def turn(self, longest_s: float) -> None:
        """Wait for events, at most so long, and move whom they concern."""
        if self._timers:
            longest_s = min(longest_s, max(self._timers[0][0] - time.monotonic(), 0))
        for key, events in self._selector.select(longest_s):
            if isinstance(key.data, Side):
                readable = bool(events & selectors.EVENT_READ)
                self._move(key.data, readable=readable, writable=bool(events & selectors.EVENT_WRITE))
            else:
                key.data()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            due, _, side = heapq.heappop(self._timers)
            if side not in self._masks:
                continue
            if self._wakes.get(side) == due:
                del self._wakes[side]
                self._move(side, readable=True, writable=True)
            elif due >= side.began + self._deadline_s:
                self.fail(side, "hang")

    def fail(self, side: Side, why: str) -> None:
        """End this side at once."""
        self._register(side, _NOTHING)
        side.fail(why)
        self._settle(side)

    def fail_all(self, why: str) -> None:
        """End all that are left."""
        for side in list(self._masks):
            self.fail(side, why)

    def _move(self, side: Side, *, readable: bool, writable: bool) -> None:
        if side not in self._masks:
            return
        now = time.monotonic()
        descriptor = side.sock.fileno()
        if side in self._connecting:
            self._connecting.remove(side)
            side.note_connect()
        side.step(now, readable=readable, writable=writable)
        if side.record:
            # The socket is closed, which took it out of epoll; the selector's own table needs the number.
            if self._masks[side]:
                self._selector.unregister(descriptor)
            self._settle(side)
            return
        read, write = side.wants(now)
        self._register(side, selectors.EVENT_READ * read | selectors.EVENT_WRITE * write)
        if side.wake_at is not None and self._wakes.get(side) != side.wake_at:
            self._wakes[side] = side.wake_at
            heapq.heappush(self._timers, (side.wake_at, next(self._turn), side))

    def _register(self, side: Side, mask: int) -> None:
        had = self._masks[side]
        if mask == had:
            return
        if not had:
            self._selector.register(side.sock, mask, side)
        elif not mask:
            self._selector.unregister(side.sock)
        else:
            self._selector.modify(side.sock, mask, side)
        self._masks[side] = mask

    def _settle(self, side: Side) -> None:
        del self._masks[side]
        self._wakes.pop(side, None)
        self._connecting.discard(side)
        self.live -= 1
        self._ended(side.timed(time.monotonic()))
