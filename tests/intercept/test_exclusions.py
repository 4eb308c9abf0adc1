"""World. What is never caught: the kernel's own maps, asked as the hooks ask them."""

import ipaddress
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.config.schema import Config, Exclude
from meshtrio.intercept import bpf
from meshtrio.intercept.exclusions import exclude, look
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import EXCLUDED_INBOUND, EXCLUDED_OUTBOUND, excluded_port_key, prefix

DOORS = (15001, 15002, 15003, 15053)

pytestmark = pytest.mark.kernel

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def excluding(**what: tuple[object, ...]) -> Config:
    return Config(exclude=Exclude(**what))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def as_before(kernel: Kernel) -> Iterator[None]:
    """The maps belong to the session: what a test excluded would be missed by those that come after."""
    exclude(kernel, Config())
    yield
    for name, key_bytes in (("excluded_ports", 4), ("excluded_networks", 20)):
        for key in list(bpf.keys(kernel.maps[name], key_bytes)):
            bpf.delete(kernel.maps[name], key)
    look(kernel, outbound=False)


def ports(kernel: Kernel) -> set[bytes]:
    return set(bpf.keys(kernel.maps["excluded_ports"], 4))


def is_excluded(kernel: Kernel, ip: bytes) -> bool:
    """Ask as the hook does: the whole address, longest prefix wins."""
    return bpf.look_up(kernel.maps["excluded_networks"], prefix(128, ip), 1) is not None


def test_ports_are_those_of_the_configuration_and_our_own(kernel: Kernel) -> None:
    exclude(kernel, excluding(outbound_ports=(25, 443), inbound_ports=(22, 25)))
    wanted = {excluded_port_key(EXCLUDED_OUTBOUND, port) for port in (25, 443)}
    wanted |= {excluded_port_key(EXCLUDED_INBOUND, port) for port in (22, 25, *DOORS)}
    assert ports(kernel) == wanted
    exclude(kernel, excluding(inbound_ports=()))
    assert ports(kernel) == {excluded_port_key(EXCLUDED_INBOUND, port) for port in DOORS}


@pytest.mark.parametrize(
    ("what", "looks"),
    [
        ({}, False),
        ({"inbound_ports": (22,)}, False),
        ({"outbound_ports": (25,)}, True),
        ({"outbound_cidrs": ("10.0.0.0/8",)}, True),
    ],
)
def test_connects_look_only_where_there_is_something_for_them(
    kernel: Kernel, what: dict[str, tuple[object, ...]], *, looks: bool
) -> None:
    for before in ({}, {"outbound_ports": (443,)}):
        exclude(kernel, excluding(**before))
        exclude(kernel, excluding(**what))
        assert bpf.look_up(kernel.maps["excluding"], bytes(4), 4) == struct.pack("<I", looks)


def test_networks_follow_the_configuration(kernel: Kernel) -> None:
    def excluded() -> list[bool]:
        return [
            is_excluded(kernel, Address.of(host, 0).ip)
            for host in ("10.1.2.3", "10.2.0.1", "fd00::5", "fd01::5")
        ]

    exclude(kernel, excluding(outbound_cidrs=("10.1.0.0/16", "fd00::/16")))
    assert excluded() == [True, False, True, False]
    exclude(kernel, excluding(outbound_cidrs=("10.2.0.0/16", "fd00::/16")))
    assert excluded() == [False, True, True, False]
    exclude(kernel, excluding(outbound_cidrs=("0.0.0.0/0",)))
    assert excluded() == [True, True, False, False], "all of IPv4 is not all"
    exclude(kernel, excluding(outbound_cidrs=("::/0",)))
    assert excluded() == [True, True, True, True], "IPv4 is kept mapped, so ::/0 has it in it"
    exclude(kernel, Config())
    assert excluded() == [False] * 4


def test_what_stays_excluded_is_never_missing(kernel: Kernel) -> None:
    """Another thread looks all the while: it is the kernel that may look at any moment."""
    stays = excluded_port_key(EXCLUDED_OUTBOUND, 443)
    one = excluding(outbound_ports=(443, *range(1000, 1100)), outbound_cidrs=("10.0.0.0/8", "10.9.0.0/16"))
    other = excluding(outbound_ports=(443, *range(2000, 2100)), outbound_cidrs=("10.0.0.0/8", "10.8.0.0/16"))
    exclude(kernel, one)
    stop, looks, gaps = threading.Event(), 0, 0

    def look() -> None:
        nonlocal looks, gaps
        inside = Address.of("10.7.7.7", 0).ip
        while not stop.is_set():
            looks += 1
            gaps += bpf.look_up(kernel.maps["excluded_ports"], stays, 1) is None
            gaps += not is_excluded(kernel, inside)

    looker = threading.Thread(target=look)
    looker.start()
    for _ in range(20):
        exclude(kernel, other)
        exclude(kernel, one)
    stop.set()
    looker.join()
    assert looks > 20
    assert gaps == 0


v4_networks = st.tuples(st.ip_addresses(v=4), st.integers(0, 32))
v6_networks = st.tuples(st.ip_addresses(v=6), st.integers(0, 128))


@st.composite
def networks_and_addresses(draw: st.DrawFn) -> tuple[list[Network], list[str]]:
    """Networks, and addresses of which many are in one of them or just outside."""
    networks = [
        ipaddress.ip_network((address, bits), strict=False)
        for address, bits in draw(st.lists(v4_networks | v6_networks, max_size=6))
    ]
    addresses = [str(draw(st.ip_addresses(v=4))), str(draw(st.ip_addresses(v=6)))]
    for network in networks:
        for number in (int(network[0]), int(network[-1]), int(network[0]) - 1, int(network[-1]) + 1):
            if 0 <= number < 1 << network.max_prefixlen:
                addresses.append(str(type(network.network_address)(number)))
    return networks, addresses


def is_inside(address: str, networks: list[Network]) -> bool:
    """Say what Python says. An IPv4 address is in an IPv6 network if its mapped form is."""
    ip = ipaddress.ip_address(address)
    same = any(ip in network for network in networks if network.version == ip.version)
    mapped = ipaddress.IPv6Address(Address.of(address, 0).ip)
    six = any(mapped in network for network in networks if network.version == 6)
    four = ip.version == 6 and ip.ipv4_mapped is not None and is_inside(str(ip.ipv4_mapped), networks)
    return same or six or four


@given(networks_and_addresses())
def test_a_network_has_the_addresses_that_python_says(
    kernel: Kernel, case: tuple[list[Network], list[str]]
) -> None:
    networks, addresses = case
    exclude(kernel, excluding(outbound_cidrs=tuple(str(network) for network in networks)))
    for address in addresses:
        found = is_excluded(kernel, Address.of(address, 0).ip)
        assert found == is_inside(address, networks), f"{address} in {networks}"
