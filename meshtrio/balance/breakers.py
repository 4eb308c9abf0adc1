"""Core. The breakers of all endpoints of one service port, in one worker. Does not know who picks.

Only an endpoint that failed, was slow, or was forced has a breaker, so a success elsewhere costs one look
into a dictionary. Its window therefore begins with the first failure, and a failure rate is that of the
connections since. A breaker that is no different from none is forgotten.
"""

import itertools
import math
from collections.abc import Collection, Mapping

from meshtrio.balance.breaker import Breaker, Luck, Thresholds
from meshtrio.balance.breaker_table import WHOLE, Force, Input, State
from meshtrio.balance.ejection import Level, blocked
from meshtrio.balance.hearsay import FAILURE, SLOW, SUCCESS, Counts, Stand
from meshtrio.balance.sightings import Sightings
from meshtrio.balance.verdict import ORDINARY, REFUSED, Verdict
from meshtrio.balance.window import Window

BREAKERS_BOUND = 4096
"""How many endpoints of a port have a breaker. Full: further ones have none, and are always let through."""
NOBODY: frozenset[str] = frozenset()
_SUCCESS, _NEUTRAL = Verdict.SUCCESS, Verdict.NEUTRAL  # looking into an Enum takes longer than all else
_SEEN = {Input.SUCCESS: SUCCESS, Input.FAILURE: FAILURE, Input.SLOW: SLOW}


