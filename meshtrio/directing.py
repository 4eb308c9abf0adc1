"""Shell. All that an agent does about direct services: which are, what becomes of their connections, what is
shown of both. Knows its parts (direct_keeper.py, direct_book.py, direct_breakers.py), and decides nothing
itself.
"""

import itertools
from collections.abc import Mapping, Sequence, Set

import trio
from msgspec.structs import replace

from meshtrio.accelerate.ladder import DIRECT, allows
from meshtrio.address import Address
from meshtrio.balance.algorithm import HASHING
from meshtrio.balance.eligible import is_usable, sorted_out
from meshtrio.balance.settings import traffic_of
from meshtrio.balance.starting import Starting
from meshtrio.breaker_board import BreakerBoard
from meshtrio.catalog.service import UDP, Endpoint, Service, ServicePort
from meshtrio.config.schema import Config
from meshtrio.config.traffic import Settings
from meshtrio.config.wishes import NO_WISHES
from meshtrio.direct_book import DirectBook
from meshtrio.direct_breakers import DirectBreakers
from meshtrio.direct_keeper import DirectKeeper
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.netns import Netns
from meshtrio.intercept.registry import Registry
from meshtrio.intercept.tables import Ports
from meshtrio.intercept.udp_maps import UdpMaps
from meshtrio.neighbours import Nearby
from meshtrio.observe.sums import Gauge, Sums
from meshtrio.publisher import Publisher
from meshtrio.route.directness import Asked, asked_of
from meshtrio.udp_keeper import UdpKeeper

OFF = Asked()
LOOK_S = 5.0
"""How often is judged anew what changes without news of the catalog."""
MOVE_S = 0.25
"""How often is looked what time alone has changed: a breaker that is due, who starts slowly."""
STARTS_AT_ONCE = 8
"""So many ports at which somebody gets more now are written at once. Others wait for their turn, and skip the
steps that they miss."""


