"""Core. What the agent adds up: ended connections by kind, and the last ones by name. Does not know how it
is shown.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence

import msgspec

from meshtrio.balance.told import Balanced
from meshtrio.messages import Connection, Direction, Tally
from meshtrio.outcome import Outcome

RECENT = 1000
"""How many ended connections are kept for `meshtrio connections`. The oldest goes."""
KINDS = 10_000
"""How many kinds are kept apart over the agent's life. Further ones count as workload and service "other"."""

BALANCED = 500
"""How many service ports' balancing is counted apart. Further ones count as service port "other"."""
OTHER = "other"
ALLOWED, DENIED = "retries_allowed", "retries_denied"
HEDGES, HEDGES_WON = "hedges", "hedges_won"

Later = Callable[[], Connection]
"""Makes the value of a connection that has ended: of most that end nobody ever looks at it."""
Kind = tuple[Direction, str, str, Outcome]


class Gauge(msgspec.Struct, frozen=True):
    """One number that is true now."""

    name: str
    help: str
    value: float
    labels: dict[str, str] = {}
    grows: bool = False
    """Whether it only ever grows: a counter. Its name ends in `_total`."""


class Sums:
    """The agent's memory of what workers told."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.kinds: dict[Kind, list[int]] = {}
        self._recent: deque[Connection | Later] = deque(maxlen=RECENT)
        self.omitted = 0
        self.handshakes: dict[tuple[Direction, str], int] = {}
        self.balanced: dict[str, Counter[str]] = {}
        """By service port: retries (ALLOWED, DENIED), hedges, and remarks of balancers by their words."""

    def add(self, tally: Tally, later: Sequence[Later] = ()) -> None:
        """Take what a worker tells. `later` are further ones of those that are counted."""
        for count in tally.counts:
            kind: Kind = (count.direction, count.workload, count.service, count.outcome)
            if kind not in self.kinds and len(self.kinds) >= KINDS:
                kind = (count.direction, "other", "other", count.outcome)
            sums = self.kinds.setdefault(kind, [0, 0, 0])
            sums[0] += count.connections
            sums[1] += count.sent_bytes
            sums[2] += count.received_bytes
        for one in tally.handshakes:
            known = self.handshakes.get((one.direction, one.result), 0)
            self.handshakes[one.direction, one.result] = known + one.count
        for port in tally.balanced:
            self._count(port)
        self._recent.extend(tally.ended)
        self._recent.extend(later)
        self.omitted += tally.omitted

    def _count(self, news: Balanced) -> None:
        name = news.port
        if name not in self.balanced and len(self.balanced) >= BALANCED:
            name = OTHER
        sums = self.balanced.setdefault(name, Counter())
        sums.update({ALLOWED: news.retries_allowed, DENIED: news.retries_denied})
        sums.update({HEDGES: news.hedges, HEDGES_WON: news.hedges_won})
        sums.update(news.remarks)

    def recent(self) -> list[Connection]:
        """Return those that ended last, the oldest first."""
        return [one if isinstance(one, Connection) else one() for one in self._recent]

    def by_outcome(self) -> dict[str, int]:
        """Return how many connections ended in which way."""
        totals: dict[str, int] = {}
        for (_, _, _, outcome), sums in self.kinds.items():
            totals[outcome.value] = totals.get(outcome.value, 0) + sums[0]
        return totals
