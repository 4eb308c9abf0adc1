"""Core. The bytes of direct services: bpf/include, built here, against direct_layout.py."""

import ctypes
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.intercept import direct_layout as layout
from meshtrio.intercept.direct_layout import Carried, Guard, Pick, Seat, ServiceWords
from tests.support.layouts import addresses, laid_out, seated, seats, u16, u32, u64
from tests.support.native import numbers


@pytest.fixture(scope="module")
def c(library: ctypes.CDLL) -> dict[str, int]:
    return numbers(library)


def test_sizes_are_those_of_c(c: dict[str, int]) -> None:
    names = (
        "service",
        "seat",
        "slot_key",
        "slot",
        "member_key",
        "member",
    )
    assert {name: c[f"sizeof {name}"] for name in names} == {
        "service": layout.SERVICE_BYTES,
        "seat": layout.SEAT_BYTES,
        "slot_key": layout.SLOT_KEY_BYTES,
        "slot": layout.SLOT_BYTES,
        "member_key": layout.MEMBER_KEY_BYTES,
        "member": layout.MEMBER_BYTES,
    }


def test_constants_are_those_of_c(c: dict[str, int]) -> None:
    assert {pick.name: c[f"PICK_{pick.name}"] for pick in Pick} == {pick.name: pick.value for pick in Pick}
    assert c["PICK_GUARDED"] == layout.GUARDED


@given(words=st.builds(ServiceWords, u32, u16, st.sampled_from(Pick), u64, st.booleans()))
def test_a_service(c: dict[str, int], words: ServiceWords) -> None:
    raw = words.pack()
    assert raw == laid_out(
        c,
        "service",
        generation=("I", words.generation),
        slots=("H", words.slots),
        algorithm=("H", words.pick + c["PICK_GUARDED"] * words.guarded),
        turn=("Q", words.turn),
    )
    assert ServiceWords.unpack(raw) == words


def test_a_pick_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ValueError, match="4 is not a valid Pick"):
        ServiceWords.unpack(struct.pack("<IHHQ", 1, 1, 4, 0))


@given(service=addresses, slot=u16, generation=u32)
def test_a_slot_key(c: dict[str, int], service: Address, slot: int, generation: int) -> None:
    raw = layout.slot_key(service, slot, generation)
    assert raw == laid_out(
        c, "slot_key", service=("18s", service.pack()), slot=("H", slot), generation=("I", generation)
    )
    assert layout.unpack_slot_key(raw) == (service, generation)


@given(member=addresses, seat=seats, guard=st.builds(Guard, u32, u64))
def test_a_slot(c: dict[str, int], member: Address, seat: Seat, guard: Guard) -> None:
    raw = layout.slot(member, seat, guard)
    words = {"called": ("I", guard.workload), "netns": ("Q", guard.netns)}
    assert raw == laid_out(c, "slot", member=("18s", member.pack()), seat=("8s", seated(c, seat)), **words)
    assert Address.unpack(raw) == member
    nobody = laid_out(c, "slot", member=("18s", member.pack()), seat=("8s", seated(c, seat)))
    assert layout.slot(member, seat) == nobody


@given(seat=seats)
def test_a_seat(c: dict[str, int], seat: Seat) -> None:
    assert seat.pack() == seated(c, seat)
    assert Seat.unpack(seat.pack()) == seat
    assert seat.key == seat.pack()[:4]


@given(service=addresses, member=addresses)
def test_a_member_key(c: dict[str, int], service: Address, member: Address) -> None:
    raw = layout.member_key(service, member)
    assert raw == laid_out(c, "member_key", service=("18s", service.pack()), member=("18s", member.pack()))
    assert layout.unpack_member_key(raw) == (service, member)


@given(carried=st.builds(Carried, u64, u64, u64, st.integers(-(2**63), 2**63 - 1), u64, u64), holder=u32)
def test_what_a_member_has_carried(c: dict[str, int], carried: Carried, holder: int) -> None:
    raw = carried.pack(holder)
    assert raw == laid_out(
        c,
        "member",
        holder=("I", holder),
        connections=("Q", carried.connections),
        established=("Q", carried.established),
        failed=("Q", carried.failed),
        active=("q", carried.active),
        sent=("Q", carried.sent),
        received=("Q", carried.received),
    )
    assert Carried.unpack(raw) == (holder, carried)
