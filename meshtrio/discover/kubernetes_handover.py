"""Shell. Values go from a thread that reads to a task that folds, many at a time when they come fast.

Each waking costs some 0.2 ms, of the trio loop by a thread as of a thread by a socket: more than most values
cost to fold. So both have one rhythm. After each turn the task rests, the thread rests with it until shortly
before it goes on, and what comes meanwhile waits where it comes from. Then the thread reads all there is, and
the task takes it. What comes after a silence is taken at once. Does not know what the values are.
"""

import math
import threading
import time
from typing import Generic, TypeVar

import trio

BOUND = 64
"""How many values wait at most. Full means that they come faster than we can fold: the task rests no longer,
the thread waits, and so does the server in the end."""
EARLY_S = 0.008
"""How long before the task the thread goes on: time to read what came while it rested."""
GAP_S = 0.003
"""What came so soon after the value before may have waited already, and more may wait behind it: the thread
reads on, and the task waits until it has read all, or else the rest would wait as long once more."""
SETTLE_S = 0.02
"""How long the task waits for that at most."""
MANY = BOUND // 4
"""After so many values in one turn the thread does not rest: a burst should be over soon."""

_T = TypeVar("_T")


class HandoverClosedError(Exception):
    """Nobody takes any more."""


class Handover(Generic[_T]):
    """One thread puts, one task takes."""

    def __init__(self, *, first_s: float = 0.0, rest_s: float = 0.0) -> None:
        """Begin empty. Only in a task. `rest_s`: how long the task rests after a turn; `first_s`: after each
        of the first ones that follow a silence, for so long, so that it is soon known whether a burst begins.
        """
        self._token = trio.lowlevel.current_trio_token()
        self._first_s = first_s
        self._rest_s = rest_s
        self._room = threading.Condition()
        self._values: list[_T] = []
        self._is_closed = False
        self._call = trio.Event()
        self._call_at: float = math.inf
        """How many values the task wants to be woken for; infinite: it is awake, or has been called."""
        self._rests_until = self._rested_at = self._began_at = -math.inf
        self._taken = -1
        """How many values the last turn brought; -1: there was none."""
        self._put_at = -math.inf

    def put(self, value: _T) -> None:
        """Hand a value over, as soon as there is room, and rest while the task does. In the thread.

        HandoverClosedError.
        """
        came_late = time.monotonic() - self._put_at > GAP_S
        with self._room:
            while len(self._values) >= BOUND and not self._is_closed:
                self._room.wait()
            if self._is_closed:
                raise HandoverClosedError
            self._values.append(value)
            if len(self._values) >= self._call_at:
                self._call_at = math.inf
                self._token.run_sync_soon(self._call.set)
            while came_late and not self._is_closed:
                rest_s = self._rests_until - EARLY_S - time.monotonic()
                if rest_s <= 0:
                    break
                self._room.wait(rest_s)
        self._put_at = time.monotonic()

    async def take(self) -> list[_T]:
        """Rest, wait for values, and give all that there are. None: it is closed, and all are taken."""
        goes_on = self._taken >= 0 and await self._rest()
        await self._called(1)
        if goes_on and time.monotonic() - self._rested_at < self._rest_s:
            await self._settled()
        with self._room:
            values, self._values = self._values, []
            self._room.notify()
        self._taken = len(values)
        return values

    async def _settled(self) -> None:
        with trio.move_on_after(SETTLE_S):
            while len(self._values) < BOUND and time.monotonic() - self._put_at < GAP_S:
                await trio.sleep(GAP_S)

    async def _rest(self) -> bool:
        """Rest, and say whether that was for the full time."""
        now = time.monotonic()
        if now - self._rested_at > self._rest_s:
            self._began_at = now
        begins = now - self._began_at < self._rest_s
        rest_s = self._first_s if begins else self._rest_s
        self._rests_until = now + rest_s if self._taken < MANY else now
        with trio.move_on_after(rest_s):
            await self._called(BOUND)
        self._rested_at = time.monotonic()
        return not begins and self._taken < MANY

    async def _called(self, at: int) -> None:
        """Wait until there are so many values, or there will be no more."""
        with self._room:
            if len(self._values) >= at or self._is_closed:
                return
            self._call, self._call_at = trio.Event(), at
        await self._call.wait()

    def close(self) -> None:
        """Let nothing more in. What is in can still be taken. In a task."""
        with self._room:
            self._is_closed = True
            self._call_at = math.inf
            self._room.notify()
        self._call.set()
