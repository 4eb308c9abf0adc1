"""Core. Which callers belong together? Finds the key of consistent hashing in a client's first bytes.

The key is what the first request on a connection says: its path, a header or a cookie (HTTP/1 as RFC 9112,
HTTP/2 as RFC 9113), or the name in a TLS ClientHello (RFC 8446, server_name). It is a hint for balancing, and
decides nothing else. Bytes are looked at, never changed or kept back. Does not know about time or sockets.
"""

from collections.abc import Iterator

import hpack
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import ContinuationFrame, Frame, HeadersFrame

from meshtrio.detect.detected import Protocol
from meshtrio.detect.detector import DETECT_BYTES, PREFACE, Detector

Field = tuple[bytes, bytes]

NO_KEY = b""
"""What is said of a client whose first bytes have no such key."""


class RequestKey:
    """Takes the client's first bytes in any pieces, and says once what the key is; NO_KEY if there is none.

    `wanted` is "sni", "path", "header:NAME" or "cookie:NAME". Holds and looks at DETECT_BYTES at most, never
    raises. A head that is longer is read as far as it goes.
    """

    __slots__ = ("_answer", "_detector", "_kind", "_name", "_seen")

    def __init__(self, wanted: str) -> None:
        self._kind, _, name = wanted.partition(":")
        # Names of headers have no case (RFC 9110, section 5.1), names of cookies do (RFC 6265).
        self._name = name.lower().encode() if self._kind == "header" else name.encode()
        self._detector = Detector()
        self._seen = bytearray()
        self._answer: bytes | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> bytes | None:
        """Look at the next bytes; give the answer if it is certain now, None while it is not."""
        if self._answer is None:
            self._seen += data[: DETECT_BYTES - len(self._seen)]
            self._detector.feed(data)
            self._answer = self._read(last=len(self._seen) == DETECT_BYTES)
        return self._answer

    def eof(self) -> bytes:
        """Answer now, for no more bytes will come, or nobody wants to wait longer."""
        if self._answer is None:
            self._answer = self._read(last=True)
        return NO_KEY if self._answer is None else self._answer

    def _read(self, *, last: bool) -> bytes | None:
        detected = self._detector.eof() if last else self._detector.feed(b"")
        if detected is None:
            return None
        if self._kind == "sni" or detected.protocol is Protocol.TLS:
            return (detected.sni or "").encode() if self._kind == "sni" else NO_KEY
        if detected.protocol is Protocol.HTTP1:
            return self._http1(last=last)
        if detected.protocol is Protocol.HTTP2:
            return self._http2(last=last)
        return NO_KEY

    def _http1(self, *, last: bool) -> bytes | None:
        *lines, _unfinished = bytes(self._seen).replace(b"\r\n", b"\n").split(b"\n")
        if self._kind == "path":
            return _path(lines[0].split(b" ")[1])
        headers: list[Field] = []
        for line in lines[1:]:
            if not line:
                return self._among(headers)
            name, _, value = line.partition(b":")
            headers.append((name.lower(), value.strip(b" \t")))
        return self._among(headers) if last else None

    def _http2(self, *, last: bool) -> bytes | None:
        nothing_yet = NO_KEY if last else None
        block = b""
        try:
            for frame in _frames(bytes(self._seen[len(PREFACE) :])):
                if isinstance(frame, HeadersFrame | ContinuationFrame):
                    block += frame.data
                    if "END_HEADERS" in frame.flags:
                        return self._among(_decoded(block))
        except (HyperframeError, hpack.HPACKError):
            return NO_KEY
        return nothing_yet

    def _among(self, fields: list[Field]) -> bytes:
        if self._kind == "path":
            return next((_path(value) for name, value in fields if name == b":path"), NO_KEY)
        if self._kind == "header":
            # HTTP/2 has the host's name in a field of its own.
            names = (self._name, b":authority") if self._name == b"host" else (self._name,)
            return next((value for name, value in fields if name in names), NO_KEY)
        for name, value in fields:
            if name == b"cookie":
                for pair in value.split(b";"):
                    cookie, _, said = pair.strip().partition(b"=")
                    if cookie == self._name:
                        return said.strip(b'"')
        return NO_KEY


def _path(target: bytes) -> bytes:
    """Leave the query out: it says what is asked of a resource, not which one it is."""
    return target.partition(b"?")[0]


def _frames(data: bytes) -> Iterator[Frame]:
    """Give the frames that are there whole."""
    while len(data) >= 9:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        if len(data) < 9 + length:
            return
        frame.parse_body(memoryview(data[9 : 9 + length]))
        yield frame
        data = data[9 + length :]


def _decoded(block: bytes) -> list[Field]:
    # The list is not larger than the block by more than what the static table holds: no entry was added yet
    # that could be repeated, beyond those of this block, which is DETECT_BYTES long at most.
    decoder = hpack.Decoder(max_header_list_size=16 * DETECT_BYTES)
    return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
