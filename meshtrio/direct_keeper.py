"""Shell. Which services are direct, and the kernel's maps kept so: on each change of what concerns them.

Knows the catalog's services and why each is relayed or not; the hooks' maps are intercept/direct_maps.py, and
what becomes of direct connections is direct_book.py.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Protocol

from meshtrio.address import Address
from meshtrio.balance.slots import PICKS, slots
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.config.schema import Config
from meshtrio.intercept.direct_layout import Pick
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.intercept.direct_seats import NoRoom
from meshtrio.observe import log
from meshtrio.publisher import Publisher
from meshtrio.route.directness import Asked, Relayed, Way, members, speaks_tls, wanted_otherwise, way_of

Table = tuple[Pick, tuple[Address, ...]]
FULL_AT_ONCE = 16
"""So many services for which there was no room are tried again at once."""
NAMES_BOUND = 16_384
"""So many addresses are remembered by their services' names after they ceased to be direct."""


class Wishes(Protocol):
    """What is wanted of the traffic to a port of a service."""

    def asked(self, service: Service, port: ServicePort) -> Asked:
        """Return what may need a worker."""

    def usable(self, service: Service, port: ServicePort) -> Sequence[Endpoint]:
        """Return the endpoints among which to pick now."""

    def starting(self, service: Service, port: ServicePort) -> Mapping[str, int]:
        """Say how many tenths of their share those of them get that start slowly."""


