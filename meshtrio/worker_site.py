"""Shell. What all connections of one worker share: what the agent told it, and what it keeps count of."""

from random import Random

from msgspec.structs import replace

from meshtrio.accelerate.ladder import SPLICE, allows
from meshtrio.balance.load import Counted
from meshtrio.balance.ports import Ports
from meshtrio.breaker_share import BreakerShare
from meshtrio.catalog.service import Endpoint
from meshtrio.config.schema import Config
from meshtrio.forward.relay import Relay
from meshtrio.intercept.arrival import Door
from meshtrio.interest import Interest
from meshtrio.messages import (
    Credentials,
    KnowBreakers,
    KnowWorkload,
    Resolved,
    SeenElsewhere,
    Tally,
    Trusted,
    WorkloadName,
)
from meshtrio.neighbours import Neighbour, Neighbours
from meshtrio.observe.ledger import Ledger
from meshtrio.overtaken import Overtaken
from meshtrio.route.doors import Doors
from meshtrio.route.table import RouteTable
from meshtrio.secure.border import Border


class Site:
    """What all connections of one worker share. Replaced piece by piece when the agent sends news."""

    def __init__(self, interest: Interest, relay: Relay, *, start: int) -> None:
        """Begin with the default configuration and no door; `start` is where turns begin."""
        self.config = Config()
        self._excluded = self.config.inbound_exclusions
        self.interest = interest
        self.relay = relay
        self.ledger = Ledger()
        self.luck = Random()
        self.breakers = BreakerShare(self.luck)
        self.ports = Ports(self.breakers.of, start=start, luck=self.luck)
        self.overtaken = Overtaken()
        self._counted = Counted()
        self.breakers.on_forget = self.ports.forget
        self._routes: RouteTable | None = None
        self.border = Border()
        self.names: dict[int, WorkloadName] = {}
        """Workloads by their ids, as the kernel and the agent give them."""
        self.doors: dict[int, Door] = {}
        self.neighbours = Neighbours(self.doors.values)
        self.pending = 0

    def settle(self, config: Config) -> None:
        """Let this configuration hold for connections to come."""
        self.config = config
        self._excluded = config.inbound_exclusions
        self.relay.allow_splice(allowed=allows(config.rung_max, SPLICE))
        self.border.settle(config)
        self.ports.settle(config.traffic, config.zone)
        self.forget_routes()
        for door in self.doors.values():
            door.tune(config.keepalive)

    async def learn(
        self, news: KnowWorkload | Credentials | Trusted | Resolved | SeenElsewhere | KnowBreakers
    ) -> None:
        """Know this from now on, as the agent says."""
        match news:
            case KnowWorkload():
                self.know(news.workload)
            case Credentials() | Trusted():
                self.border.learn(news)
            case SeenElsewhere() | KnowBreakers():
                self.breakers.learn(news)
            case Resolved():
                forgotten = self.interest.learn(news)
                if forgotten is not None:
                    await self.interest.forget(forgotten)

    def know(self, workload: WorkloadName) -> None:
        """Know this workload by its name, or (empty name) forget it."""
        if workload.name:
            self.names[workload.id] = workload
        else:
            self.names.pop(workload.id, None)
            self.border.keyring.forget(workload.id)

    def tally(self) -> Tally | None:
        """Hand over what ended and what was counted since the last tally; None: nothing.

        Nobody is told while there is no agent, so what balancing counted waits in its ports.
        """
        tally = self.ledger.tally()
        balanced = [] if self.interest.alone else self._counted.news(self.ports)
        if balanced:
            return replace(tally or Tally([], [], open=len(self.ledger)), balanced=balanced)
        return tally

    def neighbour(self, door: Door, endpoint: Endpoint) -> Neighbour | None:
        """Return who serves an endpoint, if that is a workload of this node which can be called securely."""
        if endpoint.address.port in self._excluded:
            return None
        found = self.neighbours.find(door, endpoint.address)
        called = self.names.get(found.workload) if found else None
        takes = called is not None and self.border.takes_tls(called, endpoint.address.port)
        return found if takes else None

    def seen_here(self, endpoint: Endpoint, neighbour: Neighbour | None) -> Endpoint:
        """Add to what the catalog says of an endpoint what we see ourselves: it is a workload of this node.

        So it is in the mesh, and we know who it is. What the catalog knows holds, if it knows anything.
        """
        if endpoint.meshed or neighbour is None:
            return endpoint
        return replace(endpoint, meshed=True, identity=self.border.keyring.identity(neighbour.workload))

    def end_revoked(self, now: float, wall_now: float) -> None:
        """Cut the connections whose other side has been revoked for `identity.drain_s`; 0 cuts none."""
        drain_s = self.config.identity.drain_s
        if not drain_s or not self.border.has_revoked:
            return
        for entry in self.ledger:
            if not entry.peer or not self.border.is_revoked(entry.peer, entry.serial, wall_now):
                entry.doomed_at = None
            elif entry.doomed_at is None:
                entry.doomed_at = now + drain_s
            elif now >= entry.doomed_at and entry.cut is not None:
                entry.cut()

    @property
    def routes(self) -> RouteTable:
        """The decisions about addresses, by the policy and the doors that hold now."""
        if self._routes is None:
            addresses = (address for door in self.doors.values() for address in door.addresses)
            self._routes = RouteTable(policy=self.config.passthrough, doors=Doors(addresses))
        return self._routes

    def forget_routes(self) -> None:
        """Forget decisions, because the policy or the doors have changed.

        New ones begin with the next connection: a thousand doors come one by one, and each would else look at
        all before it.
        """
        self._routes = None
