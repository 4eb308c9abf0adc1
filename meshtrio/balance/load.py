"""Core. How one worker's balancing of a service port stands: what it shows to whoever asks, and what it
counts for the agent. Does not know who asks.
"""

from collections.abc import Iterable

from meshtrio.balance.ewma import latency_s
from meshtrio.balance.port import Port
from meshtrio.balance.told import Balanced, EndpointLoad, PortLoad

ROWS = 10_000
"""How many endpoints one answer speaks of; `omitted` says how many more there are."""


def load_of(port: Port, now: float, rows: int = ROWS) -> PortLoad:
    """Say how a port stands; of so many endpoints at most. Takes time by their number."""
    balancer, blocked = port.balancer, port.breakers.blocked(now)
    members = list(balancer.members.values())
    return PortLoad(
        algorithm=port.settings.algorithm,
        tier=balancer.eligible.tier.value,
        active=balancer.active,
        pending=port.pending,
        full=port.full(),
        retries_allowed=port.budget.allowed,
        retries_denied=port.budget.denied,
        remarks=dict(balancer.remarks),
        endpoints={
            one.id: EndpointLoad(one.active, latency_s(one, now), one.weight, one.id in blocked)
            for one in members[:rows]
        },
        omitted=len(members[rows:]),
        hedges=port.hedges,
        hedges_won=port.hedges_won,
    )


def loads_of(ports: Iterable[Port], now: float) -> dict[str, PortLoad]:
    """Say how ports stand, by name; ROWS endpoints in all."""
    rows, told = ROWS, {}
    for port in ports:
        told[port.name] = load = load_of(port, now, rows)
        rows -= len(load.endpoints)
    return told


class Counted:
    """Remembers what was told of each port, so that each count is told once.

    What a port counted that was forgotten before it was told is lost. Bounded by the ports that ever counted
    something and are still known.
    """

    def __init__(self) -> None:
        self._told: dict[str, Balanced] = {}

    def news(self, ports: Iterable[Port]) -> list[Balanced]:
        """Return what was counted since the last time. Looks at every port."""
        news: list[Balanced] = []
        kept: dict[str, Balanced] = {}
        for port in ports:
            budget, remarks = port.budget, port.balancer.remarks
            if not remarks and not budget.allowed and not budget.denied:
                continue
            counts = port.name, budget.allowed, budget.denied, dict(remarks), port.hedges, port.hedges_won
            now = Balanced(*counts)
            kept[port.name] = now
            before = self._told.get(port.name)
            if before != now:
                news.append(_since(before, now))
        self._told = kept
        return news


def _since(before: Balanced | None, now: Balanced) -> Balanced:
    if (
        before is None
        or before.retries_allowed > now.retries_allowed
        or before.retries_denied > now.retries_denied
        or any(count > now.remarks.get(word, 0) for word, count in before.remarks.items())
    ):
        return now  # the first time, or it was forgotten and began anew
    grown = {word: count - before.remarks.get(word, 0) for word, count in now.remarks.items()}
    return Balanced(
        now.port,
        now.retries_allowed - before.retries_allowed,
        now.retries_denied - before.retries_denied,
        {word: count for word, count in grown.items() if count},
        now.hedges - before.hedges,
        now.hedges_won - before.hedges_won,
    )
