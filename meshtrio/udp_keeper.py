"""Shell. Which UDP services the kernel picks for, and its maps kept so: on each change of what concerns them.

Knows the catalog's services and why each is picked for or not; the hooks' maps are intercept/udp_maps.py.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Protocol

from meshtrio.address import Address
from meshtrio.balance.slots import PICKS, slots
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.config.schema import Config
from meshtrio.intercept.direct_layout import Pick
from meshtrio.intercept.direct_seats import NoRoom
from meshtrio.intercept.udp_maps import UdpMaps
from meshtrio.observe import log
from meshtrio.publisher import Publisher
from meshtrio.route.datagrams import Choice, Unpicked, choice_of, is_strict, members, udp_way
from meshtrio.route.directness import Asked, Way

Table = tuple[Pick, tuple[Address, ...]]
FULL_AT_ONCE = 16
"""So many addresses for which there was no room are tried again at once."""
_REFUSE: Table = (Pick.TURNS, ())


class Wishes(Protocol):
    """What is wanted of the traffic to a port of a service."""

    def asked(self, service: Service, port: ServicePort) -> Asked:
        """Return what is asked for."""

    def usable(self, service: Service, port: ServicePort) -> Sequence[Endpoint]:
        """Return the endpoints among which to pick now."""


class UdpKeeper:
    """Keeps the hooks' maps of UDP services true.

    An address that several services claim is that of the least key, so that the answer does not depend on who
    came first.
    """

    def __init__(self, publisher: Publisher, config: Config, wishes: Wishes) -> None:
        """Begin without a kernel; then datagrams go where they are sent."""
        self._publisher = publisher
        self._config = config
        self._wishes = wishes
        self.maps: UdpMaps | None = None
        self._claimed: dict[str, frozenset[Address]] = {}
        """The addresses of each service."""
        self._claims: dict[Address, set[str]] = {}
        """Who claims an address."""
        self._found: dict[Address, Unpicked | None] = {}
        """Why nobody is picked for an address; None: somebody is."""
        self._written: dict[Address, Table] = {}

    @property
    def full(self) -> int:
        """How many addresses are left alone only because the maps are full."""
        return sum(one is Unpicked.FULL for one in self._found.values())

    @property
    def used(self) -> set[str]:
        """The keys of services for which the kernel picks."""
        return {self._owner(address) for address, why in self._found.items() if why is None}

    def use(self, maps: UdpMaps) -> None:
        """Keep these maps true from now on. What a predecessor left in them holds until `reconcile`."""
        self.maps = maps
        self.follow([service.key for service in self._publisher.snapshot.unordered()])

    def settle(self, config: Config) -> None:
        """Let another configuration hold."""
        self._config = config
        self._judge(list(self._claims))

    def reconcile(self) -> None:
        """Let go what a predecessor left and nobody has claimed, now that the catalog has been read."""
        for address in self.maps.standing - self._claims.keys() if self.maps is not None else ():
            self._drop(address)

    def look_again(self) -> None:
        """Try again what had no room, a few at a time: each try that fails costs writing and taking back."""
        full = (address for address, why in self._found.items() if why is Unpicked.FULL)
        self._judge(list(itertools.islice(full, FULL_AT_ONCE)))

    def way(self, service: Service, port: ServicePort) -> Way:
        """Say how datagrams to this UDP port of a service go, and why."""
        if self.maps is None:
            return udp_way([Unpicked.NO_HOOKS])
        at = [Address(vip, port.port) for vip in service.vips]
        judged = [
            self._found.get(one, Unpicked.OFF) if self._owner(one) == service.key else Unpicked.OTHER_OWNER
            for one in at
        ]
        return udp_way(judged, self._choice(service, port).note)

    def flows_of(self, service: Service, port: ServicePort, endpoint: Endpoint) -> int:
        """Return how many flows to this UDP port of a service began at an endpoint, since it serves."""
        if self.maps is None:
            return 0
        at = [Address(vip, port.port) for vip in service.vips]
        ours = [one for one in at if self._owner(one) == service.key]
        return sum(self.maps.flows_of(one, endpoint.address) for one in ours)

    @property
    def flows(self) -> int:
        """How many flows began at members that serve now."""
        return sum(self.maps.flows().values()) if self.maps is not None else 0

    def follow(self, changed: Iterable[str]) -> None:
        """Let the maps follow these services."""
        if self.maps is None:
            return
        touched: set[Address] = set()
        for key in changed:
            now = _addresses(self._publisher.snapshot.service(key))
            before = self._claimed.pop(key, frozenset())
            if now:
                self._claimed[key] = now
            for address in before - now:
                self._claims[address].discard(key)
                if not self._claims[address]:
                    del self._claims[address]
            for address in now:
                self._claims.setdefault(address, set()).add(key)
            touched |= before | now
        self._judge(touched)

    def _owner(self, address: Address) -> str:
        return min(self._claims.get(address, ()), default="")

    def _judge(self, addresses: Iterable[Address]) -> None:
        """Find anew who serves these addresses, and write it."""
        for address in addresses:
            service = self._publisher.snapshot.service(self._owner(address))
            if service is None:
                self._found.pop(address, None)
                self._drop(address)
                continue
            port = next(one for one in service.datagrams if one.port == address.port)
            found = self._table(service, port, address)
            self._found[address] = found if isinstance(found, Unpicked) else None
            if isinstance(found, Unpicked) and not found.refuses:
                self._drop(address)
            elif not self._write(address, _REFUSE if isinstance(found, Unpicked) else found):
                self._found[address] = Unpicked.FULL

    def _table(self, service: Service, port: ServicePort, vip: Address) -> Table | Unpicked:
        asked = self._wishes.asked(service, port)
        if not asked.direct:
            return Unpicked.OFF
        strict = is_strict(self._config)
        chosen = members(self._wishes.usable(service, port), v4=vip.is_v4, strict=strict)
        if isinstance(chosen, Unpicked):
            return chosen
        algorithm = self._choice(service, port).algorithm
        order = slots(algorithm, [(one.id, _weight(one)) for one in chosen])
        return PICKS[algorithm], tuple(chosen[at].address for at in order)

    def _choice(self, service: Service, port: ServicePort) -> Choice:
        asked = self._wishes.asked(service, port)
        return choice_of(asked.algorithm, asked.hash_key)

    def _write(self, address: Address, table: Table) -> bool:
        assert self.maps is not None
        if self._written.get(address) == table and address in self.maps.standing:
            return True
        try:
            self.maps.put(address, *table)
        except NoRoom:
            self._drop(address)
            log.rarely("the kernel's maps of UDP services are full; the rest is left alone")
            return False
        self._written[address] = table
        return True

    def _drop(self, address: Address) -> None:
        assert self.maps is not None
        self._written.pop(address, None)
        if address in self.maps.standing:
            self.maps.drop(address)


def _addresses(service: Service | None) -> frozenset[Address]:
    if service is None or not service.datagrams:
        return frozenset()
    return frozenset(Address(vip, port.port) for port in service.datagrams for vip in service.vips)


def _weight(endpoint: Endpoint) -> int:
    """Return twice its weight, or with a warning once."""
    return max(0, endpoint.weight) * (1 if endpoint.health is Health.WARNING else 2)
