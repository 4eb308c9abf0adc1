"""Core. What one side saw of one connection, and the 32 bytes by which both know each other.

The header begins with a face: bytes that look like HTTP/1, HTTP/2, TLS or nothing, so that whoever guesses
protocols in between meets them all, and must still not change a byte nor wait for more.
"""

import zlib
from typing import Any, NamedTuple

HEADER_BYTES = 32
_FACES = (
    b"",
    b"GET / HTTP/1.1\r\nHost: a",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"220 ",
)
_FACE_BYTES = 24
LARGEST_GREETING_BYTES = 1 << 19


class Record(NamedTuple):
    """What one side saw. `ended` is how the other side's bytes stopped."""

    role: str
    number: int  # -1: the server never knew
    sent: int
    heard: int
    ended: str  # eof, reset, left (this side went first), hang, or the name of an error
    broken: str = ""  # the error that sending met
    wrong: str = ""  # the first byte that was not as it must be
    done: bool = False  # this side did what its part says, up to and with its end
    greeting: int = -1
    seconds: float = 0.0

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Record":
        """Build from what JSON gave."""
        return cls(**plain)


def header(number: int, seed: int) -> bytes:
    """Give the first bytes of the client, or the first bytes of a greeting (with its own number)."""
    face = _FACES[number % len(_FACES)]
    face += zlib.crc32(face).to_bytes(4, "big") * 6
    named = face[:_FACE_BYTES] + number.to_bytes(4, "big")
    return named + zlib.crc32(named, seed & 0xFFFFFFFF).to_bytes(4, "big")


def number_of(head: bytes, seed: int) -> int | None:
    """Give the number in a header, None if the header is not one of ours, to the last bit."""
    number = int.from_bytes(head[_FACE_BYTES : _FACE_BYTES + 4], "big")
    return number if head == header(number, seed) else None


def greeting_bytes(number: int) -> int:
    """Give the size of a greeting behind its header."""
    return (number * 2654435761 % LARGEST_GREETING_BYTES) >> (number % 13)


def greeting_ends(number: int) -> bool:
    """Say whether the server closes behind this greeting and wants to hear nothing (as daytime did)."""
    return number % 4 == 3
