"""Core. The bytes of direct services that kernel and user space share: bpf/include/layout.h, from Python.

A part of layout.py, which has the rest; their connections are followed_layout.py. A test compiles the C side
and compares.
"""

import enum
import struct

import msgspec

from meshtrio.address import Address
from meshtrio.intercept.layout import ADDRESS_BYTES

SERVICE_BYTES = 16
SLOT_KEY_BYTES = 24
MEMBER_KEY_BYTES = 36
SEAT_BYTES = 8
SLOT_BYTES = 40
MEMBER_BYTES = 56
GENERATIONS = 1 << 32
_SERVICE, _SEAT, _MEMBER = "<IHHQ", "<II", "<I4xQQQqQQ"
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


GUARDED = 256
"""Beside a pick: the members are workloads, and grants say who may call them."""


class Guard(msgspec.Struct, frozen=True, gc=False):
    """Which workload a member of a guarded service is."""

    workload: int
    netns: int
    """The number of its namespace."""


class ServiceWords(msgspec.Struct, frozen=True):
    """`struct service`: what the hooks know of a service's address. Without slots it is relayed."""

    generation: int = 0
    slots: int = 0
    pick: Pick = Pick.TURNS
    turn: int = 0
    """How many connections were given in turns."""
    guarded: bool = False

    def pack(self) -> bytes:
        """Pack the value of `services`."""
        return struct.pack(
            _SERVICE, self.generation, self.slots, self.pick | GUARDED * self.guarded, self.turn
        )

    @classmethod
    def unpack(cls, raw: bytes) -> "ServiceWords":
        """Read it. ValueError if the hooks would not know such a pick."""
        generation, slots, pick, turn = struct.unpack(_SERVICE, raw)
        return cls(generation, slots, Pick(pick & ~GUARDED), turn, bool(pick & GUARDED))


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


def slot_key(service: Address, slot: int, generation: int) -> bytes:
    """Pack `struct slot_key`."""
    return struct.pack("<18sHI", service.pack(), slot, generation)


def unpack_slot_key(raw: bytes) -> tuple[Address, int]:
    """Read of `struct slot_key` whose slot it is: the service's address, and the generation."""
    return Address.unpack(raw), struct.unpack_from("<I", raw, 20)[0]


UNGUARDED = Guard(0, 0)


def slot(member: Address, seat: Seat, guard: Guard = UNGUARDED) -> bytes:
    """Pack `struct slot`. Its member can be read by `Address.unpack`."""
    return struct.pack("<18s2x8sIQ", member.pack(), seat.pack(), guard.workload, guard.netns)


def member_key(service: Address, member: Address) -> bytes:
    """Pack `struct member_key`."""
    return service.pack() + member.pack()


def unpack_member_key(raw: bytes) -> tuple[Address, Address]:
    """Read `struct member_key`."""
    return Address.unpack(raw), Address.unpack(raw[ADDRESS_BYTES:])
