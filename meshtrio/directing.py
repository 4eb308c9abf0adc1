"""Shell. All that an agent does about direct services: which are, what becomes of their connections, what is
shown of both. Knows its parts (direct_keeper.py, direct_book.py, direct_breakers.py), and decides nothing
itself.
"""

import itertools
import time
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
from meshtrio.direct_revoking import DirectRevoking
from meshtrio.direct_sums import gauges, summaries
from meshtrio.granting import Grantor
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.netns import Netns
from meshtrio.intercept.registry import Registry
from meshtrio.intercept.tables import Ports
from meshtrio.intercept.udp_maps import UdpMaps
from meshtrio.messages import Credentials, Trusted
from meshtrio.neighbours import Nearby
from meshtrio.observe import log
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
        self._maps: DirectMaps | None = None
        self._begun = trio.Event()
        self._near = Nearby(lambda: self._spaces().values(), lambda: self._ports)
        self._grantor = Grantor(config, lambda: registry, self._near)
        self._keeper = DirectKeeper(publisher, config, self, self._grantor)
        self._is_stale = False
        """Somebody has another certificate, and who may go to whom was not judged since."""
        self.udp = UdpKeeper(publisher, config, self)
        publisher.follower = self._follow
        by_tcp = publisher.used_directly
        publisher.used_directly = lambda: by_tcp() | self.udp.used
        self._book = DirectBook(self._spaces, self._keeper.names, sums.add, self._grantor.identity)
        self._book.astray = self._strayed
        self._revoking = DirectRevoking(self._grantor, self._book)
        self._clock, self._starting = board.clock, Starting()
        self._breakers = DirectBreakers(board, lambda: publisher.snapshot, self._settings, self._established)
        self._breakers.changed = lambda key: self._keeper.follow([key])
        self._book.failed = self._breakers.saw
        self.way = self._keeper.way
        self.ways = (self.way, self.udp)
        """How traffic goes, by TCP and by UDP: for those who list services."""
        self.live = self._book.live
        self.enter = self._book.enter

    def use(self, kernel: Kernel) -> None:
        """Use this kernel's maps from now on; what a predecessor left in them holds until `begin`."""
        self._maps = maps = DirectMaps(kernel.maps)
        self._grantor.why_not = kernel.why_no_grants
        self._ports = Ports(kernel.maps["ports"])
        self._publisher.use_map(kernel.maps["services"], keep=maps.standing.keys())
        self._book.maps = maps
        if not kernel.why_no_names:
            self.udp.use(UdpMaps(kernel.maps))

    def begin(self) -> None:
        """Judge services, now that it is known which workloads are here: theirs are not called in plain."""
        if self._maps is not None:
            self._keeper.use(self._maps)
        self._begun.set()

    def settle(self, config: Config) -> None:
        """Let another configuration hold."""
        self._config = config
        self._grantor.settle(config)
        self._keeper.settle(config)
        self.udp.settle(config)

    def hear(self, news: Credentials | Trusted) -> None:
        """Know from now on who a workload is and until when it can prove that, or who is revoked."""
        for number in self._grantor.hear(news):
            self.withdraw(number)

    def withdraw(self, number: int | None = None) -> None:
        """Grant nothing of this workload (None: of any) until the next tick, which judges anew.

        Call it before the hooks forget a workload or a port: who comes there then has not arrived.
        """
        self._grantor.look_anew()
        self._keeper.withdraw(number)
        self._is_stale = True

    def leave(self, number: int) -> None:
        """Close the books of a workload whose hooks are gone."""
        self._book.leave(number)
        self._grantor.forget(number)
        self.withdraw(number)

    async def run(self) -> None:
        """Keep what changes by itself true until cancelled. To be started when the catalog has been read."""
        await self._begun.wait()
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
                self._revoking.end(self._clock(), time.time(), self._config.identity.drain_s)
                self.udp.look_again()
                self._keeper.sweep()

    def _strayed(self, workload: int, service: Address) -> None:
        self._grantor.strayed(workload, service)
        log.rarely("a connection did not arrive where it was granted to go; others are relayed for a while")
        self._keeper.follow([name] if (name := self._keeper.names.get(service)) else [])

    async def _keep_moving(self) -> None:
        while True:
            await trio.sleep(MOVE_S)
            self.move_on()

    def move_on(self) -> None:
        """Let the maps follow what has changed by itself; of those who start slowly, some at a time."""
        if self._is_stale or (self._keeper.heeds_neighbours and self._near.is_otherwise()):
            self._is_stale = False
            self._keeper.look_again()
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
            return self._book.close(lambda service, one: service == wanted)
        address = Address.parse(wanted)
        return self._book.close(lambda service, one: one.member == address)

    def sweep_passages(self) -> None:
        """Forget granted connections whose ends no hook has seen."""
        if self._maps is not None:
            self._maps.sweep_passages()

    def summaries(self) -> dict[str, dict[str, int]]:
        """Return what `meshtrio status` shows of both, by name."""
        return summaries(self._keeper, self.udp)

    def gauges(self) -> list[Gauge]:
        """Return the numbers of all members together; those of ended connections are with all others."""
        return gauges(**self.summaries())

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
