"""Shell. What does a caller speak, whom nobody has answered yet? Consumes nothing."""

import socket

from meshtrio.detect.detected import Detected, Protocol
from meshtrio.detect.detector import Detector
from meshtrio.forward.peek import glance, peek
from meshtrio.route.modes import ALPN


def words_there(sock: socket.socket) -> Detected | None:
    """Say what the first bytes begin, if they have come already and are enough for that."""
    return glance(sock, Detector())


async def first_words(sock: socket.socket, patience_s: float) -> Detected | None:
    """Say what the first bytes begin, as soon as that is certain. None: there are none for `patience_s`.

    See `peek` for what becomes of callers that end or pause.
    """
    return await peek(sock, Detector(), patience_s)


def is_mesh(detected: Detected) -> bool:
    """Say whether this begins a connection of a mesh: TLS that offers our protocol."""
    return detected.protocol is Protocol.TLS and ALPN in detected.alpn
