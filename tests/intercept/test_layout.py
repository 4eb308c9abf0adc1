"""Core. The bytes that kernel and user space share: bpf/include, built here, against layout.py."""

import ctypes
import hashlib
import re
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.intercept import layout, marks
from meshtrio.intercept.layout import Origin, Reason, WorkloadWords
from tests.support.native import BPF, numbers

u16, u32, u64 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
addresses = st.builds(Address, st.binary(min_size=16, max_size=16), u16)


@pytest.fixture(scope="module")
def c(library: ctypes.CDLL) -> dict[str, int]:
    return numbers(library)


def field(c: dict[str, int], raw: bytes, name: str, bytes_: int) -> bytes:
    """Cut a field out of packed bytes at the place where C has it."""
    assert len(raw) == c[f"sizeof {name.partition('.')[0]}"]
    return raw[c[name] : c[name] + bytes_]


def little(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def test_sizes_are_those_of_c(c: dict[str, int]) -> None:
    assert {
        name: c[f"sizeof {name}"]
        for name in ("place", "voucher", "origin", "port_key", "listener", "workload", "addr")
    } == {
        "place": layout.PLACE_BYTES,
        "voucher": layout.VOUCHER_BYTES,
        "origin": layout.ORIGIN_BYTES,
        "port_key": layout.PORT_KEY_BYTES,
        "listener": layout.LISTENER_BYTES,
        "workload": layout.WORKLOAD_BYTES,
        "addr": layout.ADDRESS_BYTES,
    }


def test_constants_are_those_of_c(c: dict[str, int]) -> None:
    for name in (
        "LAYOUT_VERSION",
        "WORKLOAD_CLOSED",
        "WORKLOAD_CHECK_NETNS",
        "WORKLOAD_RELAYED",
        "EXCLUDED_OUTBOUND",
        "EXCLUDED_INBOUND",
        "BEAT_OF_DOORS",
        "BEAT_OF_RESOLVER",
        "DNS_PORT",
    ):
        assert getattr(layout, name) == c[name], name
    assert int(layout.HEARTBEAT_STALE_S * 10**9) == c["HEARTBEAT_STALE_NS"]


def test_our_marks_are_those_of_c(c: dict[str, int]) -> None:
    assert c["MARK_MASK"] == marks.MASK
    assert c["MARK_OUTBOUND_DIAL"] == marks.OUTBOUND_DIAL
    assert c["MARK_APP_DIAL"] == marks.APP_DIAL


@given(mark=st.one_of(u32, st.integers(marks.OUTBOUND_DIAL - 300, marks.APP_DIAL + 600)))
def test_a_mark_is_ours_for_both_sides_alike(library: ctypes.CDLL, mark: int) -> None:
    assert bool(library.native_is_our_mark(ctypes.c_uint32(mark))) == marks.is_ours(mark)


def test_reasons_are_those_of_c(c: dict[str, int]) -> None:
    text = (BPF / "include" / "reasons.h").read_text()
    declared = {
        name: int(number) for name, number in re.findall(r"^\t([A-Z_]+) = (\d+),", text, re.MULTILINE)
    }
    assert declared.pop("REASONS") == c["REASONS"] == len(Reason)
    assert declared == {reason.name: reason.value for reason in Reason}
    assert all(c[name] == number for name, number in declared.items())


@given(netns=u64, address=addresses, door=st.integers(0, 65535))
def test_place(c: dict[str, int], netns: int, address: Address, door: int) -> None:
    raw = layout.place(netns, address, door)
    assert little(field(c, raw, "place.netns", 8)) == netns
    assert field(c, raw, "place.addr", 18) == address.pack()
    # A hash map compares the padding too, and the hooks write zeros there.
    assert field(c, raw, "place.door", 2) == door.to_bytes(2, "big")
    assert raw[c["place.door"] + 2 :] == bytes(4)


@given(netns=u64, source=addresses, to=addresses)
def test_voucher(c: dict[str, int], netns: int, source: Address, to: Address) -> None:
    raw = layout.voucher(netns, source, to)
    assert field(c, raw, "voucher.source", layout.PLACE_BYTES) == layout.place(netns, source)
    assert field(c, raw, "voucher.to", 18) == to.pack()
    assert raw[c["voucher.to"] + 18 :] == bytes(6)


@given(address=addresses)
@example(address=Address.of("10.0.0.1", 80))
def test_addr(c: dict[str, int], address: Address) -> None:
    raw = address.pack()
    assert field(c, raw, "addr.ip", 16) == address.ip
    assert int.from_bytes(field(c, raw, "addr.port", 2), "big") == address.port
    assert Address.unpack(raw) == address


@given(destination=addresses, workload=u32)
def test_origin(c: dict[str, int], destination: Address, workload: int) -> None:
    raw = bytearray(c["sizeof origin"])
    raw[c["origin.destination"] : c["origin.destination"] + 18] = destination.pack()
    struct.pack_into("<I", raw, c["origin.workload"], workload)
    assert layout.unpack_origin(bytes(raw)) == Origin(destination, workload)


@given(netns=u64, port=u16)
def test_port_key(c: dict[str, int], netns: int, port: int) -> None:
    raw = layout.port_key(netns, port)
    assert little(field(c, raw, "port_key.netns", 8)) == netns
    assert little(field(c, raw, "port_key.port", 2)) == port
    assert raw[c["port_key.port"] + 2 :] == bytes(6)
    assert layout.unpack_port_key(raw) == (netns, port)


@given(workload=u32, sockets=st.integers(-(2**31), 2**31 - 1))
def test_listener(c: dict[str, int], workload: int, sockets: int) -> None:
    raw = layout.listener(workload, sockets)
    assert little(field(c, raw, "listener.workload", 4)) == workload
    assert int.from_bytes(field(c, raw, "listener.sockets", 4), "little", signed=True) == sockets
    assert layout.unpack_listener(raw) == (workload, sockets)


@given(
    words=st.builds(
        WorkloadWords,
        netns=u64,
        id=u32,
        closed=st.booleans(),
        check_netns=st.booleans(),
        door4=u16,
        door6=u16,
        dns4=u16,
        dns6=u16,
        sticky=u32,
    )
)
def test_workload(c: dict[str, int], words: WorkloadWords) -> None:
    raw = words.pack()
    assert little(field(c, raw, "workload.netns", 8)) == words.netns
    assert little(field(c, raw, "workload.id", 4)) == words.id
    flags = little(field(c, raw, "workload.flags", 4))
    assert bool(flags & c["WORKLOAD_CLOSED"]) == words.closed
    assert bool(flags & c["WORKLOAD_CHECK_NETNS"]) == words.check_netns
    assert int.from_bytes(field(c, raw, "workload.door4", 2), "big") == words.door4
    assert int.from_bytes(field(c, raw, "workload.door6", 2), "big") == words.door6
    assert int.from_bytes(field(c, raw, "workload.dns4", 2), "big") == words.dns4
    assert int.from_bytes(field(c, raw, "workload.dns6", 2), "big") == words.dns6
    assert little(field(c, raw, "workload.sticky", 4)) == words.sticky


@given(netns=u64, closed=st.booleans())
def test_here(c: dict[str, int], netns: int, closed: bool) -> None:
    raw = layout.here(netns, closed=closed)
    assert little(field(c, raw, "here.netns", 8)) == netns
    assert little(field(c, raw, "here.flags", 4)) == c["WORKLOAD_CLOSED"] * closed


@given(bits=st.integers(0, 128), ip=st.binary(min_size=16, max_size=16))
def test_prefix(c: dict[str, int], bits: int, ip: bytes) -> None:
    raw = layout.prefix(bits, ip)
    assert little(field(c, raw, "prefix.bits", 4)) == bits
    assert field(c, raw, "prefix.ip", 16) == ip


@given(direction=st.sampled_from([1, 2]), port=u16)
def test_excluded_port_key(library: ctypes.CDLL, direction: int, port: int) -> None:
    key = layout.excluded_port_key(direction, port)
    ctypes.c_uint32.in_dll(library, "fake_excluded_key").value = little(key)
    assert library.native_port_excluded(direction, port)


# Of every size and offset that pinned maps depend on, by layout version. A change here that keeps the
# version would let an agent adopt maps of another shape: raise LAYOUT_VERSION, and add the new digest.
SHAPES = {
    1: "53155161",
    2: "d3b8ec3d",
    3: "359b0fd2",
    4: "4431e4a9",
    5: "af42bd0e",
    6: "574a3daf",
    7: "3702deb3",
    8: "68742a81",
    9: "6ac07160",
    10: "5c5324e9",
    11: "c28567a2",
    12: "f0839ba2",
}


def test_the_shape_of_a_version_never_changes(c: dict[str, int]) -> None:
    shape = sorted((name, number) for name, number in c.items() if "." in name or name.startswith("sizeof"))
    declared = re.findall(r"^BPF_.*;", (BPF / "include" / "maps.h").read_text(), re.MULTILINE)
    digest = hashlib.sha256(repr((shape, declared, c["REASONS"])).encode()).hexdigest()[:8]
    assert SHAPES.get(layout.LAYOUT_VERSION) == digest
