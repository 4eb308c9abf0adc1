"""Shell. Which resolver a caught query was meant for: what the hooks remember, or what conntrack knows.

Two ways with one face, one for each rung. Neither raises: who does not know says None. Does not know what a
query says.
"""

import contextlib
import socket
from typing import Protocol

from meshtrio.address import Address
from meshtrio.intercept.conntrack import Conntrack
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.netns import Netns
from meshtrio.intercept.original_dst import original_destination
from meshtrio.intercept.sockdiag import SockDiag
from meshtrio.intercept.tables import Asked, Destinations


class Meant(Protocol):
    """Knows whom a query was meant for, by where it comes from."""

    def by_datagram(self, source: Address, here: Address) -> Address | None:
        """Return the resolver that a datagram from the source to this door was meant for."""
        ...

    def by_connection(self, client: socket.socket, source: Address) -> Address | None:
        """Return the resolver that an accepted connection was meant for."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


class MeantByHooks:
    """Rung R1: the hooks keep it by socket, and sock_diag says which socket has the source's address.

    A socket that asks several resolvers at once is known by the last of them. Of a socket that is not known
    (the map was full, or it dialled our door by itself) it is the resolver that its workload asked last.
    """

    def __init__(self, kernel: Kernel, netns: Netns, workload: int) -> None:
        """Begin; a kernel without sock_diag leaves the resolver that the workload asked last."""
        maps = kernel.maps
        self._netns_id = netns.id
        self._workload = workload
        self._asked = Asked(maps["asked"], maps["last_asked"])
        self._asked.forget(workload)
        self._destinations = Destinations(maps["destinations"])
        self._diag: SockDiag | None = None
        with contextlib.suppress(OSError):
            self._diag = SockDiag(netns)

    def by_datagram(self, source: Address, here: Address) -> Address | None:
        """See Meant."""
        with contextlib.suppress(OSError):
            cookie = self._diag.udp_cookie(here, source) if self._diag else None
            origin = self._asked.by_socket(cookie) if cookie else None
            return origin.destination if origin else self._asked.by_workload(self._workload)
        return None

    def by_connection(self, client: socket.socket, source: Address) -> Address | None:
        """See Meant. Known once: the entry is taken out."""
        with contextlib.suppress(OSError):
            origin = self._destinations.take(self._netns_id, source, client.getsockname()[1])
            return origin.destination if origin else None
        return None

    def close(self) -> None:
        """See Meant."""
        if self._diag is not None:
            self._diag.close()


class MeantByRules:
    """Rung R0: conntrack keeps it by connection, and a datagram with its answer is one."""

    def __init__(self, netns: Netns) -> None:
        """Begin; a kernel without ctnetlink leaves datagrams unknown."""
        self._conntrack: Conntrack | None = None
        with contextlib.suppress(OSError):
            self._conntrack = Conntrack(netns)

    def by_datagram(self, source: Address, here: Address) -> Address | None:
        """See Meant."""
        with contextlib.suppress(OSError):
            return self._conntrack.sent_to(source, here) if self._conntrack else None
        return None

    def by_connection(self, client: socket.socket, source: Address) -> Address | None:
        """See Meant."""
        with contextlib.suppress(OSError):
            return original_destination(client)
        return None

    def close(self) -> None:
        """See Meant."""
        if self._conntrack is not None:
            self._conntrack.close()
