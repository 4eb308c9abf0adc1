"""World. Who has a grant, in real maps: exactly those who should, also when there is no room."""

import os
import struct
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import Seat
from meshtrio.intercept.followed_layout import DirectLive, Followed
from meshtrio.intercept.grant_layout import (
    GRANT_BYTES,
    GRANTEE_BYTES,
    PASSAGE_BYTES,
    PASSENGER_BYTES,
    grantee,
    passage,
    unpack_grant,
)
from meshtrio.intercept.grants import Grants

pytestmark = pytest.mark.kernel

HASH, NO_PREALLOC = 1, 1
WEB, SHOP = Address.of("10.96.0.10", 80), Address.of("fd00::10", 80)
THERE = 4026531840
ROOM = 4
FAR_OFF = 1e6


@pytest.fixture
def maps() -> Iterator[dict[str, int]]:
    made = {
        "grants": bpf.create_map(HASH, "grants", (GRANTEE_BYTES, GRANT_BYTES, ROOM), NO_PREALLOC),
        "passages": bpf.create_map(HASH, "passages", (PASSAGE_BYTES, PASSENGER_BYTES, 64), NO_PREALLOC),
    }
    yield made
    for descriptor in made.values():
        os.close(descriptor)


def known(maps: dict[str, int]) -> dict[bytes, int]:
    """Return what the hooks know: the generation of each grant."""
    keys = bpf.keys(maps["grants"], GRANTEE_BYTES)
    found = {key: bpf.look_up(maps["grants"], key, GRANT_BYTES) for key in keys}
    return {key: unpack_grant(value)[1] for key, value in found.items() if value is not None}


def given(service: Address, generation: int, *workloads: int) -> dict[bytes, int]:
    return {grantee(service, workload): generation for workload in workloads}


def for_ever(*workloads: int) -> dict[int, float]:
    return dict.fromkeys(workloads, FAR_OFF)


def test_exactly_these_have_a_grant(maps: dict[str, int]) -> None:
    made = Grants(maps)
    for workloads in ((1, 2), (2, 3), (), (3,)):
        assert made.give(WEB, 7, for_ever(*workloads)) == set()
        assert known(maps) == given(WEB, 7, *workloads)
        assert (made.given(WEB), made.count) == (for_ever(*workloads), len(workloads))
    made.give(SHOP, 8, for_ever(1, 3))
    assert known(maps) == given(WEB, 7, 3) | given(SHOP, 8, 1, 3)
    assert made.count == 3
    made.drop(SHOP)
    made.drop(SHOP)
    assert known(maps) == given(WEB, 7, 3)
    assert (made.given(SHOP), made.count) == ({}, 1)


def test_other_slots_need_other_grants(maps: dict[str, int]) -> None:
    made = Grants(maps)
    made.give(WEB, 7, for_ever(1, 2))
    made.give(WEB, 8, for_ever(2, 3))
    assert known(maps) == given(WEB, 8, 2, 3)


def test_what_is_there_is_not_written_again(maps: dict[str, int]) -> None:
    made = Grants(maps)
    made.give(WEB, 7, for_ever(1, 2))
    bpf.delete(maps["grants"], grantee(WEB, 1))
    made.give(WEB, 7, for_ever(1, 2))
    assert known(maps) == given(WEB, 7, 2)


def test_for_whom_there_is_no_room_is_told_and_has_none(maps: dict[str, int]) -> None:
    made = Grants(maps)
    assert made.give(SHOP, 5, for_ever(9)) == set()
    assert made.give(WEB, 7, for_ever(1, 2, 3, 4, 5)) == {4, 5}
    assert known(maps) == given(SHOP, 5, 9) | given(WEB, 7, 1, 2, 3)
    assert (made.given(WEB), made.count) == (for_ever(1, 2, 3), ROOM)
    made.drop(SHOP)
    assert made.give(WEB, 7, for_ever(1, 2, 3, 4, 5)) == {5}
    assert known(maps) == given(WEB, 7, 1, 2, 3, 4)


def test_without_room_those_keep_theirs_who_have_one(maps: dict[str, int]) -> None:
    """For the slots of another generation, too; what nobody has any more makes room."""
    made = Grants(maps)
    made.give(WEB, 7, for_ever(2, 4, 6, 8))
    assert made.give(WEB, 8, for_ever(1, 2, 3, 4, 6)) == {3}
    assert known(maps) == given(WEB, 8, 1, 2, 4, 6)
    assert made.give(WEB, 9, for_ever(1, 2, 3, 4, 5, 6)) == {3, 5}
    assert known(maps) == given(WEB, 9, 1, 2, 4, 6)
    assert made.count == ROOM


