"""Core. Which service wants which targets probed, so that each is probed once. Does not know why."""

from collections.abc import Iterable
from typing import NamedTuple

from meshtrio.address import Address
from meshtrio.catalog.probing import Target

TARGETS = 10_000
"""How many targets are probed. Full: the rest is refused and counted, until there is room."""


class Turnover(NamedTuple):
    """What became different."""

    added: tuple[Target, ...]
    """Nobody wanted these before."""
    dropped: tuple[Target, ...]
    """Nobody wants these any more."""
    addresses: frozenset[Address]
    """The addresses at which the service wants something else than before."""


class Roster:
    """Targets by service, and services by target."""

    def __init__(self, most: int = TARGETS) -> None:
        """Begin with nothing, and room for so many targets."""
        self.refused: dict[str, int] = {}
        """For how many targets of which service there was no room."""
        self._most = most
        self._of: dict[str, dict[Address, tuple[Target, ...]]] = {}
        self._keys: dict[Target, set[str]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def is_full(self) -> bool:
        """Say whether there is no room."""
        return len(self._keys) >= self._most

    def want(self, key: str, targets: Iterable[Target]) -> Turnover:
        """Let this service want exactly these targets, as far as there is room."""
        wanted = dict.fromkeys(targets)
        before = self._of.pop(key, {})
        dropped = [
            one for old in before.values() for one in old if one not in wanted and self._drop(one, key)
        ]
        now: dict[Address, tuple[Target, ...]] = {}
        added: list[Target] = []
        refused = 0
        for target in wanted:
            if target not in self._keys:
                if self.is_full:
                    refused += 1
                    continue
                self._keys[target] = set()
                added.append(target)
            self._keys[target].add(key)
            now[target.address] = (*now.get(target.address, ()), target)
        if now:
            self._of[key] = now
        self.refused.pop(key, None)
        if refused:
            self.refused[key] = refused
        differing = {one for one in before.keys() | now.keys() if before.get(one) != now.get(one)}
        return Turnover(tuple(added), tuple(dropped), frozenset(differing))

    def _drop(self, target: Target, key: str) -> bool:
        keys = self._keys[target]
        keys.discard(key)
        if not keys:
            del self._keys[target]
        return not keys

    def keys(self, target: Target) -> frozenset[str]:
        """Tell which services want this target."""
        return frozenset(self._keys.get(target, ()))

    def at(self, key: str, address: Address) -> tuple[Target, ...]:
        """Tell what the service wants probed at this address."""
        return self._of.get(key, {}).get(address, ())

    def pairs(self) -> Iterable[tuple[str, Address]]:
        """Give every service with every address that it wants probed."""
        for key, addresses in self._of.items():
            for address in addresses:
                yield key, address
