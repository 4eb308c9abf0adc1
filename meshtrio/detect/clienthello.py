"""Core. The ClientHello of TLS: is it one, and which names does it hold? Does not know keys or ciphers.

RFC 8446: a record is type, version, length, fragment (section 5.1); the ClientHello may be spread over
several records (section 5.1) and holds extensions (section 4.2), of which three are read: server_name (RFC
6066, section 3), application_layer_protocol_negotiation (RFC 7301, section 3.1), pre_shared_key (4.2.11).

What malformed bytes lead to: until six bytes look like a handshake record whose message is a ClientHello,
anything wrong means "not TLS". From there on it is TLS whatever follows, and anything wrong means TLS without
names. A ClientHello that is cut off (by the bound or by the end) gives the names that were whole by then.
"""

import re
import struct

import msgspec

RECORD_BYTES = 1 << 14
"""The longest plaintext record (RFC 8446, section 5.1)."""

_HANDSHAKE = 0x16
_CLIENT_HELLO = 0x01
_HEAD = ((0x16, 0x16), (3, 3), (0, 4), (0, RECORD_BYTES >> 8), (0, 255), (_CLIENT_HELLO, _CLIENT_HELLO))
"""Bounds of the first six bytes: type, version, length of the record; type of the message."""

_EXTENSION = struct.Struct("!HH")
"""Its kind, and how long its body is."""
_SERVER_NAME = 0
_ALPN = 16
_PRE_SHARED_KEY = 41
_HOST_NAME = re.compile(rb"[A-Za-z0-9_.\-]{1,255}")


class Names(msgspec.Struct, frozen=True, gc=False):
    """What a ClientHello says about whom it wants and what it will speak."""

    sni: str | None = None
    alpn: tuple[str, ...] = ()
    ticket_bytes: int = 0
    """How long the ticket is with which it would resume a session of TLS 1.3; 0: it would not."""


class _Short(Exception):
    """More bytes are wanted than there are."""


class _Wrong(Exception):
    """The bytes contradict the grammar."""


def _end(of: bytes, at: int, length_bytes: int) -> int:
    """Say where the vector ends that begins at `at` with its length. _Short if that is beyond the bytes."""
    begin = at + length_bytes
    end = begin + int.from_bytes(of[at:begin], "big")
    if end > len(of) or begin > len(of):
        raise _Short
    return end


def _vector(of: bytes, at: int, length_bytes: int) -> bytes:
    return of[at + length_bytes : _end(of, at, length_bytes)]


class ClientHello:
    """Reads a ClientHello as it grows. Looks at each byte once, however the bytes are cut."""

    __slots__ = ("_begun", "_left", "_message", "_next", "_wanted")

    def __init__(self) -> None:
        self._next = 0  # where the next record, or the rest of this one, begins
        self._left = 0  # bytes of this record that are not read yet
        self._wanted = 4  # bytes of the message, first of its header, then of all
        self._message = bytearray()
        self._begun = False

    def read(self, seen: bytes | bytearray) -> Names | bool | None:
        """Give the names, or False if this is not TLS; None while more bytes are wanted.

        `seen` is all bytes so far: each call gives the bytes of the call before, and maybe more.
        """
        if not self._begun:
            begins = _begins(seen)
            if not begins:
                return begins
            self._begun = True
        while len(self._message) < self._wanted:
            if self._left == 0:
                header = seen[self._next : self._next + 5]
                if len(header) < 5:
                    return None
                length = int.from_bytes(header[3:], "big")
                if header[0] != _HANDSHAKE or header[1] != 3 or not 0 < length <= RECORD_BYTES:
                    return Names()
                self._next, self._left = self._next + 5, length
            piece = seen[self._next : self._next + min(self._left, self._wanted - len(self._message))]
            if not piece:
                return None
            self._message += piece
            self._next, self._left = self._next + len(piece), self._left - len(piece)
            if len(self._message) == self._wanted == 4:
                self._wanted = 4 + int.from_bytes(self._message[1:4], "big")
        return _names(bytes(self._message[4:]), whole=True)

    def settle(self) -> Names | None:
        """Give the names in what was read, for no more will be; None if it is not known to be TLS."""
        return _names(bytes(self._message[4:]), whole=False) if self._begun else None


def _begins(seen: bytes | bytearray) -> bool | None:
    """Say whether these bytes begin a handshake record whose message is a ClientHello; None if too few."""
    head = seen[:6]
    # Each byte has its own least and most; only together do those of the length mean 1 to RECORD_BYTES.
    for byte, (low, high) in zip(head, _HEAD, strict=False):
        if not low <= byte <= high:
            return False
    if len(head) >= 5 and not 0 < int.from_bytes(head[3:5], "big") <= RECORD_BYTES:
        return False
    return True if len(head) == 6 else None


def _names(hello: bytes, *, whole: bool) -> Names:
    found: dict[int, str | tuple[str, ...] | int | None] = {}
    try:
        _collect(hello, found)
    except _Short:
        if whole:
            return Names()
    except _Wrong:
        return Names()
    sni, alpn, ticket = found.get(_SERVER_NAME), found.get(_ALPN, ()), found.get(_PRE_SHARED_KEY)
    return Names(
        sni if isinstance(sni, str) else None,
        alpn if isinstance(alpn, tuple) else (),
        ticket if isinstance(ticket, int) else 0,
    )


def _collect(hello: bytes, found: dict[int, str | tuple[str, ...] | int | None]) -> None:
    at = _end(hello, 2 + 32, 1)  # after legacy_version and random: legacy_session_id
    at = _end(hello, at, 2)  # cipher_suites
    at = _end(hello, at, 1)  # legacy_compression_methods
    if at == len(hello):
        return  # before TLS 1.2 there may be no extensions at all (RFC 5246, section 7.4.1.2)
    if at + 2 > len(hello):
        raise _Short
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 2
    while at < end:
        body = at + _EXTENSION.size
        if body > len(hello):
            raise _Short
        kind, length = _EXTENSION.unpack_from(hello, at)
        at = body + length
        if at > len(hello):
            raise _Short
        if kind in found:
            raise _Wrong  # RFC 8446, section 4.2: no extension comes twice
        if kind in _READERS:
            try:
                found[kind] = _READERS[kind](hello[body:at])
            except _Short:
                raise _Wrong from None  # the extension is all here, so what is short is a lie inside it
    if at != end or at < len(hello):
        raise _Wrong


def _server_name(body: bytes) -> str | None:
    entries, at, name = _vector(body, 0, 2), 0, None
    while at < len(entries):
        kind, raw = entries[at], _vector(entries, at + 1, 2)
        if kind == 0 and name is None and _HOST_NAME.fullmatch(raw):
            name = raw.decode("ascii").lower()
        at += 3 + len(raw)
    return name


def _protocols(body: bytes) -> tuple[str, ...]:
    entries, at = _vector(body, 0, 2), 0
    offered = []
    while at < len(entries):
        raw = _vector(entries, at, 1)
        offered.append(raw.decode("latin-1"))
        at += 1 + len(raw)
    return tuple(offered)


def _ticket_bytes(body: bytes) -> int:
    return len(_vector(_vector(body, 0, 2), 0, 2))  # RFC 8446, section 4.2.11: the first identity


_READERS = {_SERVER_NAME: _server_name, _ALPN: _protocols, _PRE_SHARED_KEY: _ticket_bytes}
