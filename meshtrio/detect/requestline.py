"""Core. Do these bytes begin with the request line of HTTP/1? Does not know about headers or other protocols.

The grammar is RFC 9112, section 3: method SP request-target SP HTTP-version CRLF. It is read a little wider
where real clients are (a bare LF ends the line, the target may hold bytes over 127) and a little narrower
where only other protocols are (a method has 32 bytes at most, no empty line comes first). Doubt means "no",
for what is not HTTP/1 is carried as opaque bytes, which is never wrong.
"""

import re

METHOD_BYTES = 32
"""The longest method that is believed. The longest registered one, UPDATEREDIRECTREF, has 17."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]*")
_TARGET = re.compile(rb"[\x21-\x7e\x80-\xff]*")
_VERSIONS = tuple(b" HTTP/1.%d%s" % (digit, end) for digit in range(10) for end in (b"\r\n", b"\n"))
_LONGEST_VERSION = max(map(len, _VERSIONS))


class RequestLine:
    """Reads a request line as it grows. Looks at each byte once, however the bytes are cut."""

    __slots__ = ("_at", "_read", "_target_from")

    def __init__(self) -> None:
        self._at = 0
        self._target_from = 0
        self._read = self._method

    def read(self, seen: bytes | bytearray) -> bool | None:
        """Say whether `seen` begins with a request line; None while more bytes could make it one.

        `seen` is all bytes so far: each call gives the bytes of the call before, and maybe more.
        """
        return self._read(seen)

    def _method(self, seen: bytes | bytearray) -> bool | None:
        at = self._at = _TOKEN.match(seen, self._at).end()  # type: ignore[union-attr]  # it matches nothing, too
        if at > METHOD_BYTES:
            return False
        if at == len(seen):
            return None
        if at == 0 or seen[at] != 0x20:
            return False
        self._at = self._target_from = at + 1
        self._read = self._target
        return self._target(seen)

    def _target(self, seen: bytes | bytearray) -> bool | None:
        at = self._at = _TARGET.match(seen, self._at).end()  # type: ignore[union-attr]  # as above
        if at == len(seen):
            return None
        if at == self._target_from or seen[at] != 0x20:
            return False
        self._read = self._version
        return self._version(seen)

    def _version(self, seen: bytes | bytearray) -> bool | None:
        tail = bytes(seen[self._at : self._at + _LONGEST_VERSION])
        if tail.startswith(_VERSIONS):
            return True
        return None if any(version.startswith(tail) for version in _VERSIONS) else False
