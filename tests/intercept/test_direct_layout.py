"""Core. The bytes of direct services: bpf/include, built here, against direct_layout.py."""

import ctypes
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.intercept import direct_layout as layout
from meshtrio.intercept.direct_layout import Carried, DirectEnded, DirectLive, Pick, Seat, ServiceWords
from tests.support.native import numbers

u16, u32, u64 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
addresses = st.builds(Address, st.binary(min_size=16, max_size=16), u16)


@pytest.fixture(scope="module")
def c(library: ctypes.CDLL) -> dict[str, int]:
    return numbers(library)


def laid_out(c: dict[str, int], name: str, **fields: tuple[str, Any]) -> bytes:
    """Write a struct as C has it: each field with its format at its offset."""
    raw = bytearray(c[f"sizeof {name}"])
    for field, (form, value) in fields.items():
        struct.pack_into(f"<{form}", raw, c[f"{name}.{field}"], value)
    return bytes(raw)


def test_sizes_are_those_of_c(c: dict[str, int]) -> None:
    names = (
        "service",
        "seat",
        "slot_key",
        "slot",
        "member_key",
        "member",
        "live",
        "followed",
        "berth",
        "ended",
    )
    assert {name: c[f"sizeof {name}"] for name in names} == {
        "service": layout.SERVICE_BYTES,
        "seat": layout.SEAT_BYTES,
        "slot_key": layout.SLOT_KEY_BYTES,
        "slot": layout.SLOT_BYTES,
        "member_key": layout.MEMBER_KEY_BYTES,
        "member": layout.MEMBER_BYTES,
        "live": layout.LIVE_BYTES,
        "followed": layout.FOLLOWED_BYTES,
        "berth": layout.BERTH_BYTES,
        "ended": layout.ENDED_BYTES,
    }


def test_constants_are_those_of_c(c: dict[str, int]) -> None:
    assert {pick.name: c[f"PICK_{pick.name}"] for pick in Pick} == {pick.name: pick.value for pick in Pick}
    assert c["FLOW_BEGUN"] == layout.FLOW_BEGUN
    assert c["BERTHS"] == layout.BERTHS
    assert c["FLOW_RELEASED"] == layout.FLOW_RELEASED
    assert c["FLOW_RETRANSMITTED"] == layout.FLOW_RETRANSMITTED


@given(words=st.builds(ServiceWords, u32, u16, st.sampled_from(Pick), u64))
def test_a_service(c: dict[str, int], words: ServiceWords) -> None:
    raw = words.pack()
    assert raw == laid_out(
        c,
        "service",
        generation=("I", words.generation),
        slots=("H", words.slots),
        algorithm=("H", words.pick),
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


def seated(c: dict[str, int], seat: Seat) -> bytes:
    return laid_out(c, "seat", index=("I", seat.index), holder=("I", seat.holder))


seats = st.builds(Seat, u32, u32)


@given(member=addresses, seat=seats)
def test_a_slot(c: dict[str, int], member: Address, seat: Seat) -> None:
    raw = layout.slot(member, seat)
    assert raw == laid_out(c, "slot", member=("18s", member.pack()), seat=("8s", seated(c, seat)))
    assert Address.unpack(raw) == member


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


def lives(c: dict[str, int], live: DirectLive) -> bytes:
    return laid_out(
        c,
        "live",
        source=("18s", live.source.pack()),
        destination=("18s", live.destination.pack()),
        member=("18s", live.member.pack()),
        workload=("I", live.workload),
        netns=("Q", live.netns),
        began=("Q", int(live.began_at * 1e9)),
    )


live = st.builds(DirectLive, addresses, addresses, addresses, u32, u64, st.integers(0, 2**30).map(float))


@given(live=live, seat=seats, others=u32, has_begun=st.booleans())
def test_a_live_connection(
    c: dict[str, int], live: DirectLive, seat: Seat, others: int, *, has_begun: bool
) -> None:
    flags = others & ~layout.FLOW_BEGUN | layout.FLOW_BEGUN * has_begun
    raw = laid_out(
        c,
        "followed",
        live=(f"{layout.LIVE_BYTES}s", lives(c, live)),
        seat=("8s", seated(c, seat)),
        flags=("I", flags),
    )
    assert layout.unpack_followed(raw) == (live, has_begun, seat)
    berths = [
        laid_out(
            c,
            "berth",
            claims=("I", 1),
            cookie=("Q", cookie),
            followed=(f"{layout.FOLLOWED_BYTES}s", raw),
        )
        for cookie in (0, 7, others + 1)
    ]
    assert list(layout.unpack_berths(b"".join(berths))) == [
        (cookie, (live, has_begun, seat)) for cookie in (7, others + 1)
    ]


@given(
    ended=st.builds(
        DirectEnded, live, u64, st.integers(0, 2**30).map(float), u64, u64, u32, st.booleans(), st.booleans()
    )
)
def test_an_ended_connection(c: dict[str, int], ended: DirectEnded) -> None:
    flags = layout.FLOW_RELEASED * ended.released | layout.FLOW_RETRANSMITTED * ended.retransmitted
    raw = laid_out(
        c,
        "ended",
        was=(f"{layout.LIVE_BYTES}s", lives(c, ended.was)),
        cookie=("Q", ended.cookie),
        at=("Q", int(ended.at * 1e9)),
        sent=("Q", ended.sent),
        received=("Q", ended.received),
        state=("I", ended.state),
        flags=("I", flags),
    )
    words = layout.unpack_ended(raw)
    assert words.whole() == ended
    assert (words.released, words.retransmitted) == (ended.released, ended.retransmitted)