class PortBreakers:
    """All breakers of one service port.

    `retain` says which endpoints there are; until then all that is open is blocked. `version` grows whenever
    another set may be picked; `current` also looks whether time alone has changed it.
    """

    __slots__ = (
        "_blocked",
        "_blocked_at",
        "_due",
        "_luck",
        "_members",
        "_of",
        "_tickets",
        "_whole",
        "sightings",
        "slow_s",
        "thresholds",
        "version",
    )

    def __init__(self, thresholds: Thresholds, luck: Luck) -> None:
        """`luck` moves open times by their jitter."""
        self.thresholds = thresholds
        self._luck = luck
        self.slow_s = thresholds.slow_s or math.inf
        """What takes longer is slow."""
        self._of: dict[str, Breaker] = {}
        self._members: frozenset[str] | None = None
        self._whole: Force | None = None
        self._tickets = itertools.count(ORDINARY + 1)
        self.version = 0
        self._blocked = NOBODY
        self._blocked_at = 0
        self._due = math.inf
        """When the blocked set may change by itself."""
        self.sightings = Sightings()

    def settle(self, thresholds: Thresholds) -> None:
        """Let these thresholds hold from now on. What is open stays so, unless breakers are switched off."""
        if thresholds == self.thresholds:
            return
        self.thresholds, self.slow_s = thresholds, thresholds.slow_s or math.inf
        for endpoint, breaker in list(self._of.items()):
            if not thresholds.enabled and not breaker.is_forced:
                self._drop(endpoint)
            breaker.thresholds, breaker.window = thresholds, Window(thresholds.window_s)
        self.version += 1

    def retain(self, endpoints: Collection[str]) -> None:
        """Know that these are all endpoints of the port; the breakers of others are forgotten."""
        members = frozenset(endpoints)
        if members == self._members:
            return
        self._members = members
        for endpoint in [one for one, breaker in self._of.items() if one not in members]:
            if not self._of[endpoint].is_forced:
                self._drop(endpoint)
        self.version += 1

    def current(self, now: float) -> int:
        """Return the version as of now: as long as it is the same, so is what is blocked."""
        if now >= self._due:
            for breaker in self._of.values():
                breaker.tick(now)
            self._due = min((breaker.due for breaker in self._of.values()), default=math.inf)
            self.version += 1
        return self.version

    def blocked(self, now: float) -> frozenset[str]:
        """Name the endpoints that must not be picked now. The very same set while `current` is the same."""
        version = self.current(now)
        if version != self._blocked_at:
            self._blocked_at = version
            if self._whole is None:
                percent = self.thresholds.ejected_percent
                self._blocked = blocked(self._of, self._members, percent, now)
            else:
                self._blocked = (self._members or NOBODY) if self._whole == "open" else NOBODY
        return self._blocked

    def begin(self, endpoint: str, now: float) -> int:
        """Ask to connect to an endpoint. REFUSED (0): pick another one. Else a ticket, for `record`.

        A ticket that is never given back is void after PERMIT_S.
        """
        if self._whole is not None:
            return REFUSED if self._whole == "open" else ORDINARY
        breaker = self._of.get(endpoint)
        if breaker is None or breaker.state is State.CLOSED:
            return ORDINARY
        self.current(now)
        if breaker.state is State.HALF_OPEN:
            ticket = next(self._tickets)
            if breaker.permit(ticket, now):
                if not breaker.has_room(now):
                    self._changed(min(breaker.permits.values()))
                return ticket
        return REFUSED if endpoint in self.blocked(now) else ORDINARY

    def record(
        self, endpoint: str, verdict: Verdict, now: float, *, ticket: int, took_s: float = 0.0
    ) -> None:
        """Learn what became of a connection that had this ticket, and take the ticket back.

        For half-open endpoints only those with a ticket of their own prove something.
        """
        breaker = self._of.get(endpoint)
        if breaker is None:
            if (verdict is _SUCCESS and took_s <= self.slow_s) or verdict is _NEUTRAL:
                return
            breaker = self._made(endpoint, now)
            if breaker is None:
                return
        proves = ticket > ORDINARY and breaker.permits.pop(ticket, None) is not None
        if proves:
            self._changed()  # there is room for another one
        if verdict is _NEUTRAL or self._whole is not None:
            return
        slow = Input.SLOW if took_s > self.slow_s else Input.SUCCESS
        what = slow if verdict is _SUCCESS else Input.FAILURE
        if breaker.state is State.CLOSED:
            seen = _SEEN[what]
            self.sightings.count(endpoint, seen, is_news=what is not Input.SUCCESS or breaker.run > 0)
            self._count(endpoint, breaker, seen, now)
        elif proves and breaker.prove(what, now):
            self._came_to(endpoint, breaker)

    def learn(self, counts: Mapping[str, Counts], stands: Mapping[str, Stand], now: float) -> int:
        """Take over what other workers saw. Returns how much of it was absurd, and was passed over."""
        absurd = 0
        for endpoint, stand in stands.items():
            if not stand.is_sane(now):
                absurd += 1
                continue
            # A closed one is kept too: words overtake each other, and an older opening must find it over.
            breaker = self._of.get(endpoint) or self._made(endpoint, now)
            if breaker is not None and breaker.adopt(stand, now):
                self.sightings.forget(endpoint)
                self._changed(stand.until if stand.open else math.inf)
        for endpoint, seen in counts.items():
            if not seen.is_sane:
                absurd += 1
                continue
            breaker = self._of.get(endpoint)
            if breaker is None and (seen.failures or seen.slow):
                breaker = self._made(endpoint, now)
            if breaker is not None and breaker.state is State.CLOSED and self._whole is None:
                self._count(endpoint, breaker, seen, now)
        return absurd

    def obey(self, forced: Mapping[str, Force], now: float) -> None:
        """Let exactly these be forced by an operator from now on; WHOLE is the port itself.

        What is forced no more begins closed.
        """
        whole = forced.get(WHOLE)
        if whole != self._whole:
            self._whole = whole
            for endpoint in [one for one, breaker in self._of.items() if not breaker.is_forced]:
                self._drop(endpoint)
        for endpoint, breaker in list(self._of.items()):
            if breaker.is_forced and endpoint not in forced:
                breaker.move(Input.AUTO, now)
                if self._members is not None and endpoint not in self._members:
                    self._drop(endpoint)
        for endpoint, word in forced.items():
            if endpoint == WHOLE:
                continue
            if endpoint not in self._of:
                self._of[endpoint] = Breaker(self.thresholds, self._luck)
            self._of[endpoint].move(Input.FORCE_OPEN if word == "open" else Input.FORCE_CLOSED, now)
            self.sightings.forget(endpoint)
        self.version += 1

    def level(self, now: float) -> Level:
        """Say how the port is as a whole."""
        blocked = self.blocked(now)
        if self._whole == "open" or (blocked and blocked == self._members):
            return Level.OPEN
        return Level.DEGRADED if blocked else Level.CLOSED

    def wait_s(self, now: float) -> float:
        """Say how long it is until one that is open is tried again; 0: one may be, or none is open."""
        self.current(now)
        untils = [one.stand.until for one in self._of.values() if one.state is State.OPEN]
        return max(0.0, min(untils, default=now) - now)

    def states(self, now: float) -> dict[str, Breaker]:
        """Return the breaker of each endpoint that has one, as of now, for display."""
        self.current(now)
        return dict(self._of)

    def _count(self, endpoint: str, breaker: Breaker, seen: Counts, now: float) -> None:
        if breaker.count(seen, now):
            self._came_to(endpoint, breaker)
        elif breaker.is_forgettable(now):
            del self._of[endpoint]

    def _came_to(self, endpoint: str, breaker: Breaker) -> None:
        self._changed(breaker.stand.until if breaker.stand.open else math.inf)
        self.sightings.came_to(endpoint, breaker.stand)

    def _changed(self, due: float = math.inf) -> None:
        self.version += 1
        self._due = min(self._due, due)

    def _made(self, endpoint: str, now: float) -> Breaker | None:
        if not self.thresholds.enabled or self._whole is not None:
            return None
        if self._members is not None and endpoint not in self._members:
            return None  # it has left, and this is the last that is heard of it
        if len(self._of) >= BREAKERS_BOUND:
            for one in [one for one, known in self._of.items() if known.is_forgettable(now)]:
                self._drop(one)
            if len(self._of) >= BREAKERS_BOUND:
                return None
        return self._of.setdefault(endpoint, Breaker(self.thresholds, self._luck))

    def _drop(self, endpoint: str) -> None:
        del self._of[endpoint]
        self.sightings.forget(endpoint)
