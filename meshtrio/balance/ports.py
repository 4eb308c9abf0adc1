"""Core. All service ports that one worker dials, each as it is to be balanced now. Does not know when they
are asked.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from meshtrio.balance.balancer import Balancer, Luck
from meshtrio.balance.breaker import Thresholds
from meshtrio.balance.breakers import PortBreakers
from meshtrio.balance.port import Port
from meshtrio.balance.settings import traffic_of
from meshtrio.catalog.service import Service
from meshtrio.config.traffic import Breaker, Settings, Traffic
from meshtrio.config.wishes import Wishes

BOUND = 16_384
"""How many a worker keeps. Full: those that hold no connection are dropped, and begin anew when they are
asked for. If all hold some, all are dropped; who has one of them in hand goes on with that."""

FindBreakers = Callable[[str, Thresholds], PortBreakers]
"""Finds the breakers of a port by its name, and lets these thresholds hold for them."""


class _Known(NamedTuple):
    port: Port
    wishes: Wishes
    traffic: Traffic
    zone: str


class Ports:
    """One for each port that was asked for, by "namespace/name:port"."""

    def __init__(self, breakers: FindBreakers, *, start: int, luck: Luck) -> None:
        """Begin with the default settings. `start` differs by worker, and is where turns begin."""
        self._traffic, self._zone = Traffic(), ""
        self._breakers, self._start, self._luck = breakers, start, luck
        self._of: dict[str, _Known] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[Port]:
        return (known.port for known in self._of.values())

    def settle(self, traffic: Traffic, zone: str) -> None:
        """Let this configuration hold from now on; each port notices when it is asked for."""
        self._traffic, self._zone = traffic, zone

    def of(self, service: Service, port: str) -> Port:
        """Find a service's port, or begin one; its settings are those that hold now."""
        name = f"{service.key}:{port}"
        known = self._of.get(name)
        if (
            known is not None
            and known.traffic is self._traffic
            and known.zone is self._zone
            and (known.wishes is service.wishes or known.wishes == service.wishes)
        ):
            return known.port
        return self._settled(name, known, service, port)

    def known(self, name: str) -> Port | None:
        """Find a port by its name, as "shop/orders:http"; None if it was never asked for."""
        known = self._of.get(name)
        return known.port if known else None

    def fresh(self, service: Service, port: str) -> Port:
        """Make a port as `of` would at the first call, for a look at it; it is not kept."""
        settings = traffic_of(self._traffic, service, port)
        return self._made(f"{service.key}:{port}", settings)

    def forget(self, name: str) -> None:
        """Let a port begin anew when it is asked for again; who has it in hand goes on with that."""
        self._of.pop(name, None)

    def _settled(self, name: str, known: _Known | None, service: Service, port: str) -> Port:
        settings = traffic_of(self._traffic, service, port)
        if known is None:
            self._make_room()
            found = self._made(name, settings)
        else:
            found = known.port
            self._breakers(name, thresholds_of(settings.breaker))
            if settings != found.settings or self._zone != found.balancer.zone:
                found.settle(settings, self._zone)
        self._of[name] = _Known(found, service.wishes, self._traffic, self._zone)
        return found

    def _made(self, name: str, settings: Settings) -> Port:
        breakers = self._breakers(name, thresholds_of(settings.breaker))
        balancer = Balancer(settings, breakers, zone=self._zone, start=self._start, luck=self._luck)
        return Port(name, balancer, breakers)

    def _make_room(self) -> None:
        if len(self._of) >= BOUND:
            self._of = {name: known for name, known in self._of.items() if known.port.balancer.active}
            if len(self._of) >= BOUND:
                self._of.clear()


def thresholds_of(breaker: Breaker) -> Thresholds:
    """Give the thresholds that a configuration asks for."""
    return Thresholds(**{name: getattr(breaker, name) for name in Thresholds.__struct_fields__})
