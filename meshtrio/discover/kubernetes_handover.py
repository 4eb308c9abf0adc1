"""Shell. Values go from a thread that reads to a task that folds, many at a time when they come fast.

Waking the trio loop from a thread costs some 0.2 ms, which is more than most values cost to fold; so the loop
is woken once for all that has come since it last took. Does not know what the values are.
"""

import threading
from typing import Generic, TypeVar

import trio

BOUND = 64
"""How many values wait at most. Full means that they come faster than we can fold: the thread waits, and so
does the server in the end."""

_T = TypeVar("_T")


class HandoverClosedError(Exception):
    """Nobody takes any more."""


class Handover(Generic[_T]):
    """One thread puts, one task takes."""

    def __init__(self) -> None:
        """Begin empty. Only in a task."""
        self._token = trio.lowlevel.current_trio_token()
        self._room = threading.Condition()
        self._values: list[_T] = []
        self._is_closed = False
        self._is_told = False
        self._news = trio.Event()

    def put(self, value: _T) -> None:
        """Hand a value over, as soon as there is room. In the thread. HandoverClosedError."""
        with self._room:
            while len(self._values) >= BOUND and not self._is_closed:
                self._room.wait()
            if self._is_closed:
                raise HandoverClosedError
            self._values.append(value)
            if not self._is_told:
                self._is_told = True
                self._token.run_sync_soon(self._tell)

    def _tell(self) -> None:
        self._news.set()

    async def take(self) -> list[_T]:
        """Wait for values, and give all that there are. None: it is closed, and all are taken."""
        await self._news.wait()
        with self._room:
            values, self._values = self._values, []
            if not self._is_closed:
                self._is_told = False
                self._news = trio.Event()
            self._room.notify()
        return values

    def close(self) -> None:
        """Let nothing more in. What is in can still be taken. In a task."""
        with self._room:
            self._is_closed = self._is_told = True
            self._room.notify()
        self._news.set()
