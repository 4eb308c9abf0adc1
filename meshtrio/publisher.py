"""Shell. The current snapshot, and everyone who must hear of its changes: workers and the kernel's map.

A worker hears only of addresses that it asked about. The cost of a change is proportional to what
changed and to who asked. Does not know where services come from.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Set
from itertools import filterfalse

from msgspec.structs import replace

from meshtrio.address import Address
from meshtrio.catalog.service import Found, Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot, changes
from meshtrio.catalog.unheeded import Unheeded
from meshtrio.catalog.vips import NETWORKS, is_allocated
from meshtrio.fleet import Seat
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import ServiceWords
from meshtrio.intercept.routing_plan import MAX_VIPS
from meshtrio.messages import Forget, Resolve, Resolved
from meshtrio.observe import log

RELAYED = ServiceWords().pack()
"""What the hooks know of an address at first: it is a service's, and its connections go to a worker."""
BATCH = 4096
"""How many addresses go into the kernel's map in one call."""


class Publisher:
    """One snapshot, replaced by each change."""

    def __init__(self, seats: list[Seat]) -> None:
        """Begin with an empty catalog and no kernel map."""
        self.snapshot = Snapshot()
        self._seats = seats
        self._map: int | None = None
        self._in_map: set[Address] = set()
        self._left_out: set[Address] = set()
        self._near: set[Address] = set()
        self._loopback: tuple[str, ...] = ()
        self._vips: Counter[bytes] = Counter()
        self._vip_networks: tuple[str, ...] = ()
        self.follower: Callable[[Set[str]], None] = _nobody
        """Called with the keys of the services that have changed, or got or lost an address."""
        self.unheeded = Unheeded()
        self.used_directly: Callable[[], Set[str]] = frozenset
        """Gives the keys of services that are used without a worker."""
        self.asked: Callable[[str | None], None] = _unheard
        """Called with a service's key before a worker is told of it; None: of what it asked there is none."""

    @property
    def unmapped(self) -> int:
        """How many addresses did not fit into the kernel's map."""
        return len(self._left_out)

    def use_map(self, descriptor: int, keep: Set[Address] = frozenset()) -> None:
        """Keep this kernel map true from now on. What a predecessor left in it is replaced.

        But for what is to be kept: that stays until `forget_unknown`, for the catalog may be unread yet.
        """
        self._map = descriptor
        self._in_map = {Address.unpack(key) for key in bpf.keys(descriptor, 18)}
        wanted = {address for service in self.snapshot for address in _addresses(self.snapshot, service.key)}
        self._change_map(add=wanted - self._in_map, drop=self._in_map - wanted - keep)

    def forget_unknown(self) -> None:
        """Take out of the kernel's map what the catalog does not know."""
        known = self.snapshot.has
        self._change_map(add=set(), drop={address for address in self._in_map if not known(address)})

    def has_mapped(self, address: Address) -> bool:
        """Say whether the kernel's map has this address."""
        return address in self._in_map

    def replace(self, snapshot: Snapshot) -> None:
        """Let this snapshot hold from now on, and tell everyone whom a change concerns."""
        old, self.snapshot = self.snapshot, snapshot
        if snapshot is old:
            return
        changed = changes(old, snapshot)
        for seat in self._seats:
            concerned = {address for address in changed.addresses if address in seat.interests}
            for key in changed.services:
                concerned |= _vips_asked_for(seat, old, key) | _vips_asked_for(seat, snapshot, key)
            for address in concerned:
                seat.tell(("address", address), Resolved(address, brief(snapshot.lookup(address))))
        # An address that comes or goes has another owner, so it is among these.
        self._note_r0(changed.addresses, changed.services, old)
        known = {address for address in changed.addresses if snapshot.has(address)}
        self._change_map(add=known, drop=changed.addresses - known)
        owners = {found.service.key for address in known if (found := snapshot.lookup(address))}
        self.follower(changed.services | owners)
        for key, wrong in self.unheeded.follow(snapshot, changed.services).items():
            if wrong:
                log.warning("a service wishes what cannot be", service=key, wrong="; ".join(wrong))
            else:
                log.info("all wishes of a service are heeded again", service=key)

    def answer(self, seat: Seat, question: Resolve | Forget) -> None:
        """Answer a worker, and remember that it asked."""
        if isinstance(question, Forget):
            seat.interests.pop(question.address, None)
            return
        address = question.address
        found = self.snapshot.lookup(address)
        self.asked(found.service.key if found is not None else None)
        seat.interests[address] = None
        seat.tell(("address", address), Resolved(address, brief(self.snapshot.lookup(address))))

    def asked_for(self) -> set[str]:
        """Return the keys of the services that workloads of this node have dialled."""
        asked = {address for seat in self._seats for address in seat.interests}
        found = (self.snapshot.lookup(address) for address in asked if isinstance(address, Address))
        return {one.service.key for one in found if one is not None} | self.used_directly()

    def is_awaited(self, keys: Set[str]) -> bool:
        """Say whether workloads of this node use one of these services."""
        if not keys.isdisjoint(self.used_directly()):
            return True
        asking = [seat.interests for seat in self._seats if seat.interests]
        return bool(asking) and any(
            address in interests
            for key in keys
            for address in _addresses(self.snapshot, key)
            for interests in asking
        )

    def loopback_addresses(self) -> tuple[str, ...]:
        """Return the service addresses on loopback, which rung R0 must be told of."""
        return self._loopback

    def vips(self) -> tuple[str, ...]:
        """Return networks that hold the first virtual IPs, which rung R0 needs routes to."""
        return self._vip_networks

    def _note_r0(self, touched: frozenset[Address], changed: frozenset[str], old: Snapshot) -> None:
        """Keep what rung R0 must be told of, at a cost that follows the change."""
        near = {address for address in touched if address.is_loopback}
        if near:
            here = {address for address in near if self.snapshot.has(address)}
            self._near = (self._near - near) | here
            self._loopback = tuple(sorted(map(str, self._near)))
        vips: Counter[bytes] = Counter()
        for key in changed:
            for snapshot, sign in ((old, -1), (self.snapshot, 1)):
                service = snapshot.service(key)
                vips.update(dict.fromkeys(service.vips, sign) if service else {})
        vips = Counter({vip: count for vip, count in vips.items() if count})
        if vips:
            self._vips.update(vips)
            self._vips = +self._vips
            own = any(map(is_allocated, self._vips))
            # Not all of them sorted: of 10,000 that would take 60 ms.
            least = heapq.nsmallest(MAX_VIPS, filterfalse(is_allocated, self._vips))
            others = (Address(vip, 0) for vip in least)
            networks = (f"{one.host}/{32 if one.is_v4 else 128}" for one in others)
            self._vip_networks = (*(NETWORKS if own else ()), *networks)[:MAX_VIPS]

    def _change_map(self, *, add: Set[Address], drop: Set[Address]) -> None:
        if self._map is None:
            return
        room = bool(drop & self._in_map)
        for address in drop & self._in_map:
            bpf.delete(self._map, address.pack())
            self._in_map.discard(address)
        self._left_out -= drop
        wanted = add - self._in_map
        if room:
            wanted |= self._left_out
        waiting = list(wanted)
        for at in range(0, len(waiting), BATCH):
            batch = waiting[at : at + BATCH]
            fitted = bpf.update_many(self._map, [one.pack() for one in batch], RELAYED)
            self._in_map.update(batch[:fitted])
            self._left_out.difference_update(batch[:fitted])
            if fitted < len(batch):
                self._left_out |= wanted - self._in_map
                log.rarely("the kernel's map of services is full; services on loopback may not be caught")
                return


