"""Core. The balancers of all service ports that one worker dials, and their breakers. Does not know when they
are asked.
"""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from meshtrio.balance.balancer import Balancer
from meshtrio.balance.breaker import Thresholds
from meshtrio.balance.breakers import PortBreakers
from meshtrio.balance.settings import traffic_of
from meshtrio.catalog.service import Service
from meshtrio.config.traffic import Breaker, Traffic
from meshtrio.config.wishes import Wishes

BOUND = 16_384
"""How many a worker keeps. Full: those that hold no connection are dropped, and begin anew when they are
asked for. If all hold some, all are dropped; who has one of them in hand goes on with that."""


class _Known(NamedTuple):
    balancer: Balancer
    breakers: PortBreakers
    wishes: Wishes
    traffic: Traffic
    zone: str


class Balancers:
    """One balancer for each port that was asked for, by "namespace/name:port"."""

    def __init__(self, traffic: Traffic, zone: str, *, start: int, luck: Random) -> None:
        """`zone` is this node's. `start` differs by worker, and is where turns begin."""
        self._traffic, self._zone = traffic, zone
        self._start, self._luck = start, luck
        self._of: dict[str, _Known] = {}

    def __len__(self) -> int:
        return len(self._of)

    def settle(self, traffic: Traffic, zone: str) -> None:
        """Let this configuration hold from now on; each balancer notices when it is asked for."""
        self._traffic, self._zone = traffic, zone

    def of(self, service: Service, port: str) -> Balancer:
        """Find the balancer of a service's port, or begin one; its settings are those that hold now."""
        name = f"{service.key}:{port}"
        known = self._of.get(name)
        if (
            known is not None
            and known.traffic is self._traffic
            and known.zone is self._zone
            and (known.wishes is service.wishes or known.wishes == service.wishes)
        ):
            return known.balancer
        return self._settled(name, known, service, port)

    def breakers(self) -> Iterator[tuple[str, PortBreakers]]:
        """Give the name and the breakers of each."""
        return ((name, known.breakers) for name, known in self._of.items())

    def known(self, name: str) -> Balancer | None:
        """Find a balancer by its name, as "shop/orders:http"; None if it was never asked for."""
        known = self._of.get(name)
        return known.balancer if known else None

    def forget(self, name: str) -> None:
        """Drop what is kept for this name; nothing happens if nothing is."""
        self._of.pop(name, None)

    def _settled(self, name: str, known: _Known | None, service: Service, port: str) -> Balancer:
        settings = traffic_of(self._traffic, service, port)
        thresholds = thresholds_of(settings.breaker)
        if known is None:
            self._make_room()
            breakers = PortBreakers(thresholds, self._luck)
            balancer = Balancer(settings, breakers, zone=self._zone, start=self._start, luck=self._luck)
        else:
            balancer, breakers = known.balancer, known.breakers
            breakers.settle(thresholds)
            if settings != balancer.settings or self._zone != balancer.zone:
                balancer.settle(settings, self._zone)
        self._of[name] = _Known(balancer, breakers, service.wishes, self._traffic, self._zone)
        return balancer

    def _make_room(self) -> None:
        if len(self._of) >= BOUND:
            self._of = {name: known for name, known in self._of.items() if known.balancer.active}
            if len(self._of) >= BOUND:
                self._of.clear()


def thresholds_of(breaker: Breaker) -> Thresholds:
    """Give the thresholds that a configuration asks for."""
    return Thresholds(**{name: getattr(breaker, name) for name in Thresholds.__struct_fields__})
