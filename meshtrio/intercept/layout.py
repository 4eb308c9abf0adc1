"""Core. The bytes that kernel and user space share: bpf/include/layout.h and reasons.h, seen from Python.

A test compiles the C side and compares sizes, offsets and numbers.
"""

import enum
import struct

import msgspec

from meshtrio.address import Address

LAYOUT_VERSION = 12
HEARTBEAT_STALE_S = 3.0
BEAT_OF_DOORS = 0
BEAT_OF_RESOLVER = 1
"""Slots of the heartbeat: who serves the doors, and who answers queries for names."""
DNS_PORT = 53
WORKLOAD_CLOSED = 1
WORKLOAD_CHECK_NETNS = 2
WORKLOAD_RELAYED = 4
EXCLUDED_OUTBOUND = 1
EXCLUDED_INBOUND = 2

PLACE_BYTES = 32
ORIGIN_BYTES = 24
VOUCHER_BYTES = 56
VOUCHER_WORKLOAD_BYTES = 4
PORT_KEY_BYTES = 16
LISTENER_BYTES = 8
WORKLOAD_BYTES = 32
ADDRESS_BYTES = 18
COOKIE_BYTES = 8


class Reason(enum.IntEnum):
    """Why a hook did what it did."""

    REDIRECTED = 0
    LEFT_NOT_TCP = 1
    LEFT_NO_CONFIG = 2
    LEFT_OURS = 3
    LEFT_LOOPBACK = 4
    LEFT_EXCLUDED = 5
    OPEN_AGENT_LOST = 6
    OPEN_CANNOT_CATCH = 7
    REFUSED_AGENT_LOST = 8
    REFUSED_CANNOT_CATCH = 9
    REFUSED_DOOR = 10
    CAUGHT = 11
    PASSED_NOT_OURS = 12
    PASSED_OUR_DIAL = 13
    PASSED_AGENT_LOST = 14
    DROPPED_AGENT_LOST = 15
    FULL_DESTINATIONS = 16
    FULL_PORTS = 17
    FULL_FLOWS = 18
    RESOLVED_BY_US = 19
    OPEN_NO_RESOLVER = 20
    FULL_ASKED = 21
    DIRECT = 22
    FULL_LIVE = 23
    FULL_ENDED = 24
    MISSED_MEMBER = 25
    UDP_DIRECT = 26
    REFUSED_NO_MEMBER = 27
    FULL_UDP_FLOWS = 28
    PASSED_GRANTED = 29
    STOPPED_ASTRAY = 30
    FULL_PASSAGES = 31


class Origin(msgspec.Struct, frozen=True, gc=False):
    """What an accepted connection had dialled (or whom a query was meant for), and the workload that did."""

    destination: Address
    workload: int


def place(netns: int, address: Address, door: int = 0) -> bytes:
    """Pack `struct place`: one end of a connection in one network namespace, and the door that it dialled."""
    return struct.pack("<Q18s2s4x", netns, address.pack(), door.to_bytes(2, "big"))


def voucher(netns: int, source: Address, to: Address) -> bytes:
    """Pack `struct voucher`: a connection as it comes into a namespace, and what it was dialled as."""
    return place(netns, source) + struct.pack("<18s6x", to.pack())


def unpack_origin(raw: bytes) -> Origin:
    """Read `struct origin`."""
    return Origin(Address.unpack(raw), struct.unpack_from("<I", raw, 20)[0])


def port_key(netns: int, port: int) -> bytes:
    """Pack `struct port_key`."""
    return struct.pack("<QH6x", netns, port)


def unpack_port_key(raw: bytes) -> tuple[int, int]:
    """Read `struct port_key` as (netns, port)."""
    netns, port = struct.unpack_from("<QH", raw)
    return netns, port


def listener(workload: int, sockets: int) -> bytes:
    """Pack `struct listener`."""
    return struct.pack("<Ii", workload, sockets)


def unpack_listener(raw: bytes) -> tuple[int, int]:
    """Read `struct listener` as (workload, sockets)."""
    workload, sockets = struct.unpack("<Ii", raw)
    return workload, sockets


class WorkloadWords(msgspec.Struct, frozen=True):
    """`struct workload`: what the hooks know of one workload."""

    netns: int
    id: int
    closed: bool
    check_netns: bool
    door4: int
    door6: int
    dns4: int = 0
    dns6: int = 0
    sticky: int = 0
    relayed: bool = False

    def pack(self) -> bytes:
        """Pack the bytes that go into the cgroup's storage."""
        flags = WORKLOAD_CLOSED * self.closed | WORKLOAD_CHECK_NETNS * self.check_netns
        flags |= WORKLOAD_RELAYED * self.relayed
        ports = struct.pack("!4H", self.door4, self.door6, self.dns4, self.dns6)
        return struct.pack("<QII8sI4x", self.netns, self.id, flags, ports, self.sticky)


def here(netns: int, *, closed: bool) -> bytes:
    """Pack `struct here`."""
    return struct.pack("<QII", netns, WORKLOAD_CLOSED * closed, 0)


def excluded_port_key(direction: int, port: int) -> bytes:
    """Pack the key of `excluded_ports`."""
    return struct.pack("<I", direction << 16 | port)


def prefix(bits: int, ip: bytes) -> bytes:
    """Pack `struct prefix`; bits count in the 16 byte form (an IPv4 /8 is 104)."""
    return struct.pack("<I16s", bits, ip)
