"""Shell. The kernel's maps of direct services kept true, on each change of what concerns them.

Which services are direct is judged by direct_judging.py, the hooks' maps are intercept/direct_maps.py, and
what becomes of direct connections is direct_book.py.
"""

import itertools
from collections.abc import Iterable, Mapping, Set

from meshtrio.address import Address
from meshtrio.config.schema import Config
from meshtrio.direct_judging import Direct, DirectJudge, Table, Wishes
from meshtrio.granting import Grantor
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.intercept.direct_seats import NoRoom
from meshtrio.intercept.grants import Callers
from meshtrio.observe import log
from meshtrio.publisher import Publisher
from meshtrio.route.directness import Relayed, Way, way_of

FULL_AT_ONCE = 16
"""So many services for which there was no room are tried again at once."""
NAMES_BOUND = 16_384
"""So many addresses are remembered by their services' names after they ceased to be direct."""


class DirectKeeper:
    """Keeps the hooks' maps of direct services true."""

    def __init__(self, publisher: Publisher, config: Config, wishes: Wishes, grantor: Grantor) -> None:
        """Begin without a kernel; then everything is relayed."""
        self._publisher = publisher
        self._grantor = grantor
        self._judge = DirectJudge(publisher, config, wishes, grantor)
        self.maps: DirectMaps | None = None
        self._tables: dict[str, dict[Address, Table]] = {}
        """What was written, by service."""
        self._full: set[str] = set()
        self._secured_keys: set[str] = set()
        """Of services that are relayed because an endpoint is in the mesh."""
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

    @property
    def heeds_neighbours(self) -> bool:
        """Whether there is a service whose way depends on who of this node listens where."""
        return self._judge.speaks_tls and bool(self._tables or self._secured_keys)

    def use(self, maps: DirectMaps) -> None:
        """Keep these maps true from now on. What a predecessor left in them holds until `reconcile`."""
        self.maps = maps
        self._all_anew()

    def settle(self, config: Config) -> None:
        """Let another configuration hold."""
        self._judge.settle(config)
        self._all_anew()

    def reconcile(self) -> None:
        """Let go what a predecessor left and nobody has claimed, now that the catalog has been read."""
        if self.maps is None:
            return
        ours = {address for tables in self._tables.values() for address in tables}
        for address in self.maps.standing.keys() - ours:
            self.maps.drop(address)
        self.maps.grants.retain(ours)
        self._publisher.forget_unknown()

    def look_again(self) -> None:
        """Judge anew what changes without a word of the catalog: who is near, who may, if there is room."""
        if self._judge.speaks_tls:
            self.follow([*self._tables, *(self._secured_keys - self._tables.keys())])
        # A few at a time: each try that fails costs writing and taking back.
        self.follow(list(itertools.islice(self._full, FULL_AT_ONCE)))

    def withdraw(self, workload: int | None) -> None:
        """Let nobody go to this workload without us, nor it to others, until that has been judged anew.

        None: nobody to anybody.
        """
        for tables in self._tables.values() if self.maps is not None else ():
            for address, table in tables.items():
                called = any(workload in (None, guard.workload) for guard in table.guards.values())
                others = {} if called else {k: v for k, v in self._granted(address).items() if k != workload}
                self._grant(address, others)

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
            for address in [one for one in self._tables.get(key, ()) if not self._judge.owns(key, one)]:
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
            judged = {port.name: self._judge.judged(service, port) for port in service.ports}
            direct = {
                at: one
                for by_vip in judged.values()
                for at, one in by_vip.items()
                if not isinstance(one, Relayed)
            }
            missing = self._write(key, direct)
            for by_vip in judged.values():
                by_vip.update(dict.fromkeys(by_vip.keys() & missing, Relayed.FULL))
            why = {one for by_vip in judged.values() for one in by_vip.values() if isinstance(one, Relayed)}
            for reasons, those in (
                ({Relayed.FULL}, self._full),
                ({Relayed.TLS, Relayed.UNGRANTED}, self._secured_keys),
            ):
                (those.discard if reasons.isdisjoint(why) else those.add)(key)
            self._ways[key] = {name: _way(by_vip) for name, by_vip in judged.items()}

    def _all_anew(self) -> None:
        self.follow([service.key for service in self._publisher.snapshot.unordered()])

    def _no_kernel(self) -> str:
        return "" if self.maps is not None else Relayed.NO_HOOKS.value

    def _write(self, key: str, direct: Mapping[Address, Direct]) -> Set[Address]:
        """Let exactly these addresses of a service be direct; return those for which there was no room."""
        assert self.maps is not None
        before = self._tables.pop(key, {})
        kept: dict[Address, Table] = {}
        for address in before.keys() - direct.keys():
            self._drop(address)
        if not direct:
            # A predecessor's, that nobody wants direct any more.
            self._drop_inherited(key)
            return frozenset()
        for address, (table, callers) in direct.items():
            if before.get(address) != table or address not in self.maps.standing:
                try:
                    self.maps.put(address, *table)
                except NoRoom:
                    self._drop(address)
                    log.rarely("the kernel's maps of direct services are full; the rest is relayed")
                    continue
            if table.guards:
                self._grant(address, callers)
            kept[address] = table
            self._remember(address, key)
        if kept:
            self._tables[key] = kept
        return direct.keys() - kept.keys()

    def _grant(self, address: Address, callers: Callers) -> None:
        assert self.maps is not None
        if self.maps.grant(address, callers):
            log.rarely("the kernel's map of grants is full; the other workloads are relayed")

    def _granted(self, address: Address) -> Callers:
        assert self.maps is not None
        return self.maps.grants.given(address)

    def _drop(self, address: Address) -> None:
        assert self.maps is not None
        if address in self.maps.standing:
            self.maps.drop(address, known=self._publisher.has_mapped(address))
        self._judge.forget(address)

    def _drop_inherited(self, key: str) -> None:
        service = self._publisher.snapshot.service(key)
        for port in service.ports if service else ():
            for vip in service.vips if service else ():
                if self._judge.owns(key, Address(vip, port.port)):
                    self._drop(Address(vip, port.port))

    def _remember(self, address: Address, key: str) -> None:
        if len(self.names) >= NAMES_BOUND and address not in self.names:
            self.names.clear()
        self.names[address] = key


def _way(by_vip: Mapping[Address, Direct | Relayed]) -> Way:
    callers = {who for one in by_vip.values() if not isinstance(one, Relayed) for who in one.callers}
    return way_of(by_vip.values(), callers=len(callers))
