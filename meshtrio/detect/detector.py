"""Core. Which protocol do these first bytes begin? Does not know about time, sockets, or who speaks first.

A Detector is a function of the bytes and not of their cuts: an answer given after some bytes stays right
after more, so it is given as soon as it is certain, and never before. Bytes are looked at, never changed or
kept back: whoever feeds them also forwards them.
"""

from meshtrio.detect.clienthello import ClientHello, Names
from meshtrio.detect.detected import Detected, Protocol
from meshtrio.detect.requestline import RequestLine

DETECT_BYTES = 4096
"""The most that is ever looked at. A request line or ClientHello that is longer is not waited for."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""How every HTTP/2 client with prior knowledge begins (RFC 9113, section 3.4)."""

_TCP = Detected(Protocol.TCP)
_HTTP1 = Detected(Protocol.HTTP1)
_HTTP2 = Detected(Protocol.HTTP2)


class Detector:
    """Takes the client's first bytes in any pieces, and says once what they begin.

    Holds DETECT_BYTES at most; what comes beyond is not looked at. Never raises, takes linear time.
    """

    __slots__ = ("_answer", "_hello", "_line", "_seen")

    def __init__(self) -> None:
        self._seen = bytearray()
        self._line = RequestLine()
        self._hello = ClientHello()
        self._answer: Detected | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> Detected | None:
        """Look at the next bytes; give the answer if it is certain now, None while it is not.

        An answer is final: every later call gives the same one. None never lasts beyond DETECT_BYTES.
        """
        if self._answer is None:
            self._seen += data[: DETECT_BYTES - len(self._seen)]
            self._conclude(self._judged())
            if len(self._seen) == DETECT_BYTES:
                return self.eof()
        return self._answer

    def eof(self) -> Detected:
        """Answer now, for the client has ended, or nobody wants to wait longer. Nothing at all is TCP."""
        if self._answer is None:
            names = self._hello.settle()
            self._conclude(_TCP if names is None else _tls(names))
        return self._answer or _TCP

    def _conclude(self, answer: Detected | None) -> None:
        if answer is not None:
            self._answer = answer
            self._seen = bytearray()

    def _judged(self) -> Detected | None:
        seen = self._seen
        if not seen:
            return None
        names = self._hello.read(seen)
        if isinstance(names, Names):
            return _tls(names)
        if names is None:
            return None
        line = self._line.read(seen)
        if line:
            return _HTTP1
        if PREFACE.startswith(seen[: len(PREFACE)]):
            return _HTTP2 if len(seen) >= len(PREFACE) else None
        return _TCP if line is False else None


def detect_whole(data: bytes) -> Detected:
    """Say what these bytes begin, if no more follow."""
    detector = Detector()
    return detector.feed(data) or detector.eof()


def _tls(names: Names) -> Detected:
    return Detected(Protocol.TLS, names.sni, names.alpn, names.ticket_bytes)
