"""Core. The bytes of one direction of one connection: what they must be, at any place, without keeping them.

A stream is a row of pages. Each page is cut out of one pool of random bytes at a place that hangs on seed,
connection, direction and page number. So no two connections and no two places say the same, a page costs one
multiplication, and checking is one memcmp. Does not know sockets.
"""

import random
from functools import lru_cache
from hashlib import blake2b

PAGE_BYTES = 1 << 16
POOL_BYTES = 1 << 22
_WORD = (1 << 64) - 1


@lru_cache(maxsize=2)
def pool_of(seed: int) -> bytes:
    """Give the pool of this seed; the same on both sides."""
    return random.Random(f"pool/{seed}").randbytes(POOL_BYTES)


class Stream:
    """An endless deterministic stream, read at any place."""

    __slots__ = ("_key", "_pool", "_view")

    def __init__(self, seed: int, name: str) -> None:
        self._pool = pool_of(seed)
        self._view = memoryview(self._pool)
        digest = blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
        self._key = int.from_bytes(digest, "big")

    def pieces(self, at: int, size_bytes: int) -> list[memoryview]:
        """Give the bytes [at, at + size_bytes) as views into the pool, nothing copied."""
        found = []
        while size_bytes > 0:
            inside = at % PAGE_BYTES
            take = min(size_bytes, PAGE_BYTES - inside)
            start = self._page(at // PAGE_BYTES) + inside
            found.append(self._view[start : start + take])
            at += take
            size_bytes -= take
        return found

    def first_wrong(self, at: int, chunk: memoryview) -> int | None:
        """Give the place of the first byte of the chunk that is not as it must be, None if all are right."""
        done = 0
        while done < len(chunk):
            inside = at % PAGE_BYTES
            take = min(len(chunk) - done, PAGE_BYTES - inside)
            start = self._page(at // PAGE_BYTES) + inside
            part = chunk[done : done + take]
            # bytes.startswith compares in place; comparing memoryviews goes byte by byte.
            if not self._pool.startswith(part, start):
                wrong = zip(part, self._view[start : start + take], strict=True)
                return at + next(index for index, (got, want) in enumerate(wrong) if got != want)
            done += take
            at += take
        return None

    def origin(self, sample: bytes, size_bytes: int) -> int | None:
        """Give the place in the first size_bytes where this sample belongs, None if nowhere."""
        place = b"".join(self.pieces(0, size_bytes)).find(sample)
        return None if place < 0 else place

    def _page(self, number: int) -> int:
        mixed = (self._key + number * 0x9E3779B97F4A7C15) & _WORD
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
        return (mixed ^ (mixed >> 27)) % (POOL_BYTES - PAGE_BYTES)
