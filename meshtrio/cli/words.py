"""Core. Tables, sizes and times as people read them. Does not know terminals."""

from collections.abc import Sequence

GAP = "  "

_SPANS = (("d", "h", 86_400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lay rows out in columns under a head. Numbers stand to the right; nothing is cut off."""
    cells = [[written(value) for value in row] for row in rows]
    widths = [max(len(line[at]) for line in [list(head), *cells]) for at in range(len(head))]
    right = [bool(rows) and all(isinstance(row[at], int | float) for row in rows) for at in range(len(head))]

    def line(texts: Sequence[str]) -> str:
        padded = (
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(texts, widths, right, strict=True)
        )
        return GAP.join(padded).rstrip()

    return [line(head), *map(line, cells)]


def written(value: object) -> str:
    """Write a cell: one line, a dash for nothing, and no signs that a terminal would obey."""
    if isinstance(value, float):
        return f"{value:.1f}"
    text = " ".join(str(value).split()) or "-"
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


def octets(count: int) -> str:
    """Write a number of bytes: 999 B, 1.5 KB, 38.1 MB. A thousand makes the next unit."""
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("KB", "MB", "GB"):
        size /= 1000
        if round(size, 1) < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def lasting(seconds: float) -> str:
    """Write a time span: 3 ms, 1.25 s, 4 m 5 s, 2 h 3 m, 5 d 1 h."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    whole = int(seconds)
    for unit, smaller, size_s, part_s in _SPANS:
        if whole >= size_s:
            return f"{whole // size_s} {unit} {whole % size_s // part_s} {smaller}"
    raise AssertionError("a minute is the smallest span")
