"""Core. bpf/include/seen.h, built for this machine: addresses, marks, the heartbeat, counters."""

import ctypes
import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshtrio.address import V4_PREFIX, Address
from meshtrio.intercept.layout import BEAT_OF_DOORS, BEAT_OF_RESOLVER, HEARTBEAT_STALE_S, Reason

STALE_NS = int(HEARTBEAT_STALE_S * 1e9)

v4 = st.integers(0, 2**32 - 1).map(lambda number: number.to_bytes(4, "big"))
nearly = st.lists(st.sampled_from([0, 1, 0x7F, 0x80, 0xBF, 0xC0, 0xFE, 0xFF]), min_size=16, max_size=16)
any_ip = st.one_of(
    st.binary(min_size=16, max_size=16),
    v4.map(lambda ip: V4_PREFIX + ip),
    st.builds(lambda low: V4_PREFIX + b"\x7f" + low, st.binary(min_size=3, max_size=3)),
    st.builds(lambda low: b"\xfe" + low, st.binary(min_size=15, max_size=15)),
    nearly.map(bytes),
    st.integers(0, 127).map(lambda bit: (1 << bit).to_bytes(16, "big")),
)


def local_model(ip: bytes) -> bool:
    """Loopback, unspecified, or IPv6 link-local, as the standard library sees it."""
    six = ipaddress.IPv6Address(ip)
    four = six.ipv4_mapped
    if four is not None:
        return four.is_loopback or four.is_unspecified
    return six.is_loopback or six.is_unspecified or six.is_link_local


@given(ip=any_ip)
@example(ip=bytes(16))
@example(ip=bytes(15) + b"\1")
@example(ip=bytes(15) + b"\2")
@example(ip=V4_PREFIX + bytes(4))
@example(ip=V4_PREFIX + b"\0\0\0\1")
@example(ip=V4_PREFIX + b"\x80\0\0\1")
@example(ip=bytes(12) + b"\x7f\0\0\1")
@example(ip=b"\xfe\xbf" + bytes(14))
@example(ip=b"\xfe\xc0" + bytes(14))
def test_local_is_what_the_standard_library_calls_local(library: ctypes.CDLL, ip: bytes) -> None:
    packed = Address(ip, 80).pack()
    assert bool(library.native_is_local(packed)) == local_model(ip)
    assert bool(library.native_is_link_local(packed)) == (b"\xfe\x80" <= ip[:2] < b"\xfe\xc0")


@given(ip=any_ip)
@example(ip=bytes(10) + b"\xff\xfe" + bytes(4))
@example(ip=b"\1" + V4_PREFIX[1:] + bytes(4))
def test_mapped_is_what_the_standard_library_calls_mapped(library: ctypes.CDLL, ip: bytes) -> None:
    assert bool(library.native_is_mapped(Address(ip, 80).pack())) == (
        ipaddress.IPv6Address(ip).ipv4_mapped is not None
    )
    assert bool(library.native_is_mapped(Address(ip, 80).pack())) == Address(ip, 80).is_v4


@given(ip=v4, before=st.binary(min_size=18, max_size=18))
def test_map_v4_makes_what_address_makes(library: ctypes.CDLL, ip: bytes, before: bytes) -> None:
    raw = ctypes.create_string_buffer(before, 18)
    library.native_map_v4(raw, ctypes.c_uint32(int.from_bytes(ip, "little")))
    host = str(ipaddress.IPv4Address(ip))
    port = int.from_bytes(before[16:], "big")
    assert raw.raw == Address.of(host, port).pack()


@pytest.mark.parametrize(
    ("age_ns", "alive"),
    [
        (0, True),
        (STALE_NS - 1, True),
        (STALE_NS, False),
        (STALE_NS + 1, False),
        (3600 * 10**9, False),
        (-1, True),  # written on another processor, whose clock we have not reached
        (-(10**9), True),
    ],
)
def test_a_beat_counts_for_three_seconds(library: ctypes.CDLL, age_ns: int, alive: bool) -> None:
    now = 10**13
    ctypes.c_uint64.in_dll(library, "fake_clock").value = now
    ctypes.c_uint64.in_dll(library, "fake_beat").value = now - age_ns
    assert bool(library.native_beating(BEAT_OF_DOORS)) == alive
    assert not library.native_beating(BEAT_OF_RESOLVER), "one life is not the other"
    ctypes.c_uint64.in_dll(library, "fake_beat").value = 0
    ctypes.c_uint64.in_dll(library, "fake_resolver_beat").value = now - age_ns
    assert bool(library.native_beating(BEAT_OF_RESOLVER)) == alive
    assert not library.native_beating(BEAT_OF_DOORS)
    ctypes.c_uint64.in_dll(library, "fake_resolver_beat").value = 0


def test_no_heartbeat_map_means_not_alive(library: ctypes.CDLL) -> None:
    there = ctypes.c_int.in_dll(library, "fake_beat_is_there")
    there.value = 0
    try:
        assert not library.native_beating(BEAT_OF_DOORS)
    finally:
        there.value = 1


@given(
    direction=st.sampled_from([1, 2]),
    port=st.integers(0, 65535),
    kept=st.tuples(st.sampled_from([1, 2]), st.integers(0, 65535)),
)
@example(direction=1, port=80, kept=(1, 80))
@example(direction=2, port=80, kept=(1, 80))
def test_a_port_is_excluded_in_its_own_direction(
    library: ctypes.CDLL, direction: int, port: int, kept: tuple[int, int]
) -> None:
    ctypes.c_uint32.in_dll(library, "fake_excluded_key").value = kept[0] << 16 | kept[1]
    assert bool(library.native_port_excluded(direction, port)) == ((direction, port) == kept)


def test_each_reason_has_its_own_counter(library: ctypes.CDLL) -> None:
    counters = (ctypes.c_uint64 * len(Reason)).in_dll(library, "fake_counters")
    for reason in Reason:
        before = list(counters)
        library.native_count(reason)
        after = list(counters)
        assert [new - old for new, old in zip(after, before, strict=True)] == [
            int(at == reason) for at in range(len(Reason))
        ]
    library.native_count(len(Reason))  # beyond the end: counted nowhere, and no fault
