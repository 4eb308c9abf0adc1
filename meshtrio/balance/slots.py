"""Core. In which order the kernel picks: the members of a service, prepared as slots that need no thought.

The kernel only counts through the slots, takes one by luck, or the caller's own (`Pick`); weights are how
often a member stands there. Does not know addresses or maps.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from heapq import heapify, heapreplace
from math import gcd

from meshtrio.balance.maglev import table
from meshtrio.balance.starting import NOBODY, TENTHS
from meshtrio.intercept.direct_layout import Pick

PICKS = {
    "round_robin": Pick.TURNS,
    "weighted": Pick.TURNS,
    "random": Pick.LUCK,
    "least_connections": Pick.LEAST,
    "maglev": Pick.STICKY,
}
"""How the kernel does what the configuration calls so. It can do no other."""
MEMBERS_BOUND = 1000
"""How many members a service may have for the kernel to pick."""
ORDER_BOUND = 2048
"""How many slots an order by weight has at most. Weights whose sum is greater are rounded to fit."""
STICKY_SIZES = ((16, 1021), (MEMBERS_BOUND, 8191))
"""Up to so many members, so many slots (primes), which is fewer than in workers, for each costs 100 bytes of
kernel memory. Above 80 members the shares differ by more than one per cent."""


def slots(
    algorithm: str, members: Sequence[tuple[str, int]], starting: Mapping[str, int] = NOBODY
) -> list[int]:
    """Say for each slot the index in `members`, which are ids and weights, at most MEMBERS_BOUND.

    Who is starting gets so many tenths of its share, but one slot at least; by maglev it gets all.

    Depends on ids and weights alone, not on their order. Who weighs 0 has no slot, unless all weigh 0: then
    they weigh the same. KeyError for an algorithm that the kernel has not.
    """
    if PICKS[algorithm] is Pick.STICKY:
        return _sticky(members)
    by_id = sorted(range(len(members)), key=lambda index: members[index][0])
    if algorithm != "weighted" and not starting:
        return by_id
    own = [members[index][1] if algorithm == "weighted" else 1 for index in by_id]
    tenths = [starting.get(members[index][0], TENTHS) for index in by_id]
    weights = _fitting(_counting([weight * part for weight, part in zip(own, tenths, strict=True)]))
    return [by_id[place] for place in interleaved(weights)]


def interleaved(weights: Sequence[int]) -> list[int]:
    """Put each place as often as it weighs, as evenly as it goes; ties go to the earlier one."""
    turns = [(1 / (2 * weight), place) for place, weight in enumerate(weights) if weight]
    heapify(turns)
    order = []
    for _ in range(sum(weights)):
        when, place = turns[0]
        heapreplace(turns, (when + 1 / weights[place], place))
        order.append(place)
    return order


def _sticky(members: Sequence[tuple[str, int]]) -> list[int]:
    size = next(size for most, size in STICKY_SIZES if len(members) <= most)
    weights = _counting([weight for _, weight in members])
    kept = [index for index, weight in enumerate(weights) if weight]
    filled = table([(members[index][0], float(weights[index])) for index in kept], size)
    return [kept[place] for place in filled]


def _counting(weights: list[int]) -> list[int]:
    """Divide by what all have in common; all 0 is all the same."""
    common = reduce(gcd, weights, 0)
    return [weight // common for weight in weights] if common else [1] * len(weights)


def _fitting(weights: list[int]) -> list[int]:
    total = sum(weights)
    if total <= ORDER_BOUND:
        return weights
    # Each keeps one slot, so that a light one is not starved; the rest is shared by weight.
    spare = ORDER_BOUND - sum(1 for weight in weights if weight)
    return [weight and 1 + weight * spare // total for weight in weights]
