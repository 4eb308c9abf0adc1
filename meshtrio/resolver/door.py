"""Shell. What the kernel brings a workload's queries to, as we need it; and which addresses are our own."""

import socket
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from meshtrio.address import Address

DNS_PORT = 53
Socket = socket.socket


class DnsDoor(Protocol):
    """Sockets in a workload's network namespace that get its queries. Whoever opened it closes it."""

    @property
    def udp(self) -> Sequence[Socket]:
        """Bound, not blocking."""

    @property
    def tcp(self) -> Sequence[Socket]:
        """Listening, not blocking."""

    @property
    def workload_namespace(self) -> str:
        """The namespace whose services have short names there."""

    def resolver_of(self, source: Address, *, tcp: Socket | None) -> Address | None:
        """Say which resolver the process meant that asks from here; None: not known.

        It is asked once for a datagram, before anything is awaited, and once for a connection.
        """

    def socket(self, kind: socket.SocketKind, family: socket.AddressFamily) -> Socket:
        """Make a socket to ask a resolver by; what it sends is not brought to us. OSError if it cannot."""


class OwnAddresses:
    """The addresses of a door's sockets. To ask there, or to answer there, would be to talk to ourselves."""

    def __init__(self, sockets: Iterable[Socket]) -> None:
        """Look where they are bound."""
        self._names: set[tuple[str, int]] = set()
        self._ports: set[int] = set()
        for one in sockets:
            host, port = one.getsockname()[:2]
            if host in ("0.0.0.0", "::"):
                self._ports.add(port)
            else:
                self._names.add((Address.of(host, port).host, port))

    def has(self, name: tuple[Any, ...]) -> bool:
        """Say whether the kernel's name of a peer is one of ours; of a port bound to all, any host is."""
        return name[1] in self._ports or name[:2] in self._names

    def has_address(self, address: Address) -> bool:
        """Say whether this address is one of ours."""
        return self.has((address.host, address.port))
