"""Shell. Members to balance among, and the picks that an algorithm makes of them."""

import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from meshtrio.address import Address
from meshtrio.balance.algorithm import Algorithm, make
from meshtrio.balance.member import Member
from meshtrio.catalog.service import Endpoint

ADDRESS = Address.of("10.0.0.1", 80)


def member(name: str, weight: float = 1.0, *, active: int = 0, ewma_s: float = 0.0) -> Member:
    made = Member(Endpoint(name, ADDRESS), weight)
    made.active, made.ewma_s = active, ewma_s
    return made


def members(weights: Iterable[str] | Mapping[str, float]) -> list[Member]:
    """Make one for each name; a mapping says what each weighs."""
    if isinstance(weights, Mapping):
        return [member(name, weight) for name, weight in weights.items()]
    return [member(name) for name in weights]


def many(count: int) -> list[Member]:
    return members(f"10.1.{number // 250}.{number % 250}:8080" for number in range(count))


def algorithm(name: str, *, start: int = 0, bounded_load: float = 0) -> Algorithm:
    return make(name, start=start, luck=random.Random(1), bounded_load=bounded_load)


def picks(
    chosen: Algorithm, count: int, tried: Collection[str] = (), *, keys: random.Random | None = None
) -> list[str]:
    """Pick so often, with keys from that source or with none, and give the ids."""
    found = (chosen.pick(0.0, None if keys is None else keys.getrandbits(64), tried) for _ in range(count))
    return [picked.id for picked in found if picked is not None]


def counts(chosen: Algorithm, count: int) -> Counter[str]:
    return Counter(picks(chosen, count, keys=random.Random(2)))
