"""Core. Why would that endpoint be picked? Tries it out on a copy, so that nothing moves. Does not decide."""

import copy
from collections.abc import Collection
from typing import Any

from meshtrio.balance.algorithm import HASHING
from meshtrio.balance.balancer import Balancer, Blocking
from meshtrio.balance.eligible import Endpoints, why_not
from meshtrio.balance.ewma import latency_s
from meshtrio.balance.told import ExplainedEndpoint, Explanation

ORDER = 16
"""So many are named in the order in which they would be tried."""


class _OnlyLooking:
    """Breakers that are asked and not told."""

    def __init__(self, breakers: Blocking) -> None:
        self._breakers = breakers

    def current(self, now: float) -> int:
        return self._breakers.current(now)

    def blocked(self, now: float) -> frozenset[str]:
        return self._breakers.blocked(now)

    def retain(self, endpoints: Collection[str]) -> None:
        pass


def explain(balancer: Balancer, endpoints: Endpoints, now: float, key: int | None) -> Explanation:
    """Say what the balancer would pick now for a call with this key, and how it stands with everybody.

    Neither the balancer's state nor its luck moves. Takes a copy, so milliseconds for many endpoints.
    """
    luck = balancer.luck.getstate()
    try:
        twin = _twin(balancer, endpoints)
        order: list[str] = []
        while len(order) < ORDER and (member := twin.pick(endpoints, now, key, order)) is not None:
            order.append(member.id)
    finally:
        balancer.luck.setstate(luck)
    blocked, eligible, settings = twin.breakers.blocked(now), twin.eligible, balancer.settings
    groups = dict.fromkeys((one.id for one in endpoints), "rest")
    groups |= dict.fromkeys(blocked & groups.keys(), "never")
    groups |= {one.id: "first" for one in eligible.chosen} | {one.id: "far" for one in eligible.far}
    told = [
        ExplainedEndpoint(
            id=one.id,
            address=str(one.address),
            group=groups[one.id],
            why_not=why_not(one, blocked),
            weight=twin.members[one.id].weight,
            zone=one.zone,
            active=twin.members[one.id].active,
            latency_s=latency_s(twin.members[one.id], now),
            position=order.index(one.id) + 1 if one.id in order else 0,
        )
        for one in endpoints
    ]
    hashes = settings.algorithm in HASHING
    return Explanation(
        algorithm=settings.algorithm,
        hash_key=settings.hash_key if hashes else "",
        has_key=key is not None,
        tier=eligible.tier.value,
        share=eligible.share,
        picked=order[0] if order else "",
        remarks=dict(balancer.remarks),
        endpoints=tuple(told),
    )


def _twin(balancer: Balancer, endpoints: Endpoints) -> Balancer:
    shared: list[Any] = [balancer.settings, endpoints, *endpoints]
    shared += [member.endpoint for member in balancer.members.values()]
    memo: dict[int, Any] = {id(one): one for one in shared}
    memo[id(balancer.breakers)] = _OnlyLooking(balancer.breakers)
    return copy.deepcopy(balancer, memo)
