"""Core. New input from old: cut, repeat, flip, splice, and put in words that the parser looks for.

Knows nothing of who parses. All luck comes from the Random that is handed in, so a seed is a whole run.
"""

from collections.abc import Callable, Sequence
from random import Random

Change = Callable[[bytes, Sequence[bytes], Random], bytes]

LONGEST = 70_000
"""Inputs do not grow beyond this: above every length that a two-byte field can say."""

EDGES = (
    b"",
    b"\0",
    b"\xff",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b" ",
    b":",
    b"\x80",
    b"\x7f",
    b"\xc3\xa9",
    b"\xef\xbb\xbf",
)


def mutated(seeds: Sequence[bytes], words: Sequence[bytes], luck: Random) -> bytes:
    """Make one input: a seed, changed one to eight times."""
    data = luck.choice(seeds)
    for _ in range(luck.choice((1, 1, 2, 3, 8))):
        change: Change = luck.choice(_CHANGES)
        data = change(data, (*words, *EDGES), luck)[:LONGEST]
    return data


def cuts(data: bytes, luck: Random) -> list[bytes]:
    """Cut into pieces at random places, sometimes into single bytes, sometimes not at all."""
    if luck.random() < 0.2 and len(data) < 5000:
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted(luck.randint(0, len(data)) for _ in range(luck.choice((0, 1, 2, 5))))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def _flip(data: bytes, _words: Sequence[bytes], luck: Random) -> bytes:
    if not data:
        return data
    at = luck.randrange(len(data))
    return data[:at] + (data[at] ^ 1 << luck.randrange(8)).to_bytes(1, "big") + data[at + 1 :]


def _number(data: bytes, _words: Sequence[bytes], luck: Random) -> bytes:
    """Write a number over one, two or three bytes: lengths are where parsers believe what they read."""
    size = luck.choice((1, 2, 2, 3))
    value = luck.choice((0, 1, 2, 0x7F, 0xFF, len(data), len(data) - 1, luck.getrandbits(24)))
    at = luck.randint(0, len(data))
    return data[:at] + (value & (1 << 8 * size) - 1).to_bytes(size, "big") + data[at + size :]


def _word(data: bytes, words: Sequence[bytes], luck: Random) -> bytes:
    at = luck.randint(0, len(data))
    return data[:at] + luck.choice(words) + data[at + luck.choice((0, 0, 1, 4)) :]


def _drop(data: bytes, _words: Sequence[bytes], luck: Random) -> bytes:
    at = luck.randint(0, len(data))
    return data[:at] + data[at + luck.choice((1, 2, 7, 100)) :]


def _cut(data: bytes, _words: Sequence[bytes], luck: Random) -> bytes:
    return data[: luck.randint(0, len(data))]


def _repeat(data: bytes, _words: Sequence[bytes], luck: Random) -> bytes:
    """Say a piece many times: what is quadratic shows here."""
    a, b = sorted((luck.randint(0, len(data)), luck.randint(0, len(data))))
    return data[:b] + data[a:b] * luck.choice((1, 2, 30, 1000)) + data[b:]


def _noise(data: bytes, _words: Sequence[bytes], luck: Random) -> bytes:
    at = luck.randint(0, len(data))
    return data[:at] + luck.randbytes(luck.choice((1, 3, 40))) + data[at:]


_CHANGES: tuple[Change, ...] = (
    _flip,
    _number,
    _word,
    _word,
    _drop,
    _cut,
    _repeat,
    _noise,
)
