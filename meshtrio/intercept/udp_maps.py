"""Shell. What the hooks know of UDP services: who serves each address, and how many flows came to whom.

The same maps as those of direct services (direct_maps.py), once more: a port of UDP is another than that of
TCP. What is here outlives the agent, and a successor finds it by `standing`.
"""

import errno
from collections.abc import Mapping, Sequence

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import Pick
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.intercept.direct_seats import NoRoom
from meshtrio.intercept.layout import ADDRESS_BYTES

_NAMES = {
    "services": "udp_services",
    "direct_slots": "udp_slots",
    "direct_seats": "udp_seats",
    "direct_members": "udp_members",
}


class UdpMaps:
    """The maps of UDP services. One writer."""

    def __init__(self, maps: Mapping[str, int]) -> None:
        """Borrow the descriptors, and take out what a predecessor did not finish."""
        ours = {name: maps[other] for name, other in _NAMES.items()}
        self._direct = DirectMaps({**maps, **ours})
        self._direct.sweep()
        self.standing = {Address.unpack(key) for key in bpf.keys(maps["udp_services"], ADDRESS_BYTES)}
        """The addresses for which the hooks pick or refuse now."""

    def put(self, service: Address, pick: Pick, order: Sequence[Address]) -> None:
        """Let the hooks pick from this order from now on; where there is none, they refuse.

        Flows to who is not in it move when their next datagram is sent. NoRoom if it does not fit; then all
        is as before.
        """
        if order:
            self._direct.put(service, pick, order)
        else:
            try:
                self._direct.drop(service)
            except OSError as full:
                if full.errno in (errno.E2BIG, errno.ENOMEM):
                    raise NoRoom("udp_services") from full
                raise
        # Nobody waits for the end of a flow: it leaves a member that is not among these any more.
        self._direct.sweep()
        self.standing.add(service)

    def drop(self, service: Address) -> None:
        """Leave datagrams to this address alone from now on."""
        self._direct.drop(service, known=False)
        self._direct.sweep()
        self.standing.discard(service)

    def flows_of(self, service: Address, member: Address) -> int:
        """Return how many flows to an address began at one member, since it serves there."""
        return self._direct.connections(service, member)

    def flows(self) -> dict[tuple[Address, Address], int]:
        """Return how many flows to each address began at each of its members, since it serves there."""
        return {role: carried.connections for role, carried in self._direct.carried().items()}
