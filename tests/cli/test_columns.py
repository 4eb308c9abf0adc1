"""Tables that fit their terminal."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.cli.columns import Column, Line, ago, and_more, lay_out

COLUMNS = (
    Column("A", lambda row: row["a"]),
    Column("LESS", lambda row: row["b"], rank=2),
    Column("LEAST", lambda row: row["c"], rank=3),
    Column("SOME", lambda row: row["d"], rank=1),
)
ROW: dict[str, Any] = {"a": "aaaa", "b": "bbbb", "c": "ccccc", "d": 7}


@pytest.mark.parametrize(
    ("width", "head"),
    [
        (None, "A     LESS  LEAST  SOME"),
        (23, "A     LESS  LEAST  SOME"),
        (22, "A     LESS  SOME"),
        (16, "A     LESS  SOME"),
        (15, "A     SOME"),
        (9, "A"),
        (1, "A"),
    ],
)
def test_what_matters_least_goes_first(width: int | None, head: str) -> None:
    assert lay_out(COLUMNS, [ROW], width=width)[0] == Line(head, bold=True)


@given(
    st.lists(st.fixed_dictionaries({key: st.text(max_size=9) for key in "abcd"}), max_size=4),
    st.integers(0, 60),
)
def test_it_is_no_wider_than_wanted_unless_what_stays_is(rows: list[dict[str, Any]], width: int) -> None:
    lines = lay_out(COLUMNS, rows, width=width)
    assert len(lines) == 1 + len(rows)
    stays = lay_out(COLUMNS[:1], rows, width=None)
    assert max(len(line.text) for line in lines) <= max(width, *(len(line.text) for line in stays))


def test_a_row_has_its_colour_and_numbers_stand_right() -> None:
    lines = lay_out(COLUMNS, [ROW, {**ROW, "d": 10}], width=None, colour=lambda row: "red" * (row["d"] > 9))
    assert lines[1:] == [Line("aaaa  bbbb  ccccc     7"), Line("aaaa  bbbb  ccccc    10", "red")]


def test_what_a_registry_says_cannot_steer_the_terminal() -> None:
    lines = lay_out(COLUMNS, [{**ROW, "a": "\x1b[2J\n"}], width=None)
    assert lines[1].text.startswith("?[2J  ")


def test_how_long_ago() -> None:
    assert (ago(0, 100.0), ago(40.0, 100.0), ago(101.0, 100.0)) == ("", "1 m 0 s", "0 ms")


def test_how_many_more() -> None:
    assert (and_more(0), and_more(2)) == ([], [Line("and 2 more")])
