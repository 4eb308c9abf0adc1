"""Core. Which addresses are our own doors? Does not know the sockets behind them."""

from collections.abc import Iterable

from meshtrio.address import V4_PREFIX, Address

_UNSPECIFIED = (bytes(16), V4_PREFIX + bytes(4))


class Doors:
    """The addresses our doors listen on, as a question.

    A door at the unspecified address (0.0.0.0 or ::) listens on every address of its namespace. The loopback
    ones are known here; whoever opens such a door beside other local addresses names those, too.
    """

    __slots__ = ("_exact", "_loopback_ports", "_near_ports")

    def __init__(self, addresses: Iterable[Address] = ()) -> None:
        self._exact = frozenset(addresses)
        self._loopback_ports = frozenset(one.port for one in self._exact if one.ip in _UNSPECIFIED)
        self._near_ports = frozenset(one.port for one in self._exact if one.is_loopback)

    def __contains__(self, address: Address) -> bool:
        """Say whether dialling this address would reach one of our own doors."""
        if address in self._exact:
            return True
        # Dialling the unspecified address reaches the own host's loopback (connect(2) on Linux).
        if address.ip in _UNSPECIFIED and address.port in self._near_ports:
            return True
        if address.port not in self._loopback_ports:
            return False
        return address.ip in _UNSPECIFIED or address.is_loopback