class Directing:
    """Direct services and their connections."""

    def __init__(
        self, config: Config, publisher: Publisher, registry: Registry, sums: Sums, *, board: BreakerBoard
    ) -> None:
        """Begin without a kernel: everything is relayed until `use`."""
        self._config = config
        self._publisher = publisher
        self._registry = registry
        self._ports: Ports | None = None
        near = Nearby(lambda: self._spaces().values(), lambda: self._ports)
        self._keeper = DirectKeeper(publisher, config, self, near)
        self.udp = UdpKeeper(publisher, config, self)
        publisher.follower = self._follow
        by_tcp = publisher.used_directly
        publisher.used_directly = lambda: by_tcp() | self.udp.used
        self._book = DirectBook(self._spaces, self._keeper.names, sums.add)
        self._clock, self._starting = board.clock, Starting()
        self._breakers = DirectBreakers(board, lambda: publisher.snapshot, self._settings, self._established)
        self._breakers.changed = lambda key: self._keeper.follow([key])
        self._book.failed = self._breakers.saw
        self.way = self._keeper.way
        self.ways = (self.way, self.udp)
        """How traffic goes, by TCP and by UDP: for those who list services."""
        self.live = self._book.live
        self.enter = self._book.enter
        self.leave = self._book.leave

    def use(self, kernel: Kernel) -> None:
        """Use this kernel's maps from now on; what a predecessor left in them holds on for now."""
        maps = DirectMaps(kernel.maps)
        self._ports = Ports(kernel.maps["ports"])
        self._publisher.use_map(kernel.maps["services"], keep=maps.standing.keys())
        self._book.maps = maps
        self._keeper.use(maps)
        if not kernel.why_no_names:
            self.udp.use(UdpMaps(kernel.maps))

    def settle(self, config: Config) -> None:
        """Let another configuration hold."""
        self._config = config
        self._keeper.settle(config)
        self.udp.settle(config)

    async def run(self) -> None:
        """Keep what changes by itself true until cancelled. To be started when the catalog has been read."""
        self._keeper.reconcile()
        self.udp.reconcile()
        async with trio.open_nursery() as both:
            both.start_soon(self._book.keep_reading)
            both.start_soon(self._keep_moving)
            while True:
                await trio.sleep(LOOK_S)
                self._breakers.look_again()
                self._starting.retain(
                    lambda name: self._publisher.snapshot.service(name.rpartition(":")[0]) is not None
                )
                self._keeper.look_again()
                self.udp.look_again()
                self._keeper.sweep()

    async def _keep_moving(self) -> None:
        while True:
            await trio.sleep(MOVE_S)
            self.move_on()

    def move_on(self) -> None:
        """Let the maps follow what time alone has changed; of those who start slowly, some at a time."""
        self._breakers.move_on()
        due = itertools.islice(self._starting.due(self._clock()), STARTS_AT_ONCE)
        self._keeper.follow(dict.fromkeys(name.rpartition(":")[0] for name in due))

    def _follow(self, changed: Set[str]) -> None:
        self._keeper.follow(changed)
        self.udp.follow(changed)

    def close(self, wanted: str) -> int:
        """End the direct connections to a service ("namespace/name") or an endpoint ("ip:port"); how many.

        ValueError if it is neither, OSError if the kernel cannot.
        """
        if "/" in wanted:
            return self._book.close(lambda service, member: service == wanted)
        address = Address.parse(wanted)
        return self._book.close(lambda service, member: member == address)

    def summaries(self) -> dict[str, dict[str, int]]:
        """Return what `meshtrio status` shows of both, by name."""
        return {"direct": self.summary(), "udp": self.udp_summary()}

    def summary(self) -> dict[str, int]:
        """Return the numbers of direct connections and services."""
        maps = self._keeper.maps
        carried = list(maps.carried().values()) if maps is not None else []
        return {
            "services": self._keeper.count,
            "active": sum(max(0, one.active) for one in carried),
            "connections": sum(one.connections for one in carried),
            "failed": sum(one.failed for one in carried),
            "no_room": self._keeper.full,
        }

    def udp_summary(self) -> dict[str, int]:
        """Return the numbers of UDP services and flows; `no_room` counts addresses."""
        return {
            "services": len(self.udp.used),
            "flows": self.udp.flows,
            "no_room": self.udp.full,
        }

    def gauges(self) -> list[Gauge]:
        """Return the numbers of all members together; those of ended connections are with all others."""
        told, udp = self.summary(), self.udp_summary()
        return [
            Gauge(
                "meshtrio_direct_services",
                "Services whose callers go to endpoints directly",
                told["services"],
            ),
            Gauge("meshtrio_direct_active", "Direct connections that live", told["active"]),
            Gauge("meshtrio_direct_no_room", "Services relayed only because maps are full", told["no_room"]),
            Gauge("meshtrio_udp_services", "UDP services for which the kernel picks", udp["services"]),
            Gauge("meshtrio_udp_flows", "Flows that began at members that serve now", udp["flows"]),
            Gauge("meshtrio_udp_no_room", "UDP addresses left alone as maps are full", udp["no_room"]),
        ]

    def asked(self, service: Service, port: ServicePort) -> Asked:
        """Return what is asked for of the traffic to this port."""
        traffic = self._config.traffic
        if traffic.direct == "off" and not traffic.rules and service.wishes is NO_WISHES:
            return OFF  # as most are, and asking for more costs 20 us each
        asked = asked_of(self._settings(service, port))
        # Datagrams have no relay: whoever is not picked for in the kernel reaches nobody.
        if port.protocol != UDP and not allows(self._config.rung_max, DIRECT):
            asked = replace(asked, allowed=False)
        return replace(asked, proving=True) if self._breakers.is_proving(service, port) else asked

    def usable(self, service: Service, port: ServicePort) -> Sequence[Endpoint]:
        """Return the endpoints among which workers would pick first."""
        settings, blocked = self._settings(service, port), frozenset[str]()
        # Nobody sees how datagrams are answered, and flows do not start slowly.
        if port.protocol != UDP:
            blocked = frozenset(self._breakers.blocked(service, port))
            ramp_s = 0.0 if settings.algorithm in HASHING else settings.slow_start_s
            usable = [one.id for one in port.endpoints if is_usable(one, blocked)]
            self._starting.see(_name(service, port), usable, self._clock(), ramp_s)
        found = sorted_out(port.endpoints, settings, zone=self._config.zone, blocked=blocked)
        return (*found.chosen, *found.far)

    def starting(self, service: Service, port: ServicePort) -> Mapping[str, int]:
        """Say how many tenths of their share those of the usable get that start slowly."""
        return self._starting.tenths(_name(service, port))

    def _settings(self, service: Service, port: ServicePort) -> Settings:
        return traffic_of(self._config.traffic, service, port.name)

    def _established(self, service: Address, member: Address) -> int:
        maps = self._keeper.maps
        return maps.established(service, member) if maps is not None else 0

    def _spaces(self) -> Mapping[int, Netns]:
        return {one.site.netns.id: one.site.netns for one in self._registry}


def _name(service: Service, port: ServicePort) -> str:
    return f"{service.key}:{port.name}"
