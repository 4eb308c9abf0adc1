"""World. Who is counted where, in real maps: each member has a seat, and nobody inherits what others did."""

import os
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import MEMBER_BYTES, MEMBER_KEY_BYTES, SEAT_BYTES, Carried, Seat
from meshtrio.intercept.direct_seats import HOLDERS, DirectSeats, NoRoom
from tests.support.seats import let_carry

pytestmark = pytest.mark.kernel

HASH, ARRAY, NO_PREALLOC = 1, 2, 1
A, B, C, D = ((Address.of("10.96.0.10", 80), Address.of(f"10.1.0.{at}", 8080)) for at in (1, 2, 3, 4))
BUSY = Carried(connections=7, established=6, active=2, sent=100)


def made(seats: int, members: int) -> dict[str, int]:
    return {
        "direct_seats": bpf.create_map(HASH, "seats", (MEMBER_KEY_BYTES, SEAT_BYTES, seats), NO_PREALLOC),
        "direct_members": bpf.create_map(ARRAY, "members", (4, MEMBER_BYTES, members)),
    }


@pytest.fixture
def maps(request: pytest.FixtureRequest) -> Iterator[dict[str, int]]:
    given = made(*getattr(request, "param", (8, 3)))
    yield given
    for descriptor in given.values():
        os.close(descriptor)


def opened(maps: dict[str, int]) -> DirectSeats:
    return DirectSeats(maps["direct_seats"], maps["direct_members"])


def test_a_member_keeps_its_seat(maps: dict[str, int]) -> None:
    seats = opened(maps)
    assert [seats.give(role) for role in (A, B, A)] == [
        (Seat(0, 0), True),
        (Seat(1, 0), True),
        (Seat(0, 0), False),
    ]
    let_carry(maps, A, BUSY)
    assert (seats.carried(A), seats.carried(B), seats.carried(C)) == (BUSY, Carried(), None)
    assert set(seats.roles()) == {A, B}
    seats.end_one(Seat(0, 0))
    assert seats.carried(A) == Carried(connections=7, established=6, active=1, sent=100)


@pytest.mark.parametrize("maps", [(8, 2)], indirect=True)
def test_who_has_a_seat_after_another_begins_with_nothing(maps: dict[str, int]) -> None:
    seats = opened(maps)
    before, _ = seats.give(A)
    seats.give(C)
    let_carry(maps, A, BUSY)
    seats.take_back(A)
    assert seats.carried(A) is None
    # By a hook that found the seat A's, and was slow.
    bpf.update(maps["direct_members"], before.key, BUSY.pack(before.holder + 1))
    after, is_new = seats.give(B)
    assert (after.index, is_new) == (before.index, True)
    assert after.holder != before.holder
    assert seats.carried(B) == Carried()
    seats.end_one(before)
    assert seats.carried(B) == Carried(), "it was another's connection"
    with pytest.raises(NoRoom):
        seats.give(A)


def test_the_seat_that_is_free_for_longest_is_given_first(maps: dict[str, int]) -> None:
    seats = opened(maps)
    for role in (A, B, C):
        seats.give(role)
    for role in (B, A):
        seats.take_back(role)
    seats.take_back(D)  # who has none
    assert [seats.give(role)[0].index for role in (D, A)] == [1, 0]


def test_a_fresh_seat_is_given_before_one_that_was_had(maps: dict[str, int]) -> None:
    seats = opened(maps)
    seats.give(A)
    seats.take_back(A)
    assert [seats.give(role)[0].index for role in (B, C, D)] == [1, 2, 0]


@pytest.mark.parametrize("maps", [(8, 2), (2, 8)], indirect=True)
def test_no_seat_is_no_room(maps: dict[str, int]) -> None:
    seats = opened(maps)
    seats.give(A)
    seats.give(B)
    for _ in range(2):
        with pytest.raises(NoRoom):
            seats.give(C)
    seats.take_back(A)
    assert seats.give(C)[1]
    with pytest.raises(NoRoom):
        seats.give(A)


def test_a_successor_goes_on_with_all_seats(maps: dict[str, int]) -> None:
    first = opened(maps)
    for role in (A, B, C):
        first.give(role)
    let_carry(maps, C, BUSY)
    first.take_back(B)
    second = opened(maps)
    assert set(second.roles()) == {A, C}
    assert second.carried(C) == BUSY
    assert second.give(D) == (Seat(1, 1), True)


def test_a_successor_ends_what_was_begun(maps: dict[str, int]) -> None:
    """Its predecessor was killed in the midst of taking a seat back."""
    first = opened(maps)
    first.give(A)
    first.give(B)
    bpf.update(maps["direct_members"], Seat(0, 0).key, Carried().pack(1))
    assert first.carried(A) is None
    second = opened(maps)
    assert set(second.roles()) == {B}
    second.give(D)
    assert second.give(C) == (Seat(0, 1), True)


def test_holders_are_counted_round(maps: dict[str, int]) -> None:
    bpf.update(maps["direct_members"], Seat(0, 0).key, Carried().pack(HOLDERS - 1))
    seats = opened(maps)
    assert seats.give(A)[0] == Seat(0, HOLDERS - 1)
    seats.take_back(A)
    seats.give(B)
    seats.give(C)
    assert seats.give(A)[0] == Seat(0, 0)
