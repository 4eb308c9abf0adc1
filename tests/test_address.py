"""One kind of address for both families, and one way to write each."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address

IPS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
ADDRESSES = st.builds(lambda ip, port: Address.of(str(ip), port), IPS, st.integers(0, 65535))


@given(address=ADDRESSES)
def test_text_and_kernel_bytes_round_trip(address: Address) -> None:
    assert Address.parse(str(address)) == address
    assert Address.unpack(address.pack()) == address
    assert len(address.pack()) == 18


@given(ip=IPS, port=st.integers(0, 65535))
def test_the_host_is_what_socket_calls_want(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    address = Address.of(str(ip), port)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else ip
    assert ipaddress.ip_address(address.host) == (mapped or ip)
    assert address.is_v4 == (mapped is not None)


def test_ipv4_is_the_same_however_it_is_written() -> None:
    plain, mapped = Address.parse("10.0.0.1:80"), Address.parse("[::ffff:10.0.0.1]:80")
    assert plain == mapped
    assert str(mapped) == "10.0.0.1:80"
    assert plain.pack() == bytes(10) + b"\xff\xff\x0a\x00\x00\x01\x00\x50"


def test_how_it_is_written() -> None:
    assert str(Address.of("::1", 80)) == "[::1]:80"
    assert str(Address.of("fe80::1%eth0", 80)) == "[fe80::1]:80"


@pytest.mark.parametrize(
    "text",
    (
        *("", ":80", "[::1]", "10.0.0.1", "10.0.0.1:", "web:80", "::1:80", "10.0.0.256:80"),
        *("10.0.0.1:x", "10.0.0.1:65536", "10.0.0.1:-1", "10.0.0.1:000080", "10.0.0.1:8 0", "10.0.0.1:٨٠"),
        *("[10.0.0.1:80", "10.0.0.1]:80"),
    ),
)
def test_anything_else_says_what_it_is_not(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not ip:port"):
        Address.parse(text)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_has_sixteen_bits(port: int) -> None:
    with pytest.raises(ValueError, match=r"port -?\d+ is not in 0 to 65535"):
        Address.of("10.0.0.1", port)


@given(text=st.text(max_size=40))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert Address.parse(str(address)) == address


def test_addresses_are_values() -> None:
    one, two = Address.parse("10.0.0.1:80"), Address.parse("10.0.0.1:81")
    assert len({one, Address.parse("10.0.0.1:80"), two}) == 2
    assert sorted([two, one]) == [one, two]
    with pytest.raises(AttributeError):
        one.port = 81  # type: ignore[misc]


@pytest.mark.parametrize(
    ("host", "is_so"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("128.0.0.1", False),
        ("::1", True),
        ("::", False),
        ("0.0.0.0", False),
    ],
)
def test_loopback_is_the_namespaces_own(host: str, is_so: bool) -> None:
    assert Address.of(host, 80).is_loopback is is_so
