"""Core. The messages of the SPIFFE Workload API (workload.proto), as far as X.509 identities need them.

Read by hand: two messages of bytes and strings, within bounds. Fields that are not known are passed over.
"""

from collections.abc import Iterator

import msgspec

MESSAGE_BYTES = 4 << 20
"""gRPC's own bound of a message. Longer: WireError."""
SVIDS_BOUND = 1024
SVID_PATH = "/SpiffeWorkloadAPI/FetchX509SVID"
CODES = {
    1: "CANCELLED",
    2: "UNKNOWN",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    16: "UNAUTHENTICATED",
}


class WireError(Exception):
    """These bytes are no message of the Workload API."""


class Svid(msgspec.Struct, frozen=True):
    """X509SVID. Holds a private key: never logged."""

    spiffe_id: str = ""
    chain: bytes = b""
    """DER certificates, one behind the other, the leaf first."""
    key: bytes = b""
    """PKCS #8, DER."""
    bundle: bytes = b""
    """The roots of its trust domain, DER, one behind the other."""

    def __repr__(self) -> str:
        return f"Svid({self.spiffe_id!r})"


class Response(msgspec.Struct, frozen=True):
    """X509SVIDResponse."""

    svids: tuple[Svid, ...]
    federated: dict[str, bytes]
    """Roots of other trust domains, by their ids."""


def frame(message: bytes) -> bytes:
    """Put a message into a gRPC frame."""
    return bytes(1) + len(message).to_bytes(4, "big") + message


class Frames:
    """Takes bytes as they come, and gives whole messages."""

    def __init__(self) -> None:
        """Begin at a frame."""
        self._left = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Give the messages that are whole by now. WireError if one cannot be had."""
        self._left += data
        found = []
        while len(self._left) >= 5:
            size = int.from_bytes(self._left[1:5], "big")
            if self._left[0]:
                raise WireError("a compressed message, which nobody asked for")
            if size > MESSAGE_BYTES:
                raise WireError(f"a message of {size} bytes, want {MESSAGE_BYTES} at most")
            if len(self._left) < 5 + size:
                break
            found.append(bytes(self._left[5 : 5 + size]))
            del self._left[: 5 + size]
        return found


def read_response(message: bytes) -> Response:
    """Read an X509SVIDResponse. WireError."""
    svids: list[Svid] = []
    federated: dict[str, bytes] = {}
    for number, value in _fields(message):
        if number == 1:
            svids.append(_svid(value))
            if len(svids) > SVIDS_BOUND:
                raise WireError(f"more than {SVIDS_BOUND} identities")
        elif number == 3:
            entry = dict(_fields(value))
            federated[_text(entry.get(1, b""))] = entry.get(2, b"")
    return Response(tuple(svids), federated)


def certificates(der: bytes) -> tuple[bytes, ...]:
    """Cut certificates that stand one behind the other. WireError if they are none."""
    found, at = [], 0
    while at < len(der):
        head = der[at : at + 6]
        if len(head) < 2 or head[0] != 0x30:
            raise WireError("what should be certificates is not DER")
        length, size = head[1], 2
        if length & 0x80:
            size = 2 + (length & 0x7F)
            if not 2 < size <= 6:
                raise WireError("what should be certificates is not DER")
            length = int.from_bytes(head[2:size], "big")
        end = at + size + length
        if end > len(der):
            raise WireError("a certificate is cut off")
        found.append(der[at:end])
        at = end
    return tuple(found)


def _svid(message: bytes) -> Svid:
    fields = dict(_fields(message))
    return Svid(_text(fields.get(1, b"")), *(fields.get(number, b"") for number in (2, 3, 4)))


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise WireError("a text is not UTF-8") from None


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk over the fields that have a length; pass over the others."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(message, at)
        elif kind == 2:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise WireError("cut off")
            yield tag >> 3, message[at : at + length]
            at += length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise WireError(f"wire type {kind}")
    if at > len(message):
        raise WireError("cut off")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise WireError("cut off")
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
    raise WireError("a number of more than ten bytes")
