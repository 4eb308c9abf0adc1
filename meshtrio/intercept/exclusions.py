"""Shell. What is never caught, as the hooks read it: excluded ports and networks in the kernel's maps."""

import ipaddress
import struct

from meshtrio.address import Address
from meshtrio.config.schema import Config
from meshtrio.intercept import bpf
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import EXCLUDED_INBOUND, EXCLUDED_OUTBOUND, excluded_port_key, prefix


def exclude(kernel: Kernel, config: Config) -> None:
    """Make the maps say what the configuration says; keys that stay are never missing in between."""
    ports = {excluded_port_key(EXCLUDED_OUTBOUND, port) for port in config.exclude.outbound_ports}
    networks = {_prefix(cidr) for cidr in config.exclude.outbound_cidrs}
    any_destination = bool(ports or networks)
    ports |= {excluded_port_key(EXCLUDED_INBOUND, port) for port in config.inbound_exclusions}
    if any_destination:
        look(kernel, outbound=True)
    _replace(kernel.maps["excluded_ports"], 4, ports)
    _replace(kernel.maps["excluded_networks"], 20, networks)
    if not any_destination:
        look(kernel, outbound=False)


def look(kernel: Kernel, *, outbound: bool) -> None:
    """Let connects look into these maps, or not."""
    bpf.update(kernel.maps["excluding"], bytes(4), struct.pack("<I", outbound))


def _replace(descriptor: int, key_bytes: int, wanted: set[bytes]) -> None:
    there = set(bpf.keys(descriptor, key_bytes))
    # Out first: in a full map what goes would keep what comes from fitting.
    for key in there - wanted:
        bpf.delete(descriptor, key)
    for key in wanted - there:
        bpf.update(descriptor, key, b"\x01")


def _prefix(cidr: str) -> bytes:
    network = ipaddress.ip_network(cidr)
    bits = network.prefixlen + (96 if network.version == 4 else 0)
    return prefix(bits, Address.of(str(network.network_address), 0).ip)
