"""Core. The one hash of balancing: workers, their successors and the kernel's tables agree by it.

SHA-256 because it is fixed by a standard, spreads well for any input, and nobody can choose keys that crowd
on one place by knowing the ring (Python's own hash differs by process).
"""

from hashlib import sha256
from struct import Struct

_FOUR = Struct(">4Q")

SPACE = 1 << 64
"""Hashes are below this."""


def key_hash(key: bytes) -> int:
    """Hash a caller's key, or a place on a ring: SHA-256, the first 8 bytes, big-endian."""
    return int.from_bytes(sha256(key).digest()[:8], "big")


def two_hashes(key: bytes) -> tuple[int, int]:
    """Give two independent hashes: the first and the second 8 bytes of SHA-256, each big-endian."""
    digest = sha256(key).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")


def four_hashes(key: bytes) -> tuple[int, ...]:
    """Give four independent hashes: all of SHA-256, in four times 8 bytes, each big-endian."""
    return _FOUR.unpack(sha256(key).digest())