def test_what_could_not_be_written_anew_is_taken_out(maps: dict[str, int]) -> None:
    made = Grants(maps)
    made.give(WEB, 7, for_ever(1, 2, 3, 4))
    bpf.delete(maps["grants"], grantee(WEB, 1))
    bpf.update(maps["grants"], grantee(SHOP, 9), bytes(GRANT_BYTES))
    assert made.give(WEB, 8, for_ever(1, 2, 3, 4)) == {1}
    assert known(maps) == given(SHOP, 0, 9) | given(WEB, 8, 2, 3, 4)
    assert made.count == 3


def test_what_is_known_and_what_is_remembered_stay_the_same(maps: dict[str, int]) -> None:
    """Whatever is asked for, and however little room there is."""
    made = Grants(maps)
    turn = 0
    for number in range(1, 400):
        turn = (turn * 75 + 74) % 65537
        service = WEB if turn % 3 else SHOP
        workloads = {at for at in range(1, 6) if turn >> at & 1}
        left = made.give(service, number // 4 + 1, for_ever(*workloads))
        assert made.given(service) == for_ever(*workloads - left)
        found = known(maps)
        assert found.keys() == {grantee(of, who) for of in (WEB, SHOP) for who in made.given(of)}
        assert len(found) == made.count <= ROOM
        assert all(found[grantee(service, who)] == number // 4 + 1 for who in made.given(service))
        if turn % 11 == 0:
            made.drop(service)


def test_another_fault_than_no_room_is_raised(maps: dict[str, int]) -> None:
    with open(os.devnull) as no_map:
        made = Grants({**maps, "grants": bpf.create_map(HASH, "other", (GRANTEE_BYTES, GRANT_BYTES, 1))})
        os.dup2(no_map.fileno(), made._grants)
        with pytest.raises(OSError, match="Invalid argument"):
            made.give(WEB, 1, for_ever(1))
        os.close(made._grants)
    assert made.count == 0


def test_a_successor_finds_them_and_gives_exactly_what_it_will(maps: dict[str, int]) -> None:
    Grants(maps).give(WEB, 7, for_ever(1, 2, 3))
    Grants(maps).give(SHOP, 8, for_ever(4))
    second = Grants(maps)
    assert known(maps) == given(WEB, 7, 1, 2, 3) | given(SHOP, 8, 4)
    assert (second.count, second.given(WEB)) == (4, for_ever(1, 2, 3))
    second.give(WEB, 9, for_ever(2))
    second.retain({WEB})
    assert known(maps) == given(WEB, 9, 2)


def test_another_end_is_written_if_it_is_another(maps: dict[str, int]) -> None:
    made = Grants(maps)
    for until, kept in ((100.0, 100.0), (100.9, 100.0), (101.1, 101.1), (90.0, 90.0)):
        made.give(WEB, 7, {1: until})
        value = bpf.look_up(maps["grants"], grantee(WEB, 1), GRANT_BYTES)
        assert value is not None
        end, generation = unpack_grant(value)
        assert (end, generation) == (kept, 7)


def live(port: int) -> DirectLive:
    source = Address.of("10.1.0.1", port)
    return DirectLive(source, WEB, Address.of("10.2.0.1", 8080), 1, 2, 5, 100.0)


def sets_out(maps: dict[str, int], port: int, cookie: int) -> bytes:
    key = passage(THERE, live(port))
    bpf.update(maps["passages"], key, struct.pack("<QII", cookie, 2, 0))
    return key


def noted(maps: dict[str, int]) -> set[bytes]:
    return set(bpf.keys(maps["passages"], PASSAGE_BYTES))


def test_of_connections_that_live_no_more_nothing_is_left(maps: dict[str, int]) -> None:
    made = Grants(maps)
    alive, _ = sets_out(maps, 1, 11), sets_out(maps, 2, 12)
    made.sweep(lambda: {11, 13})
    assert noted(maps) == {alive}
    made.sweep(set)
    assert noted(maps) == set()


def test_who_lives_is_not_asked_if_none_is_noted(maps: dict[str, int]) -> None:
    def living() -> set[int]:
        raise AssertionError

    Grants(maps).sweep(living)


def test_another_between_the_same_addresses_is_left_alone(maps: dict[str, int]) -> None:
    """It has set out after we had looked at what is noted."""
    made = Grants(maps)
    sets_out(maps, 1, 11)

    def living() -> set[int]:
        sets_out(maps, 1, 14)
        sets_out(maps, 2, 15)
        return set()

    made.sweep(living)
    assert noted(maps) == {passage(THERE, live(1)), passage(THERE, live(2))}


def test_one_whose_end_nobody_sees_is_forgotten(maps: dict[str, int]) -> None:
    made = Grants(maps)
    one, other = sets_out(maps, 1, 11), sets_out(maps, 2, 12)
    made.forget(Followed(live(1), has_begun=True, seat=Seat(0, 0), there=0))
    assert noted(maps) == {one, other}, "that one was not granted"
    made.forget(Followed(live(1), has_begun=True, seat=Seat(0, 0), there=THERE))
    assert noted(maps) == {other}
    made.forget(Followed(live(1), has_begun=True, seat=Seat(0, 0), there=THERE))
