"""Tables, sizes and times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.cli.words import lasting, octets, table


def test_numbers_stand_right_and_words_left() -> None:
    assert table(("NAME", "COUNT"), [("a", 5), ("bcdef", 100)]) == [
        "NAME   COUNT",
        "a          5",
        "bcdef    100",
    ]


def test_what_is_empty_is_a_dash_and_no_line_breaks_a_row() -> None:
    assert table(("A", "B"), [("", "x\ny"), (1.25, "")]) == ["A    B", "-    x y", "1.2  -"]
    assert table(("A", "B"), []) == ["A  B"]


def test_what_a_terminal_would_obey_is_not_written() -> None:
    assert table(("A",), [("\x1b[2Jx\u202ey\x07",)])[1] == "?[2Jx?y?"


@given(st.lists(st.tuples(st.text(), st.integers()), max_size=5))
def test_a_table_has_one_line_a_row(rows: list[tuple[str, int]]) -> None:
    assert len(table(("WORDS", "NUMBERS"), rows)) == 1 + len(rows)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (999_949, "999.9 KB"),
        (999_950, "1.0 MB"),
        (38_100_000, "38.1 MB"),
        (10**10, "10.0 GB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_octets(count: int, text: str) -> None:
    assert octets(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.003, "3 ms"),
        (1.25, "1.25 s"),
        (60, "1 m 0 s"),
        (245.9, "4 m 5 s"),
        (7380, "2 h 3 m"),
        (435_600, "5 d 1 h"),
    ],
)
def test_lasting(seconds: float, text: str) -> None:
    assert lasting(seconds) == text
