"""Core. Tables that fit their terminal: which columns stay when it is narrow, and how a line is coloured.

Does not know terminals. What is shown came from registries and other people's programs.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from meshtrio.cli.words import GAP, lasting, table, written

Row = dict[str, Any]


class Line(NamedTuple):
    """A line of text, and how it looks as a whole."""

    text: str
    colour: str = ""
    bold: bool = False


class Column(NamedTuple):
    """One column. `rank` 0 always stays; else the column of the highest rank goes first."""

    head: str
    cell: Callable[[Row], object]
    rank: int = 0


def lay_out(
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    width: int | None,
    colour: Callable[[Row], str] = lambda row: "",
) -> list[Line]:
    """Lay rows out in a table as wide as its terminal, by leaving columns out; None: as wide as it is.

    What must stay may still be wider. The first line is the head.
    """
    cells = [[column.cell(row) for column in columns] for row in rows]
    heads: list[object] = [column.head for column in columns]
    widths = [max(len(written(line[at])) for line in [heads, *cells]) for at in range(len(heads))]
    kept = _kept(columns, widths, width)
    lines = table([columns[at].head for at in kept], [[row[at] for at in kept] for row in cells])
    return [Line(lines[0], bold=True)] + [
        Line(text, colour(row)) for text, row in zip(lines[1:], rows, strict=True)
    ]


def ago(when: float, now: float) -> str:
    """Write how long ago something was; nothing if it never was."""
    return lasting(max(0.0, now - when)) if when else ""


def and_more(left_out: int) -> list[Line]:
    """Say how many rows are not shown, if any."""
    return [Line(f"and {left_out} more")] if left_out > 0 else []


def _kept(columns: Sequence[Column], widths: list[int], width: int | None) -> list[int]:
    kept = list(range(len(columns)))

    def whole() -> int:
        return sum(widths[at] for at in kept) + len(GAP) * (len(kept) - 1)

    while width is not None and whole() > width:
        goes = max(kept, key=lambda at: (columns[at].rank, at))
        if columns[goes].rank == 0:
            break
        kept.remove(goes)
    return kept
