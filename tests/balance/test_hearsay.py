"""What workers tell each other can be put together, and the absurd is known as such."""

import math
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance.hearsay import FAILURE, SLOW, SUCCESS, Counts, Stand

NOW = 1000.0


def told(text: str) -> Counts:
    counts = Counts()
    for sign in text:
        counts = counts.then({"s": SUCCESS, "f": FAILURE, "w": SLOW}[sign])
    return counts


@pytest.mark.parametrize(
    ("text", "tail"), [("", 0), ("ff", 2), ("ffs", 0), ("sff", 2), ("fswf", 1), ("fw", 0)]
)
def test_the_tail_is_what_failed_last(text: str, tail: int) -> None:
    assert told(text) == Counts(text.count("s"), text.count("f"), text.count("w"), tail)


@given(st.text("sfw", max_size=12), st.text("sfw", max_size=12), st.text("sfw", max_size=12))
def test_it_does_not_matter_how_words_are_put_together(one: str, two: str, three: str) -> None:
    assert told(one).then(told(two)).then(told(three)) == told(one).then(told(two).then(told(three)))
    assert told(one).then(told(two)) == told(one + two)
    assert told(one).is_sane


@pytest.mark.parametrize(
    "absurd", [Counts(-1), Counts(10**7), Counts(0, 1, 0, 2), Counts(0, 0, 0, -1), Counts(0, 0, -1)]
)
def test_absurd_counts(absurd: Counts) -> None:
    assert not absurd.is_sane


@pytest.mark.parametrize(
    ("stand", "sane"),
    [
        (Stand(NOW, True, NOW + 30, 1), True),
        (Stand(NOW - 10, False, 0, 3), True),
        (Stand(NOW + 4, True, NOW + 30, 1), True),
        (Stand(NOW + 60, True, NOW + 90, 1), False),
        (Stand(NOW, True, NOW + 1e6, 1), False),
        (Stand(math.nan, True, NOW, 1), False),
        (Stand(NOW, True, math.nan, 1), False),
        (Stand(math.inf, True, NOW, 1), False),
        (Stand(-math.inf, True, NOW, 1), False),
        (Stand(NOW, True, NOW + 1, 65), False),
        (Stand(NOW, True, NOW + 1, -1), False),
    ],
)
def test_absurd_stands(stand: Stand, sane: bool) -> None:
    assert stand.is_sane(NOW) is sane


def test_the_newest_stand_wins_then_the_open_one_then_the_longer_one() -> None:
    order = [
        Stand(),
        Stand(1, True, 99, 5),
        Stand(2, False, 0, 1),
        Stand(2, True, 30, 9),
        Stand(2, True, 31, 1),
    ]
    mixed = Random(3).sample(order, len(order))
    assert sorted(mixed) == order


def test_they_travel() -> None:
    words = {"e": (Counts(1, 2, 3, 2), Stand(1.5, True, 2.5, 1))}
    kind = dict[str, tuple[Counts, Stand]]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(words), type=kind) == words