class DirectKeeper:
    """Keeps the hooks' maps of direct services true."""

    def __init__(
        self,
        publisher: Publisher,
        config: Config,
        wishes: Wishes,
        is_near: Callable[[Address], bool],
    ) -> None:
        """Begin without a kernel; then everything is relayed. `is_near` says whether a workload of this node
        serves at an address."""
        self._publisher = publisher
        self._config = config
        self._wishes = wishes
        self._is_near = is_near
        self.maps: DirectMaps | None = None
        self._tables: dict[str, dict[Address, Table]] = {}
        """What was written, by service."""
        self._made: dict[Address, tuple[object, Table]] = {}
        """From what each table was made last, so that looking again costs nothing."""
        self._full: set[str] = set()
        self._secured_keys: set[str] = set()
        """Of services that are relayed because an endpoint is called with mutual TLS."""
        self._ways: dict[str, dict[str, Way]] = {}
        self.names: dict[Address, str] = {}
        """Which service an address is or was direct for."""
        publisher.follower = self.follow
        publisher.used_directly = lambda: self._tables.keys()

    @property
    def full(self) -> int:
        """How many services are relayed only because the maps are full."""
        return len(self._full)

    @property
    def count(self) -> int:
        """How many services have an address that is direct."""
        return len(self._tables)

    def use(self, maps: DirectMaps) -> None:
        """Keep these maps true from now on. What a predecessor left in them holds until `reconcile`."""
        self.maps = maps
        self._all_anew()

    def settle(self, config: Config) -> None:
        """Let another configuration hold."""
        self._config = config
        self._all_anew()

    def reconcile(self) -> None:
        """Let go what a predecessor left and nobody has claimed, now that the catalog has been read."""
        if self.maps is None:
            return
        ours = {address for tables in self._tables.values() for address in tables}
        for address in self.maps.standing.keys() - ours:
            self.maps.drop(address)
        self._publisher.forget_unknown()

    def look_again(self) -> None:
        """Judge anew what changes without a word of the catalog: who is near, whether there is room."""
        if speaks_tls(self._config):
            self.follow([*self._tables, *(self._secured_keys - self._tables.keys())])
        # A few at a time: each try that fails costs writing and taking back.
        self.follow(list(itertools.islice(self._full, FULL_AT_ONCE)))

    def sweep(self) -> None:
        """Forget members that have left, once their last connections have ended."""
        if self.maps is not None:
            self.maps.sweep()

    def way(self, key: str, port: str) -> Way:
        """Say how connections to this port of a service go, and why."""
        return self._ways.get(key, {}).get(port) or Way("relay", self._no_kernel() or Relayed.OFF.value)

    def follow(self, changed: Iterable[str]) -> None:
        """Let the maps follow these services."""
        if self.maps is None:
            return
        keys = list(changed)
        # First of all: an address that has gone to another service must not be dropped after that has it.
        for key in keys:
            for address in [one for one in self._tables.get(key, ()) if not self._owns(key, one)]:
                self._drop(address)
                del self._tables[key][address]
        for key in keys:
            service = self._publisher.snapshot.service(key)
            if service is None:
                self._ways.pop(key, None)
                self._full.discard(key)
                self._secured_keys.discard(key)
                self._write(key, {})
                continue
            judged = {port.name: self._judged(service, port) for port in service.ports}
            tables = {
                at: one
                for by_vip in judged.values()
                for at, one in by_vip.items()
                if not isinstance(one, Relayed)
            }
            missing = self._write(key, tables)
            for by_vip in judged.values():
                by_vip.update(dict.fromkeys(by_vip.keys() & missing, Relayed.FULL))
            for reason, those in ((Relayed.FULL, self._full), (Relayed.TLS, self._secured_keys)):
                is_so = any(reason in by_vip.values() for by_vip in judged.values())
                (those.add if is_so else those.discard)(key)
            self._ways[key] = {name: way_of(by_vip.values()) for name, by_vip in judged.items()}

    def _all_anew(self) -> None:
        self.follow([service.key for service in self._publisher.snapshot.unordered()])

    def _no_kernel(self) -> str:
        return "" if self.maps is not None else Relayed.NO_HOOKS.value

    def _judged(self, service: Service, port: ServicePort) -> dict[Address, Table | Relayed]:
        """Say for each address of this port what is to be written, or why it is relayed."""
        vips = [Address(vip, port.port) for vip in service.vips]
        asked = self._wishes.asked(service, port)
        if (why := wanted_otherwise(asked)) is not None:
            return dict.fromkeys(vips, why)
        serving = self._wishes.usable(service, port)
        starting = self._wishes.starting(service, port)
        judged: dict[Address, Table | Relayed] = {}
        for vip in vips:
            if not self._owns(service.key, vip):
                judged[vip] = Relayed.OTHER_OWNER
            elif not self._publisher.has_mapped(vip):
                judged[vip] = Relayed.FULL
            else:
                chosen = members(serving, v4=vip.is_v4, secured=self._secured())
                judged[vip] = (
                    chosen
                    if isinstance(chosen, Relayed)
                    else self._table(vip, asked.algorithm, chosen, starting)
                )
        return judged

    def _owns(self, key: str, address: Address) -> bool:
        found = self._publisher.snapshot.lookup(address)
        return found is not None and found.service.key == key and found.endpoint is None

    def _table(
        self, vip: Address, algorithm: str, chosen: Sequence[Endpoint], starting: Mapping[str, int]
    ) -> Table:
        weights = [(one.id, _weight(one)) for one in chosen]
        made_from = (algorithm, weights, [one.address for one in chosen], starting)
        known = self._made.get(vip)
        if known is not None and known[0] == made_from:
            return known[1]
        made = PICKS[algorithm], tuple(chosen[at].address for at in slots(algorithm, weights, starting))
        self._made[vip] = (made_from, made)
        return made

    def _secured(self) -> Callable[[Endpoint], bool]:
        if not speaks_tls(self._config):
            return lambda endpoint: False
        return lambda endpoint: endpoint.meshed or self._is_near(endpoint.address)

    def _write(self, key: str, tables: Mapping[Address, Table]) -> Set[Address]:
        """Let exactly these addresses of a service be direct; return those for which there was no room."""
        assert self.maps is not None
        before = self._tables.pop(key, {})
        kept: dict[Address, Table] = {}
        for address in before.keys() - tables.keys():
            self._drop(address)
        if not tables:
            # A predecessor's, that nobody wants direct any more.
            self._drop_inherited(key)
            return frozenset()
        for address, table in tables.items():
            if before.get(address) != table or address not in self.maps.standing:
                try:
                    self.maps.put(address, *table)
                except NoRoom:
                    self._drop(address)
                    log.rarely("the kernel's maps of direct services are full; the rest is relayed")
                    continue
            kept[address] = table
            self._remember(address, key)
        if kept:
            self._tables[key] = kept
        return tables.keys() - kept.keys()

    def _drop(self, address: Address) -> None:
        assert self.maps is not None
        if address in self.maps.standing:
            self.maps.drop(address, known=self._publisher.has_mapped(address))
        self._made.pop(address, None)

    def _drop_inherited(self, key: str) -> None:
        service = self._publisher.snapshot.service(key)
        for port in service.ports if service else ():
            for vip in service.vips if service else ():
                if self._owns(key, Address(vip, port.port)):
                    self._drop(Address(vip, port.port))

    def _remember(self, address: Address, key: str) -> None:
        if len(self.names) >= NAMES_BOUND and address not in self.names:
            self.names.clear()
        self.names[address] = key


def _weight(endpoint: Endpoint) -> int:
    """Return twice its weight, or with a warning once."""
    return max(0, endpoint.weight) * (1 if endpoint.health is Health.WARNING else 2)
