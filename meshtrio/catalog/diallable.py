"""Core. Can an address be an endpoint's at all? Does not know whether anybody listens there."""

import ipaddress

from meshtrio.address import Address
from meshtrio.catalog.vips import NETWORKS

_OURS = tuple(
    (len(network.network_address.packed), network.network_address.packed[: network.prefixlen // 8])
    for network in map(ipaddress.ip_network, NETWORKS)
)
"""Of each network of virtual IPs the length of its addresses, and what they begin with."""


def why_undiallable(address: Address) -> str:
    """Say why nobody could be dialled there; empty: somebody could."""
    ip = address.ip[12:] if address.is_v4 else address.ip
    if address.port == 0:
        return "which has no port"
    # Linux takes 0.0.0.0 for itself: whoever dials it reaches the wrong process, and not nobody.
    if not any(ip) or (ip[0] == 0xFF if len(ip) == 16 else ip[0] >> 4 == 0xE):
        return "which is nobody's"
    if any(len(ip) == length and ip.startswith(prefix) for length, prefix in _OURS):
        # A service that is its own endpoint would be dialled in circles.
        return "which is a virtual IP of ours"
    return ""
