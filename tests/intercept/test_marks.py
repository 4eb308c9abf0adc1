"""Core. Marks are ours by their upper bits, and the lowest byte is the user's."""

from hypothesis import given
from hypothesis import strategies as some

from meshtrio.intercept import marks


@given(some.integers(0, 0xFFFF_FFFF))
def test_a_mark_keeps_the_users_low_bits_and_nothing_else(user: int) -> None:
    for ours in (marks.OUTBOUND_DIAL, marks.APP_DIAL):
        mark = marks.marked(ours, user)
        assert mark & marks.MASK == ours
        assert mark & 0xFF == user & 0xFF
        assert marks.is_ours(mark)


def test_the_numbers_are_what_users_were_told() -> None:
    assert (marks.MASK, marks.OUTBOUND_DIAL, marks.APP_DIAL) == (0xFFFFFF00, 0x4D540100, 0x4D540200)


def test_neighbouring_marks_are_not_ours() -> None:
    for mark in (0, 1, marks.OUTBOUND_DIAL - 1, marks.APP_DIAL + 0x100, 0x4D54_0000, 0xFFFF_FFFF):
        assert not marks.is_ours(mark), hex(mark)
