"""Core. Which endpoints of a service port may be picked now, and who when those have been tried? Does not
know how one of them is picked.

An endpoint is usable if it is ready (neither unhealthy nor draining) and its breaker does not block it. Who
is blocked is never picked at all.

**Zone first.** With `zone_aware`, on a node that has a zone, the usable endpoints of that zone get everything
as long as at least ENOUGH_PERCENT of the zone's capacity (the weights of those that do not drain) is usable.
Below that they keep the share usable / ENOUGH_PERCENT, and the rest spills over to all other usable ones by
weight: nothing jumps at the threshold, and a zone without usable endpoints has spilt everything. Nothing has
to be known of other callers for that; what is over is absorbed by the others, as in Envoy by its
overprovisioning factor. Where Kubernetes gives topology hints, they say which endpoints are near, instead of
zones; as for kube-proxy, they count only if all usable endpoints have them and some are for us.

**Panic** is off unless asked for: an endpoint that is known dead is not picked while a living one is there.
With `panic_percent`, if fewer of those that do not drain are usable, then the few would be run over by what
was meant for all, and it is likelier that the word of registry and probes is wrong than that all are dead:
then the unhealthy ones get traffic as well. Our own breakers are still believed.

**Weight 0** gets no new connections while others are there. If nobody else is there, all weigh the same.

**When all of those were tried**: the other usable ones (other zones, then weight 0), then those that drain
and are healthy, for they still serve (as kube-proxy has it, KEP-1669), then the unhealthy, then those that
are both.
"""

import enum
from collections.abc import Callable, Collection, Sequence

import msgspec

from meshtrio.catalog.service import Endpoint, Health
from meshtrio.config.traffic import Settings

Endpoints = tuple[Endpoint, ...]

ENOUGH_PERCENT = 70
"""The share of a zone's capacity that can carry what is meant for all of it: 1 / 1.4, as Envoy has it."""


class Tier(enum.Enum):
    """What the first choice is. The value is the word in explanations."""

    ALL = "all"
    ZONE = "zone"
    SPILL = "spill"
    """The zone, and for a part of the picks the others."""
    PANIC = "panic"
    LAST = "last"
    """Nobody is usable: those that are least bad."""
    NONE = "none"


class Eligible(msgspec.Struct, frozen=True):
    """Who may be picked, in what order of groups."""

    tier: Tier
    chosen: Endpoints = ()
    far: Endpoints = ()
    """Who gets the picks that `chosen` does not."""
    share: float = 1.0
    """The part of the picks that is for `chosen`."""
    rest: tuple[Endpoints, ...] = ()
    """Where nobody else is left, in this order."""

    @property
    def weightless(self) -> bool:
        """Say whether everybody in the first choice has weight 0."""
        return bool(self.chosen) and not any(one.weight for one in self.chosen)


def is_usable(endpoint: Endpoint, blocked: Collection[str]) -> bool:
    """Say whether new connections should go there while there is a choice."""
    return endpoint.ready and endpoint.id not in blocked


def why_not(endpoint: Endpoint, blocked: Collection[str]) -> str:
    """Say why it is not usable; empty: it is."""
    said = {
        "its breaker is open": endpoint.id in blocked,
        "unhealthy": endpoint.health is Health.UNHEALTHY,
        "draining": endpoint.draining,
    }
    return ", ".join(word for word, holds in said.items() if holds)


def sorted_out(
    endpoints: Sequence[Endpoint], settings: Settings, *, zone: str, blocked: Collection[str]
) -> Eligible:
    """Divide the endpoints into the first choice and the rest. Takes time by their number."""
    free = [one for one in endpoints if one.id not in blocked]
    usable = _where(free, lambda one: one.ready)
    draining = _where(free, lambda one: one.draining and one.health is not Health.UNHEALTHY)
    unhealthy = _where(free, lambda one: one.health is Health.UNHEALTHY and not one.draining)
    leaving = _where(free, lambda one: one.health is Health.UNHEALTHY and one.draining)
    staying = sum(not one.draining for one in endpoints)
    if not usable:
        groups = list(filter(None, (draining, unhealthy, leaving)))
        return _of(Tier.LAST, groups[0], groups[1:]) if groups else Eligible(Tier.NONE)
    if len(usable) * 100 < settings.panic_percent * staying:
        return _of(Tier.PANIC, usable + unhealthy, [draining, leaving])
    bad = [draining, unhealthy, leaving]
    if not settings.zone_aware or not zone:
        return _of(Tier.ALL, usable, bad)
    is_near = _nearness(usable, zone)
    near = _where(usable, lambda one: one.weight > 0 and is_near(one))
    at_home = {one.id for one in near}
    far, spare = _weighing(_where(usable, lambda one: one.id not in at_home))
    capacity = sum(one.weight for one in endpoints if not one.draining and is_near(one))
    if not near or not far:
        return _of(Tier.ZONE if near else Tier.ALL, usable, bad)
    there = sum(one.weight for one in near) / capacity
    rest = tuple(filter(None, (spare, *bad)))
    if there * 100 >= ENOUGH_PERCENT:
        return Eligible(Tier.ZONE, near, rest=(far, *rest))
    return Eligible(Tier.SPILL, near, far, there * 100 / ENOUGH_PERCENT, rest)


def _of(tier: Tier, group: Endpoints, rest: Sequence[Endpoints]) -> Eligible:
    chosen, spare = _weighing(group)
    return Eligible(tier, chosen or spare, rest=tuple(filter(None, (spare if chosen else (), *rest))))


def _weighing(group: Endpoints) -> tuple[Endpoints, Endpoints]:
    if all(one.weight for one in group):
        return group, ()
    return _where(group, lambda one: one.weight > 0), _where(group, lambda one: not one.weight)


def _nearness(usable: Endpoints, zone: str) -> Callable[[Endpoint], bool]:
    if all(one.for_zones for one in usable) and any(zone in one.for_zones for one in usable):
        return lambda one: zone in one.for_zones
    return lambda one: one.zone == zone


def _where(endpoints: Sequence[Endpoint], holds: Callable[[Endpoint], bool]) -> Endpoints:
    return tuple(one for one in endpoints if holds(one))
