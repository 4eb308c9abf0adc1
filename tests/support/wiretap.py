"""Shell. What travels on a wire between two namespaces, byte by byte, as somebody who taps it sees it."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from tests.support.namespace import Namespace

_ALL = 3  # ETH_P_ALL, linux/if_ether.h
KEPT_BYTES = 64 << 20
"""More than that is not kept, and `seen` says so."""


class Tap:
    """All frames of one device, since it was opened."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._kept = bytearray()
        self._full = False

    def listen(self) -> None:
        """Keep what passes until the line is shut."""
        while True:
            try:
                frame = self._line.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                return
            if not frame:
                return
            if len(self._kept) + len(frame) > KEPT_BYTES:
                self._full = True
                return
            self._kept += frame

    @property
    def seen(self) -> bytes:
        """All bytes so far. AssertionError if there were too many to keep."""
        assert not self._full, "the tap is full"
        return bytes(self._kept)


@contextlib.contextmanager
def tapped(space: Namespace, device: str = "wire") -> Iterator[Tap]:
    """Tap a device of this namespace for as long as the block."""
    line = space.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL)))
    line.bind((device, _ALL))
    line.settimeout(0.05)
    tap = Tap(line)
    listener = threading.Thread(target=tap.listen, daemon=True)
    listener.start()
    try:
        yield tap
    finally:
        line.close()
        listener.join(2)
