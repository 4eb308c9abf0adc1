"""Core. The bytes of direct services that kernel and user space share: bpf/include/layout.h, from Python.

A part of layout.py, which has the rest. A test compiles the C side and compares.
"""

import enum
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from meshtrio.address import Address
from meshtrio.intercept.layout import ADDRESS_BYTES

SERVICE_BYTES = 16
SLOT_KEY_BYTES = 24
MEMBER_KEY_BYTES = 36
SEAT_BYTES = 8
SLOT_BYTES = 28
MEMBER_BYTES = 56
LIVE_BYTES = 80
FOLLOWED_BYTES = 104
BERTH_BYTES = 120
BERTHS = 4096
ENDED_BYTES = 120
COOKIE_BYTES = 8
FLOW_BEGUN = 1
FLOW_RELEASED = 2
FLOW_RETRANSMITTED = 4
GENERATIONS = 1 << 32
_SERVICE, _SEAT, _MEMBER, _FOLLOWS = "<IHHQ", "<II", "<I4xQQQqQQ", "<III"
_SEAT_AT = LIVE_BYTES + 8
"""In `struct followed`: there, after what is live, and flags behind it."""
_BERTH = struct.Struct("<8xQ104s")
_LIVE, _ENDED = struct.Struct("<18s18s18s2xI4xQQ"), struct.Struct("<18s18s18s2xI4xQQQQQQII")
SLOTS_BOUND = 65_535
"""What the hooks can count."""


class Pick(enum.IntEnum):
    """How the hooks pick a slot."""

    TURNS = 0
    """One after the other."""
    LUCK = 1
    """Any."""
    LEAST = 2
    """Of two by luck that whose member has fewer connections."""
    STICKY = 3
    """The caller's own."""


class ServiceWords(msgspec.Struct, frozen=True):
    """`struct service`: what the hooks know of a service's address. Without slots it is relayed."""

    generation: int = 0
    slots: int = 0
    pick: Pick = Pick.TURNS
    turn: int = 0
    """How many connections were given in turns."""

    def pack(self) -> bytes:
        """Pack the value of `services`."""
        return struct.pack(_SERVICE, self.generation, self.slots, self.pick, self.turn)

    @classmethod
    def unpack(cls, raw: bytes) -> "ServiceWords":
        """Read it. ValueError if the hooks would not know such a pick."""
        generation, slots, pick, turn = struct.unpack(_SERVICE, raw)
        return cls(generation, slots, Pick(pick), turn)


class Seat(msgspec.Struct, frozen=True, gc=False):
    """`struct seat`: where a member is counted."""

    index: int
    holder: int
    """Who is counted there now: somebody else if the seat itself says another number."""

    @property
    def key(self) -> bytes:
        """Pack the key of `direct_members`."""
        return struct.pack("<I", self.index)

    def pack(self) -> bytes:
        """Pack the value of `direct_seats`."""
        return struct.pack(_SEAT, self.index, self.holder)

    @classmethod
    def unpack(cls, raw: bytes) -> "Seat":
        """Read it."""
        return cls(*struct.unpack(_SEAT, raw))


class Carried(msgspec.Struct, frozen=True):
    """`struct member`: what an endpoint has carried for one address of a direct service."""

    connections: int = 0
    established: int = 0
    """Of these, those that came to stand."""
    failed: int = 0
    """And those that never did, and have ended."""
    active: int = 0
    sent: int = 0
    received: int = 0

    def pack(self, holder: int) -> bytes:
        """Pack the value of `direct_members`."""
        return struct.pack(_MEMBER, holder, *msgspec.structs.astuple(self))

    @classmethod
    def unpack(cls, raw: bytes) -> tuple[int, "Carried"]:
        """Read whose it is, and it."""
        holder, *words = struct.unpack(_MEMBER, raw)
        return holder, cls(*words)


class DirectLive(msgspec.Struct, frozen=True):
    """`struct live`: a direct connection. Times are CLOCK_MONOTONIC, seconds."""

    source: Address
    destination: Address
    member: Address
    workload: int
    netns: int
    began_at: float


class Followed(NamedTuple):
    """`struct followed`: what the hooks know of a connection, or of a connect that did not begin."""

    live: DirectLive
    """If it has not begun, it has no source yet."""
    has_begun: bool
    seat: Seat
    """Where it is counted, if its member has that still."""


class DirectEnded(msgspec.Struct, frozen=True):
    """`struct ended`: a direct connection that has ended."""

    was: DirectLive
    cookie: int
    at: float
    sent: int
    received: int
    state: int
    """In which TCP state it was, numbered as in the kernel's net/tcp_states.h."""
    released: bool
    """The process had let go of it."""
    retransmitted: bool
    """Something had to be sent twice."""


class EndedWords(NamedTuple):
    """`struct ended` as it stands there: of most that have ended no more is needed than this. Times in ns."""

    source: bytes
    destination: bytes
    member: bytes
    workload: int
    netns: int
    began: int
    cookie: int
    at: int
    sent: int
    received: int
    state: int
    flags: int

    @property
    def released(self) -> bool:
        """The process had let go of it."""
        return bool(self.flags & FLOW_RELEASED)

    @property
    def retransmitted(self) -> bool:
        """Something had to be sent twice."""
        return bool(self.flags & FLOW_RETRANSMITTED)

    def whole(self) -> DirectEnded:
        """Give it as a value."""
        return DirectEnded(
            _live(*self[:6]),
            self.cookie,
            self.at / 1e9,
            self.sent,
            self.received,
            self.state,
            self.released,
            self.retransmitted,
        )


def slot_key(service: Address, slot: int, generation: int) -> bytes:
    """Pack `struct slot_key`."""
    return struct.pack("<18sHI", service.pack(), slot, generation)


def unpack_slot_key(raw: bytes) -> tuple[Address, int]:
    """Read of `struct slot_key` whose slot it is: the service's address, and the generation."""
    return Address.unpack(raw), struct.unpack_from("<I", raw, 20)[0]


def slot(member: Address, seat: Seat) -> bytes:
    """Pack `struct slot`. Its member can be read by `Address.unpack`."""
    return struct.pack("<18s2x8s", member.pack(), seat.pack())


def member_key(service: Address, member: Address) -> bytes:
    """Pack `struct member_key`."""
    return service.pack() + member.pack()


def unpack_member_key(raw: bytes) -> tuple[Address, Address]:
    """Read `struct member_key`."""
    return Address.unpack(raw), Address.unpack(raw[ADDRESS_BYTES:])


def unpack_followed(raw: bytes) -> Followed:
    """Read `struct followed`."""
    index, holder, flags = struct.unpack_from(_FOLLOWS, raw, _SEAT_AT)
    return Followed(_live(*_LIVE.unpack_from(raw)), bool(flags & FLOW_BEGUN), Seat(index, holder))


def unpack_berths(raw: bytes) -> Iterator[tuple[int, Followed]]:
    """Read each `struct berth` that somebody has: the cookie of the socket, and what is known of it."""
    return ((cookie, unpack_followed(known)) for cookie, known in _BERTH.iter_unpack(raw) if cookie)


def unpack_ended(raw: bytes) -> EndedWords:
    """Read `struct ended`."""
    return EndedWords._make(_ENDED.unpack(raw))


def _live(*words: Any) -> DirectLive:
    source, destination, member = map(Address.unpack, words[:3])
    workload, netns, began = words[3:]
    return DirectLive(source, destination, member, workload, netns, began / 1e9)
