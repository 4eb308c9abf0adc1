"""Shell. The current snapshot, and everyone who must hear of its changes: workers and the kernel's map.

A worker hears only of addresses that it asked about. The cost of a change is proportional to what
changed and to who asked. Does not know where services come from.
"""

import errno
import struct

from meshtrio.address import Address
from meshtrio.catalog.snapshot import Snapshot, changes
from meshtrio.fleet import Seat
from meshtrio.intercept import bpf
from meshtrio.intercept.routing_plan import MAX_VIPS
from meshtrio.messages import Forget, Resolve, Resolved
from meshtrio.observe import log


class Publisher:
    """One snapshot, replaced by each change."""

    def __init__(self, seats: list[Seat]) -> None:
        """Begin with an empty catalog and no kernel map."""
        self.snapshot = Snapshot()
        self._seats = seats
        self._map: int | None = None
        self._in_map: set[Address] = set()
        self._left_out: set[Address] = set()

    @property
    def unmapped(self) -> int:
        """How many addresses did not fit into the kernel's map."""
        return len(self._left_out)

    def use_map(self, descriptor: int) -> None:
        """Keep this kernel map true from now on. What a predecessor left in it is replaced."""
        self._map = descriptor
        self._in_map = {Address.unpack(key) for key in bpf.keys(descriptor, 18)}
        wanted = {address for service in self.snapshot for address in _addresses(self.snapshot, service.key)}
        self._change_map(add=wanted - self._in_map, drop=self._in_map - wanted)

    def replace(self, snapshot: Snapshot) -> None:
        """Let this snapshot hold from now on, and tell everyone whom a change concerns."""
        old, self.snapshot = self.snapshot, snapshot
        if snapshot is old:
            return
        changed = changes(old, snapshot)
        for seat in self._seats:
            concerned = {address for address in changed.addresses if address in seat.interests}
            for key in changed.services:
                concerned |= _asked_for(seat, old, key) | _asked_for(seat, snapshot, key)
            for address in concerned:
                seat.tell(("address", address), Resolved(address, snapshot.lookup(address)))
        touched = changed.addresses | {
            address
            for key in changed.services
            for address in _addresses(old, key) | _addresses(snapshot, key)
        }
        self._change_map(
            add={address for address in touched if snapshot.lookup(address) is not None},
            drop={address for address in touched if snapshot.lookup(address) is None},
        )

    def answer(self, seat: Seat, question: Resolve | Forget) -> None:
        """Answer a worker, and remember that it asked."""
        if isinstance(question, Forget):
            seat.interests.pop(question.address, None)
            return
        address = question.address
        seat.interests[address] = None
        seat.tell(("address", address), Resolved(address, self.snapshot.lookup(address)))

    def loopback_addresses(self) -> tuple[str, ...]:
        """Return the service addresses on loopback, which rung R0 must be told of."""
        return tuple(
            sorted(
                str(address)
                for service in self.snapshot
                for address in _addresses(self.snapshot, service.key)
                if (address.ip[12] == 127 if address.is_v4 else address.ip == bytes(15) + b"\x01")
            )
        )

    def vips(self) -> tuple[str, ...]:
        """Return the first virtual IPs as networks of one address, which rung R0 needs routes to."""
        found = {Address(vip, 0) for service in self.snapshot for vip in service.vips}
        return tuple(f"{one.host}/{32 if one.is_v4 else 128}" for one in sorted(found))[:MAX_VIPS]

    def _change_map(self, *, add: set[Address], drop: set[Address]) -> None:
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
        for address in wanted:
            try:
                bpf.update(self._map, address.pack(), struct.pack("<I", 1))
            except OSError as full:
                if full.errno not in (errno.E2BIG, errno.ENOMEM):
                    raise
                self._left_out |= wanted - self._in_map
                log.rarely("the kernel's map of services is full; services on loopback may not be caught")
                return
            self._in_map.add(address)
            self._left_out.discard(address)


def _addresses(snapshot: Snapshot, key: str) -> set[Address]:
    service = snapshot.service(key)
    if service is None:
        return set()
    vips = {Address(vip, port.port) for vip in service.vips for port in service.ports}
    return vips | {endpoint.address for endpoint in service.endpoints}


def _asked_for(seat: Seat, snapshot: Snapshot, key: str) -> set[Address]:
    return {address for address in _addresses(snapshot, key) if address in seat.interests}
