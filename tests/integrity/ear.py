"""Core. What was heard so far, checked byte by byte against what must be said.

Three stretches follow each other and are never read across: a header (collected), a greeting (checked), the
payload (checked). Nothing but the header is kept.
"""

from collections.abc import Callable

from tests.integrity.stream import Stream


class Ear:
    """Counts and checks the bytes of one direction."""

    def __init__(self) -> None:
        self.head = bytearray()
        self.heard = 0  # of the payload
        self.wrong = ""
        self._head_bytes = 0
        self._introduced: Callable[[bytes], None] | None = None
        self._prelude_left = 0
        self._prelude: tuple[Stream, int] | None = None
        self._prepared: Callable[[], None] | None = None
        self._stream: Stream | None = None
        self._size_bytes = 0

    def expect_head(self, size_bytes: int, introduced: Callable[[bytes], None]) -> None:
        """Collect this many bytes, then call."""
        self._head_bytes, self._introduced = size_bytes, introduced

    def expect_prelude(self, stream: Stream, size_bytes: int, prepared: Callable[[], None]) -> None:
        """Check this many bytes before the payload, then call."""
        if not size_bytes:
            prepared()
            return
        self._prelude, self._prelude_left, self._prepared = (stream, size_bytes), size_bytes, prepared

    def expect_payload(self, stream: Stream, size_bytes: int) -> None:
        """Check all that follows; more than this many bytes is wrong."""
        self._stream, self._size_bytes = stream, size_bytes

    def room(self, most: int) -> int:
        """Give how much may be read at once: never across a border."""
        if len(self.head) < self._head_bytes:
            return self._head_bytes - len(self.head)
        return min(self._prelude_left, most) if self._prelude_left else most

    def hear(self, chunk: memoryview) -> None:
        """Take the next bytes. The first wrong one is described once; counting goes on."""
        if len(self.head) < self._head_bytes:
            self.head += chunk
            if len(self.head) == self._head_bytes and self._introduced:
                self._introduced(bytes(self.head))
        elif self._prelude_left and self._prelude and self._prepared:
            stream, size_bytes = self._prelude
            self._check(stream, size_bytes - self._prelude_left, chunk, size_bytes)
            self._prelude_left -= len(chunk)
            if not self._prelude_left:
                self._prepared()
        else:
            self._check(self._stream, self.heard, chunk, self._size_bytes)
            self.heard += len(chunk)

    def _check(self, stream: Stream | None, at: int, chunk: memoryview, size_bytes: int) -> None:
        if self.wrong:
            return
        if stream is None or at + len(chunk) > size_bytes:
            self.wrong = f"byte {max(at, size_bytes)} was never sent: only {size_bytes} were to be"
            return
        place = stream.first_wrong(at, chunk)
        if place is None:
            return
        sample = bytes(chunk[place - at : place - at + 16])
        self.wrong = f"byte {place} is wrong ({sample.hex()})"
        if len(sample) >= 8:
            origin = stream.origin(sample, size_bytes)
            self.wrong += ": no byte of this direction" if origin is None else f": it is byte {origin}"
