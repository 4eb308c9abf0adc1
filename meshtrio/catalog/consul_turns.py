"""Core. Which service is asked next, when there may be more of them than questions at once.

A question that blocks takes a place until there is news of its service or its turn is over. With a place
for each service, each is asked all the time. With fewer, they take turns, and a few places more are kept
for those that are known to have changed: these are asked at once, without blocking. Does not know the
clock; "now" is any clock's seconds.
"""

import heapq
from collections.abc import Iterable
from typing import NamedTuple


class Turn(NamedTuple):
    """A service to be asked now; `blocks`: for news since its index, else for how it is."""

    name: str
    blocks: bool


class Turns:
    """Who waits, who rests after a failure, and who is being asked. Bounded by the number of names."""

    def __init__(self, places: int) -> None:
        """Begin without services; at most this many questions are under way at once."""
        self._hasty = max(1, places // 8)
        self._patient = max(1, places - self._hasty)
        self._names: set[str] = set()
        self._line: list[tuple[float, int, str]] = []
        self._due: dict[str, float] = {}
        """When each idle service is due. The line may have older entries, which are passed over."""
        self._hurried: dict[str, None] = {}
        self._asked: dict[str, bool] = {}
        self._again: set[str] = set()
        self._count = 0

    @property
    def crowded(self) -> bool:
        """Say whether there are more services than places."""
        return len(self._names) > self._patient

    def become(self, names: Iterable[str], now: float) -> set[str]:
        """Let these be all services; new ones are asked at once. Returns those gone that are being asked."""
        wanted = set(names)
        for name in self._names - wanted:
            self._due.pop(name, None)
            self._hurried.pop(name, None)
        new = wanted - self._names
        gone = (self._names - wanted) & self._asked.keys()
        self._names = wanted
        for name in sorted(new):
            if name in self._asked:
                self._again.add(name)
            else:
                self._hurried[name] = None
                self._queue(name, now)
        return gone

    def hurry(self, names: Iterable[str]) -> None:
        """Note that these have changed.

        Who is being asked may answer from before the change. Where each has a place it is asked again anyway,
        with its index; else it must not wait for its next turn.
        """
        for name in names:
            if name not in self._names:
                continue
            if name not in self._asked:
                self._hurried[name] = None
            elif self.crowded or not self._asked[name]:
                self._again.add(name)

    def wake(self, now: float) -> None:
        """End all rests: what made questions fail is over."""
        for name in list(self._due):
            self._queue(name, now)

    def start(self, now: float) -> list[Turn]:
        """Take those that are to be asked now, as far as there are places. Each is to be `done` later."""
        turns = []
        patient = sum(self._asked.values())
        hasty = len(self._asked) - patient
        while self._hurried and hasty < self._hasty:
            name = next(iter(self._hurried))
            turns.append(self._take(name, blocks=False))
            hasty += 1
        while patient < self._patient and (due := self._next_due()) is not None and due <= now:
            turns.append(self._take(heapq.heappop(self._line)[2], blocks=True))
            patient += 1
        return turns

    def done(self, name: str, now: float, rest_s: float = 0.0) -> None:
        """Note that a question is over; the service is due again after its rest."""
        self._asked.pop(name, None)
        again = name in self._again
        self._again.discard(name)
        if name in self._names:
            self._queue(name, now + rest_s)
            if again and not rest_s:
                self._hurried[name] = None

    def next_start(self) -> float | None:
        """Say when `start` should be called next; None: not before something is `done` or changes."""
        return self._next_due() if sum(self._asked.values()) < self._patient else None

    def _next_due(self) -> float | None:
        while self._line and self._due.get(self._line[0][2]) != self._line[0][0]:
            heapq.heappop(self._line)
        return self._line[0][0] if self._line else None

    def _queue(self, name: str, due: float) -> None:
        if self._due.get(name) == due:
            return
        self._due[name] = due
        self._count += 1
        heapq.heappush(self._line, (due, self._count, name))
        if len(self._line) > 64 + 4 * len(self._names):
            self._line = [one for one in self._line if self._due.get(one[2]) == one[0]]
            heapq.heapify(self._line)

    def _take(self, name: str, *, blocks: bool) -> Turn:
        self._due.pop(name, None)
        self._hurried.pop(name, None)
        self._asked[name] = blocks
        return Turn(name, blocks)


def index_after(before: int, got: int) -> int:
    """Say what to ask with next. Backwards means that Consul began anew: then from the beginning (0)."""
    return 0 if got < before else got


BACKOFF_MAX_S = 30.0


def backoff_s(failures: int, luck: float) -> float:
    """Say how long to wait after so many failures in a row: 1, 2, 4 ... 30 s, and 20 % more or less.

    `luck` is in 0 to 1.
    """
    return float(min(BACKOFF_MAX_S, 2.0 ** min(failures - 1, 10)) * (0.8 + 0.4 * luck))
