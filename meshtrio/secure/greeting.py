"""Shell. A caller's first words, looked at before it is known who shall read them. Consumes nothing."""

import socket

import trio

from meshtrio.detect.detected import Detected, Protocol
from meshtrio.detect.detector import DETECT_BYTES, Detector
from meshtrio.route.modes import ALPN


async def first_words(sock: socket.socket, patience_s: float) -> Detected | None:
    """Say what the first bytes begin, as soon as that is certain. None: there are none for `patience_s`.

    A caller that ends, or begins and then is silent for `patience_s`, gets the answer that its bytes allow.
    Every byte is still there to be read, also when this is cancelled.
    """
    detector, seen = Detector(), 0
    try:
        while True:
            with trio.move_on_after(patience_s) as silence:
                await trio.lowlevel.wait_readable(sock)
            if silence.cancelled_caught:
                return detector.eof() if seen else None
            try:
                words = sock.recv(DETECT_BYTES, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            except OSError:
                return detector.eof()  # whoever reads next hears of it
            if len(words) == seen:
                return detector.eof()
            answer = detector.feed(words[seen:])
            if answer is not None:
                return answer
            seen = len(words)
            # Without this the bytes that are there already would wake us again and again.
            _wake_at(sock, seen + 1)
    finally:
        if seen:
            _wake_at(sock, 1)


def is_mesh(detected: Detected) -> bool:
    """Say whether this begins a connection of a mesh: TLS that offers our protocol."""
    return detected.protocol is Protocol.TLS and ALPN in detected.alpn


def _wake_at(sock: socket.socket, count: int) -> None:
    if sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
