"""Shell. Which addresses of a service are direct, or why each is relayed. Does not write the kernel's maps.

Knows the catalog's services, what is wanted of them, and who of this node may go to whom.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from meshtrio.address import Address
from meshtrio.balance.slots import PICKS, slots
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.config.schema import Config
from meshtrio.granting import Grantor
from meshtrio.intercept.direct_layout import Guard, Pick
from meshtrio.intercept.direct_maps import NO_GUARDS
from meshtrio.intercept.grants import Callers
from meshtrio.publisher import Publisher
from meshtrio.route.directness import Asked, Relayed, members, speaks_tls, wanted_otherwise

NOBODY: Callers = {}


class Table(NamedTuple):
    """What the hooks need to pick for one address."""

    pick: Pick
    order: tuple[Address, ...]
    guards: Mapping[Address, Guard] = NO_GUARDS
    """Which workload each member is, if only those who have a grant may go there."""


class Direct(NamedTuple):
    """An address that is direct."""

    table: Table
    callers: Callers = NOBODY
    """Who has a grant, if it is guarded."""


class _Chosen(NamedTuple):
    """Among whom to pick for an address."""

    members: tuple[Endpoint, ...]
    guards: Mapping[Address, Guard] = NO_GUARDS
    callers: Callers = NOBODY


class Wishes(Protocol):
    """What is wanted of the traffic to a port of a service."""

    def asked(self, service: Service, port: ServicePort) -> Asked:
        """Return what may need a worker."""

    def usable(self, service: Service, port: ServicePort) -> Sequence[Endpoint]:
        """Return the endpoints among which to pick now."""

    def starting(self, service: Service, port: ServicePort) -> Mapping[str, int]:
        """Say how many tenths of their share those of them get that start slowly."""


class DirectJudge:
    """Judges services."""

    def __init__(self, publisher: Publisher, config: Config, wishes: Wishes, grantor: Grantor) -> None:
        """Judge what the publisher publishes, by this configuration."""
        self._publisher = publisher
        self._wishes = wishes
        self._grantor = grantor
        self._made: dict[Address, tuple[object, Table]] = {}
        """From what each table was made last, so that looking again costs nothing."""
        self.settle(config)

    def settle(self, config: Config) -> None:
        """Let another configuration hold."""
        self.speaks_tls = speaks_tls(config)

    def forget(self, address: Address) -> None:
        """Keep nothing of an address that is not direct any more."""
        self._made.pop(address, None)

    def owns(self, key: str, address: Address) -> bool:
        """Say whether an address is a virtual one of this service."""
        found = self._publisher.snapshot.lookup(address)
        return found is not None and found.service.key == key and found.endpoint is None

    def judged(self, service: Service, port: ServicePort) -> dict[Address, Direct | Relayed]:
        """Say for each address of this port what is to be written, or why it is relayed."""
        vips = [Address(vip, port.port) for vip in service.vips]
        asked = self._wishes.asked(service, port)
        if (why := wanted_otherwise(asked)) is not None:
            return dict.fromkeys(vips, why)
        serving = self._wishes.usable(service, port)
        starting = self._wishes.starting(service, port)
        judged: dict[Address, Direct | Relayed] = {}
        for vip in vips:
            if not self.owns(service.key, vip):
                judged[vip] = Relayed.OTHER_OWNER
            elif not self._publisher.has_mapped(vip):
                judged[vip] = Relayed.FULL
            else:
                chosen = self._chosen(vip, serving)
                judged[vip] = (
                    chosen
                    if isinstance(chosen, Relayed)
                    else Direct(self._table(vip, asked.algorithm, chosen, starting), chosen.callers)
                )
        return judged

    def _chosen(self, vip: Address, serving: Sequence[Endpoint]) -> "_Chosen | Relayed":
        """Return among whom to pick, or why not; and if only some may go there, who they are to whom."""
        plain = members(serving, v4=vip.is_v4, secured=self._secured())
        if plain is not Relayed.TLS or not self._grantor.on:
            return plain if isinstance(plain, Relayed) else _Chosen(plain)
        fitting = members(serving, v4=vip.is_v4, secured=lambda endpoint: False)
        guards = self._grantor.guards(fitting) if not isinstance(fitting, Relayed) else None
        if isinstance(fitting, Relayed) or guards is None:
            return plain
        callers = self._grantor.callers(vip, guards)
        return _Chosen(fitting, guards, callers) if callers else Relayed.UNGRANTED

    def _table(self, vip: Address, algorithm: str, chosen: "_Chosen", starting: Mapping[str, int]) -> Table:
        weights = [(one.id, _weight(one)) for one in chosen.members]
        addresses = [one.address for one in chosen.members]
        made_from = (algorithm, weights, addresses, starting, chosen.guards)
        known = self._made.get(vip)
        if known is not None and known[0] == made_from:
            return known[1]
        order = tuple(addresses[at] for at in slots(algorithm, weights, starting))
        made = Table(PICKS[algorithm], order, chosen.guards)
        self._made[vip] = (made_from, made)
        return made

    def _secured(self) -> Callable[[Endpoint], bool]:
        if not self.speaks_tls:
            return lambda endpoint: False
        return lambda endpoint: endpoint.meshed or self._grantor.is_near(endpoint.address)


def _weight(endpoint: Endpoint) -> int:
    """Return twice its weight, or with a warning once."""
    return max(0, endpoint.weight) * (1 if endpoint.health is Health.WARNING else 2)
