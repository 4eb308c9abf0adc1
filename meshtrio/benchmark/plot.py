"""Core. Bars with their spread, as SVG. Does not know what they mean."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, LEFT, BAR_MOST = 760, 150, 420
ROW, BAR, TITLE = 22, 14, 34
COLOURS = ("#8a8f98", "#2f6fb2", "#5ba3a0", "#c9782d", "#7c5aa6", "#a8443f", "#5c8a3a", "#b39b2b")


class Bar(NamedTuple):
    """One value, how far its rounds lay apart, and how it is written."""

    label: str
    value: float
    low: float
    high: float
    text: str


class Panel(NamedTuple):
    """Bars that share a scale."""

    title: str
    bars: tuple[Bar, ...]


def svg(heading: str, panels: Sequence[Panel], foot: str = "") -> str:
    """Draw the panels below each other, each on a scale that begins at 0. A label keeps its colour."""
    labels = list(dict.fromkeys(bar.label for panel in panels for bar in panel.bars))
    colour_of = {label: COLOURS[at % len(COLOURS)] for at, label in enumerate(labels)}
    parts: list[str] = [_text(12, 24, heading, size=15, bold=True)]
    top = 36
    for panel in panels:
        parts.append(_text(12, top + 20, panel.title, size=12, bold=True))
        top += TITLE
        most = max((bar.high for bar in panel.bars), default=0.0) or 1.0
        for bar in panel.bars:
            parts += _bar(bar, top, most, colour_of[bar.label])
            top += ROW
    for line in _lines(foot):
        parts.append(_text(12, top + 20, line, size=10))
        top += 14
    height = top + 24
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">'
    )
    return "\n".join((head, '<rect width="100%" height="100%" fill="#ffffff"/>', *parts, "</svg>")) + "\n"


def _bar(bar: Bar, top: int, most: float, colour: str) -> list[str]:
    middle = top + BAR / 2
    right, low, high = (LEFT + BAR_MOST * (value / most) for value in (bar.value, bar.low, bar.high))
    return [
        f'<text x="{LEFT - 8}" y="{top + 11}" font-size="11" text-anchor="end">{escape(bar.label)}</text>',
        f'<rect x="{LEFT}" y="{top}" width="{right - LEFT:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {top + 3}v8M{high:.1f} {top + 3}v8" '
        'stroke="#222222" fill="none"/>',
        _text(int(max(right, high)) + 8, top + 11, bar.text, size=11),
    ]


def _text(x: int, y: int, text: str, *, size: int, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="{size}"{weight}>{escape(text)}</text>'


def _lines(text: str, most_characters: int = 130) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > most_characters:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line] if line else lines
