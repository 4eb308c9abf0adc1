"""Core. May connections go to this endpoint? The breaker of one. Does not know its neighbours.

A breaker is closed while all is well. It opens when a threshold is reached, stays so for a time that doubles
from one opening to the next, and is then half open: a few connections go there to prove it, and as many
successes as wanted close it, while one failure opens it again. An operator may force it either way. What it
has come to is a `Stand`, which other workers adopt: the newest one wins, wherever it was made, and all hold
the same one once all have heard the same.
"""

import math
from typing import Protocol

import msgspec

from meshtrio.balance.breaker_table import NEXT, Input, State
from meshtrio.balance.hearsay import STREAK_BOUND, Counts, Stand
from meshtrio.balance.window import Window

PERMIT_S = 30.0
"""After this long a permit is given to someone else: whoever had it died, or hangs. More than any dial."""
JITTER = 0.2
"""How far an open time is moved either way, so that not all endpoints are tried again at one moment."""


class Luck(Protocol):
    """Where chance comes from, as random.Random."""

    def random(self) -> float:
        """Draw from 0 to 1."""


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """When breakers open, for how long, and what closes them. A percentage or a count of 0 is off."""

    enabled: bool = True
    consecutive: int = 5
    rate_percent: float = 50
    minimum: int = 20
    """So many connections must be in the window before a percentage means anything."""
    window_s: float = 30
    slow_s: float = 0
    """What takes longer is slow; 0: nothing is."""
    slow_percent: float = 50
    open_s: float = 30
    open_max_s: float = 300
    half_open: int = 3
    """So many connections at once prove a half-open endpoint, for each worker."""
    successes: int = 3
    ejected_percent: float = 100


class Breaker:
    """The breaker of one endpoint. Every result and every moment comes from the caller."""

    __slots__ = ("_luck", "permits", "proofs", "run", "stand", "state", "thresholds", "window")

    def __init__(self, thresholds: Thresholds, luck: Luck) -> None:
        """`luck` moves open times by their jitter."""
        self.thresholds = thresholds
        self._luck = luck
        self.state = State.CLOSED
        self.stand = Stand()
        self.run = 0
        """How many failed in a row."""
        self.proofs = 0
        """Successes since it is half open."""
        self.window = Window(thresholds.window_s)
        self.permits: dict[int, float] = {}
        """Who may prove a half-open endpoint now, and until when that is believed. At most `half_open`."""

    def permit(self, ticket: int, now: float) -> bool:
        """Let one more prove this half-open endpoint, if there are not enough."""
        if not self.has_room(now):
            return False
        self.permits[ticket] = now + PERMIT_S
        return True

    def has_room(self, now: float) -> bool:
        """Say whether a half-open endpoint would get one more. Permits that nobody gave back are void."""
        for ticket in [one for one, until in self.permits.items() if until <= now]:
            del self.permits[ticket]
        return len(self.permits) < self.thresholds.half_open

    def tick(self, now: float) -> None:
        """Notice how late it is: an open one may be due, permits may be void."""
        if self.state is State.OPEN and self.stand.until <= now:
            self.move(Input.DUE, now)
        self.has_room(now)

    @property
    def is_forced(self) -> bool:
        """Say whether an operator holds it."""
        return self.state is State.FORCED_OPEN or self.state is State.FORCED_CLOSED

    def count(self, seen: Counts, now: float) -> bool:
        """Count what became of connections to a closed endpoint. True: with that it has opened."""
        self.window.add(now, successes=seen.successes, failures=seen.failures, slow=seen.slow)
        self.run = seen.tail if seen.successes or seen.slow else self.run + seen.tail
        return self._has_tripped() and self.move(Input.TRIPPED, now)

    def prove(self, what: Input, now: float) -> bool:
        """Take a SUCCESS, FAILURE or SLOW of a half-open endpoint. True: it has closed, or opened again."""
        self.proofs += what is Input.SUCCESS
        proven = what is Input.SUCCESS and self.proofs >= self.thresholds.successes
        return self.move(Input.PROVEN if proven else what, now)

    def _has_tripped(self) -> bool:
        wanted, window = self.thresholds, self.window
        if wanted.consecutive and self.run >= wanted.consecutive:
            return True
        if window.total < max(1, wanted.minimum):
            return False
        return _reaches(window.failures, window.total, wanted.rate_percent) or _reaches(
            window.slow, window.total, wanted.slow_percent
        )

    def is_forgettable(self, now: float) -> bool:
        """Say whether one that never opened would be no different."""
        if self.state is not State.CLOSED or self.run:
            return False
        self.window.turn(now)
        return not (self.window.failures or self.window.slow) and self._has_served(now)

    def move(self, what: Input, now: float) -> bool:
        """Go where the table says. True: it is in another state than before."""
        was = self.state
        self.state = NEXT[was, what]
        if self.state is was:
            return False
        if self.state is State.OPEN and what is not Input.LEARNT_OPEN:
            self.stand = self._opened(now)
        elif what is Input.PROVEN:
            self.stand = Stand(self._moment(now), False, 0.0, self.stand.streak)
        elif what in (Input.AUTO, Input.FORCE_OPEN, Input.FORCE_CLOSED):
            self.stand = Stand(self._moment(now))
        if self.state is not State.HALF_OPEN or what is Input.DUE:
            self.run = self.proofs = 0
            self.permits.clear()
            self.window.clear()
        return True

    def adopt(self, stand: Stand, now: float) -> bool:
        """Take over what another worker's breaker has come to, if that is newer. True: it was."""
        if stand <= self.stand or self.is_forced:
            return False
        self.stand = stand
        self.move(Input.LEARNT_OPEN if stand.open else Input.LEARNT_CLOSED, now)
        return True

    @property
    def due(self) -> float:
        """When time alone will change what it lets through: it is open, or its permits are all out."""
        if self.state is State.OPEN:
            return self.stand.until
        if self.state is State.HALF_OPEN and len(self.permits) >= self.thresholds.half_open:
            return min(self.permits.values(), default=math.inf)
        return math.inf

    def _opened(self, now: float) -> Stand:
        begins = not self.stand.open and self._has_served(now)
        streak = 1 if begins else min(STREAK_BOUND, self.stand.streak + 1)
        lasts_s = open_time_s(streak, self.thresholds) * (1 + JITTER * (2 * self._luck.random() - 1))
        return Stand(self._moment(now), True, now + lasts_s, streak)

    def _has_served(self, now: float) -> bool:
        """Say whether it has stayed closed for as long as it was open."""
        return now - self.stand.since >= open_time_s(self.stand.streak, self.thresholds)

    def _moment(self, now: float) -> float:
        # Later than what it follows, also where the clock has not moved on: else the older stand would win.
        return max(now, self.stand.since + 1e-6)


def _reaches(count: int, total: int, percent: float) -> bool:
    return percent > 0 and count * 100 >= percent * total


def open_time_s(streak: int, thresholds: Thresholds) -> float:
    """How long the n-th opening in a row lasts, before jitter: it doubles up to a maximum. The 0th: none."""
    if streak < 1:
        return 0.0
    return float(min(thresholds.open_max_s, thresholds.open_s * 2 ** (min(streak, STREAK_BOUND) - 1)))
