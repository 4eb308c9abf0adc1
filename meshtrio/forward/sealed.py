"""Shell. A TCP socket whose bytes are TLS records, used as a lane uses a plain socket.

Two classes, which differ in who reads and writes the records: pyrecords.py, or the same in C, records.c.
`seal` is the one to make: that in C where it was built.

Urgent data cannot pass TLS. What is to be sent as urgent goes inline, at its place; an urgent byte among the
ciphertext that we receive is missing from its record, which then is broken.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from meshtrio.forward import pyrecords
from meshtrio.forward.pyrecords import CIPHER_BYTES as CIPHER_BYTES
from meshtrio.forward.pyrecords import RECORD_BYTES as RECORD_BYTES
from meshtrio.forward.pyrecords import Owing as Owing

try:
    import meshtrio.forward.records as records
except ModuleNotFoundError:
    NOT_IN_C = "the part in C was not built"
    """Why there is only Python; empty if there is C."""
except ImportError as why:
    NOT_IN_C = str(why)
else:
    NOT_IN_C = ""

if TYPE_CHECKING:
    _Base = pyrecords.Records
else:
    _Base = object


class Sealed(_Base):
    """One end of a TLS connection. Owns the socket, which does not block.

    What the other side's end means: close_notify is the end of the stream, as FIN is on a plain socket. FIN
    without it is ConnectionResetError, for anyone on the way could have cut the stream. So is TLS that fails.
    """

    if TYPE_CHECKING:
        __slots__ = ("_said_goodbye", "_session", "_sock")
    else:
        __slots__ = ()  # a layout of its own would not go with that of a class in C

    def __init__(
        self,
        sock: socket.socket,
        session: ssl.SSLObject,
        bios: tuple[ssl.MemoryBIO, ssl.MemoryBIO],
        learn: Callable[[], None] | None = None,
    ) -> None:
        """See `pyrecords.Records`."""
        super().__init__(sock, session, bios, learn)
        self._sock, self._session = sock, session
        self._said_goodbye = False

    def shutdown(self, how: int) -> None:
        """End our direction: close_notify, and FIN when all ciphertext has gone. Owing: call again then."""
        if how != socket.SHUT_WR:
            raise ValueError("TLS ends one direction: ours")
        if not self._said_goodbye:
            self._said_goodbye = True
            self.say_goodbye()
        if not self.flush():
            raise Owing
        self._sock.shutdown(socket.SHUT_WR)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Refuse: what this is for, urgent bytes, does not pass TLS."""
        raise OSError("no urgent data through TLS")

    def close(self) -> None:
        """Close the socket. What is owed is lost, but not the session: it can be resumed."""
        if self._session.server_side and not self._said_goodbye:
            # Goes nowhere: OpenSSL forgets a session that it keeps if the connection ends without.
            with contextlib.suppress(ConnectionResetError):
                self.say_goodbye()
        self.let_go()
        self._sock.close()

    def fileno(self) -> int:
        """Give the socket's descriptor."""
        return self._sock.fileno()

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Set an option of the socket."""
        self._sock.setsockopt(level, option, value)

    def setblocking(self, flag: bool) -> None:
        """Refuse to block."""
        if flag:
            raise ValueError("a lane must not block")
        self._sock.setblocking(flag)


class SealedInPython(Sealed, pyrecords.Records):
    """Where C was not built, or does not know the Python that runs."""

    __slots__ = ("_said_goodbye", "_session", "_sock")


seal: type[Sealed] = SealedInPython
if not NOT_IN_C:

    class SealedInC(Sealed, records.Records):
        """The usual one."""

        __slots__ = ("_said_goodbye", "_session", "_sock")

    seal = SealedInC