def _nobody(changed: Set[str]) -> None:
    """Nobody follows."""


def _unheard(key: str | None) -> None:
    """Nobody listens."""


def _addresses(snapshot: Snapshot, key: str) -> set[Address]:
    service = snapshot.service(key)
    if service is None:
        return set()
    vips = {Address(vip, port.port) for vip in service.vips for port in service.ports}
    return vips | {endpoint.address for port in service.ports for endpoint in port.endpoints}


def _vips_asked_for(seat: Seat, snapshot: Snapshot, key: str) -> set[Address]:
    # Of its endpoints' own addresses those are concerned that `changes` names, not all.
    service = snapshot.service(key)
    if service is None or not seat.interests:
        return set()
    dialled = (Address(vip, port.port) for vip in service.vips for port in service.ports)
    return {address for address in dialled if address in seat.interests}


def brief(found: Found | None) -> Found | None:
    """Leave out what a connection to this address needs not: other ports, and for an endpoint all others.

    Else 1,000 callers of the 1,000 endpoints of one service would be told a million endpoints a change.
    """
    if found is None:
        return None
    service, port, endpoint = found.service, found.port, found.endpoint
    if endpoint is None:
        return Found(replace(service, ports=()), port)
    # Nothing beyond whose endpoint it is: no change of the rest is told to who dialled the endpoint itself.
    named = ServicePort(port.name, endpoint.address.port)
    return Found(Service(service.name, service.namespace), named, endpoint)
