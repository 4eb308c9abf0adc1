"""Endpoints for tests of balancing, and breakers that block what a test says."""

from collections.abc import Collection
from typing import Any

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Health


def endpoint(name: str, **words: Any) -> Endpoint:
    return Endpoint(name, Address.of("10.0.0.1", 80), **words)


def endpoints(names: str, **words: Any) -> tuple[Endpoint, ...]:
    """Make one endpoint of each letter."""
    return tuple(endpoint(name, **words) for name in names)


ILL = {"health": Health.UNHEALTHY}
GOING = {"draining": True}


class Switches:
    """Breakers by hand: `block` says who is blocked from now on."""

    def __init__(self) -> None:
        self._version = 0
        self._blocked: frozenset[str] = frozenset()
        self.retained: tuple[str, ...] = ()

    def block(self, names: Collection[str]) -> None:
        self._blocked = frozenset(names)
        self._version += 1

    def current(self, now: float) -> int:
        return self._version

    def blocked(self, now: float) -> frozenset[str]:
        return self._blocked

    def retain(self, endpoints: Collection[str]) -> None:
        self.retained = tuple(endpoints)
        self._version += 1
