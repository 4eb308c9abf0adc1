"""Core. Which endpoints of a port are blocked, as its breakers stand? Does not know how they came to that.

At most a share is (one at least): if nearly all fail, the fault may well be on this side, and those that are
left would fall under the load. Those that are open for the longest are let in again first. What an operator
forced open is blocked in any case, and is outside of that share.
"""

import enum
import heapq
from collections.abc import Mapping

from meshtrio.balance.breaker import Breaker
from meshtrio.balance.breaker_table import State


class Level(enum.Enum):
    """How a service port is as a whole."""

    CLOSED = "closed"
    DEGRADED = "degraded"
    """Some endpoints are blocked."""
    OPEN = "open"
    """All are."""


def blocked(
    breakers: Mapping[str, Breaker], members: frozenset[str] | None, percent: float, now: float
) -> frozenset[str]:
    """Name the endpoints that must not be picked. Without `members` no share can be told: all that is open.

    A half-open endpoint is blocked while as many prove it as may. 0 percent: only what is forced.
    """
    here = [(one, breaker) for one, breaker in breakers.items() if members is None or one in members]
    forced = {one for one, breaker in here if breaker.state is State.FORCED_OPEN}
    held = [(breaker.stand.since, one) for one, breaker in here if _holds(breaker, now)]
    if members is not None:
        most = int((len(members) - len(forced)) * percent / 100)
        held = heapq.nlargest(max(most, 1 if percent else 0), held)
    return frozenset(forced.union(one for _, one in held))


def _holds(breaker: Breaker, now: float) -> bool:
    if breaker.state is State.HALF_OPEN:
        return not breaker.has_room(now)
    return breaker.state is State.OPEN
