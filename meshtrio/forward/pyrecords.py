"""Shell. One end of a TLS connection that stands: bytes out of the records of a socket, and into them.

Knows one socket and one TLS session; does not know handshakes, identities, lanes, trio. records.c is the
same in C, and is used where it was built. This is a `ssl.SSLObject` over two MemoryBIOs and no
`ssl.SSLSocket`, for that ends both directions at once, reads one record with two system calls, and cannot
say what the kernel has not taken.

Each read takes ciphertext from the kernel once and decrypts all of it before it returns, so that the incoming
BIO never has a whole record in it. More than speed hangs on this: `unwrap`, which writes our close_notify,
calls SSL_shutdown twice, and the second call reads. A whole record that it found there would be an error
("application data after close notify"), and lost; what is left of a record that is not whole does not matter.
"""

import contextlib
import mmap
import os
import socket
import ssl
from collections.abc import Callable

RECORD_BYTES = 17 * 1024
"""More than any record has (RFC 8446, 5.2: 2^14 + 256, and its head)."""
PIECE_BYTES = 2 * 16_384
"""How much goes through a BIO at once, for a BIO never gives memory back."""
CIPHER_BYTES = 524_288
OWED_BYTES = 1 << 20
"""Full: the other side makes us answer (KeyUpdate) and reads no answer. That ends the connection."""

_cipher = memoryview(mmap.mmap(-1, CIPHER_BYTES))
"""Of the one thread that moves bytes; empty between calls. Takes no memory until it is used."""


class Owing(Exception):
    """All was taken and encrypted, but not all ciphertext has gone. `send(b"")` when the kernel has room."""


class Records:
    """What goes through one socket as TLS records. The socket does not block, and is somebody else's."""

    __slots__ = (
        "_end", "_incoming", "_inner", "_learn", "_outgoing", "_reading", "_ready", "_send", "_writing",
        "more", "owed", "took",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        session: ssl.SSLObject,
        bios: tuple[ssl.MemoryBIO, ssl.MemoryBIO],
        learn: Callable[[], None] | None,
    ) -> None:
        """Take over after the handshake; `bios` are its incoming and outgoing ones, with what is in them.

        `learn` is called once, after the first read, when a server's tickets have come.
        """
        self._learn = learn
        self._incoming, self._outgoing = bios
        self._inner = inner = session._sslobj  # type: ignore[attr-defined]  # to pass on costs 2 * 0.2 us
        # In one piece each: every chunk needs all three, and one look-up costs what the unpacking does.
        self._reading = sock.recv_into, self._incoming.write, inner.read
        self._writing = inner.write, self._outgoing.read, sock.send
        self._send = sock.sendmsg
        self.owed = b""
        """Ciphertext that the kernel did not take."""
        self.took = 0
        """How many plain bytes the last `carry_in` or `carry_out` read."""
        self._ready = bytearray()
        """Decrypted, and not read. One record, after a handshake what came with it."""
        self._end: str | None = None
        """Why nothing more will be read: empty after close_notify."""
        if self._incoming.pending:
            self._decrypt(memoryview(b""), 0)
        if self._outgoing.pending:
            self._answer()
        self.more = self._end is not None or len(self._ready) > 0
        """Something can be read of which the kernel will not speak, or has spoken already."""

    def recv_into(self, buffer: memoryview, nbytes: int) -> int:
        """Read once from the kernel, `nbytes` (up to CIPHER_BYTES) of ciphertext; give what all of it means.

        That may be more than `nbytes`, and is never more than the buffer holds. 0 is the other side's end of
        the stream. Whether there is more to read says `more`. Raises as a socket does.
        """
        if self.more and (self._ready or self._end is not None):
            return self._serve(buffer)
        receive, take, read = self._reading
        while True:
            got = receive(_cipher, nbytes)
            if not got:
                self._end = "FIN without close_notify"
                raise ConnectionResetError(self._end)
            self.more, filled = got == nbytes, 0
            if got <= PIECE_BYTES <= len(buffer):
                take(_cipher[:got])
                try:  # as `_decrypt`, without the call: nearly always there is one record, and nothing else
                    filled = read(RECORD_BYTES, buffer)
                    if not filled or self._incoming.pending:
                        filled = self._decrypt(buffer, filled)
                except ssl.SSLError as why:
                    self._cannot_read(why)
            else:
                for at in range(0, got, PIECE_BYTES):
                    take(_cipher[at : min(at + PIECE_BYTES, got)])
                    filled = self._decrypt(buffer, filled)
            if self._outgoing.pending:
                self._answer()
            if self._learn is not None:
                learn, self._learn = self._learn, None
                learn()
            if filled:
                return filled
            if self._ready or self._end is not None:
                return self._serve(buffer)
            if got < nbytes:
                raise BlockingIOError

    def send(self, chunk: bytes | memoryview, flags: int = 0) -> int:
        """Encrypt all of the chunk, and send. BlockingIOError: nothing was taken. Owing: see there."""
        if self.owed and not self.flush():
            raise BlockingIOError if chunk else Owing
        size, (write, give, send) = len(chunk), self._writing
        if not size:
            return 0
        try:
            if size > PIECE_BYTES:
                return self._send_pieces(memoryview(chunk))
            write(chunk)
        except ssl.SSLError as wrong:
            raise ConnectionResetError(str(wrong)) from wrong
        ciphertext = give()
        try:
            gone = send(ciphertext)
        except BlockingIOError:
            gone = 0
        if gone != len(ciphertext):
            self.owed = ciphertext[gone:]
            raise Owing
        return size

    def carry_in(self, buffer: memoryview, nbytes: int, source: int) -> int:
        """Read from a plain descriptor, and `send` that; 0 is the end.

        What was read, `took` bytes, stands in the buffer. If this raises and `took` is 0, reading did.
        """
        self.took = 0
        self.took = os.readv(source, [buffer[:nbytes]])
        return self.send(buffer[: self.took]) if self.took else 0

    def carry_out(self, buffer: memoryview, nbytes: int, sink: int) -> int:
        """`recv_into`, and give that to a plain descriptor; say how much went. Else as `carry_in`."""
        self.took = 0
        self.took = self.recv_into(buffer, nbytes)
        try:
            return os.write(sink, buffer[: self.took]) if self.took else 0
        except BlockingIOError:
            return 0

    def flush(self) -> bool:
        """Send ciphertext that is owed. True: all of it has gone."""
        if self.owed:
            with contextlib.suppress(BlockingIOError):
                self.owed = self.owed[self._writing[2](self.owed) :]
        return not self.owed

    def say_goodbye(self) -> None:
        """Owe our close_notify: the end of what we send, and only of that."""
        try:
            self._inner.shutdown()
        except ssl.SSLWantReadError:
            pass  # the second SSL_shutdown, see above: the other direction is still open
        except ssl.SSLError as wrong:
            raise ConnectionResetError(str(wrong)) from wrong
        self.owed += self._outgoing.read()

    def let_go(self) -> None:
        """Know the socket no more, for it is about to be closed: its number may be another's at once.

        From then on what would read or write raises OSError; here the socket itself says that.
        """

    def _decrypt(self, buffer: memoryview, filled: int) -> int:
        """Decrypt what is in the BIO, into the buffer, and into `_ready` what the buffer has no room for."""
        read = self._reading[2]
        try:
            while self._end is None:
                if filled <= len(buffer) - RECORD_BYTES:
                    got = read(RECORD_BYTES, buffer[filled:] if filled else buffer)
                    filled += got
                else:
                    spare = memoryview(bytearray(RECORD_BYTES))
                    got = read(RECORD_BYTES, spare)
                    self._ready += spare[:got]
                    self.more = True
                if not got:
                    self._end, self.more = "", True
                elif not self._incoming.pending:
                    break
        except ssl.SSLError as why:
            self._cannot_read(why)
        return filled

    def _cannot_read(self, why: ssl.SSLError) -> None:
        # WantRead: the rest is no whole record, and OpenSSL has taken it.
        if not isinstance(why, ssl.SSLWantReadError):
            # ZeroReturn: so it says close_notify once ours has gone.
            self._end, self.more = "" if isinstance(why, ssl.SSLZeroReturnError) else str(why), True

    def _serve(self, buffer: memoryview) -> int:
        if self._end and not self._ready:
            raise ConnectionResetError(self._end)
        got = min(len(buffer), len(self._ready))
        buffer[:got] = self._ready[:got]
        del self._ready[:got]
        self.more = True
        return got

    def _answer(self) -> None:
        """Send what reading made TLS say: KeyUpdate, an alert, a server's tickets."""
        self.owed += self._outgoing.read()
        # A dead socket shows at the next call: what was read with this came before that.
        with contextlib.suppress(OSError):
            self.flush()
        if len(self.owed) > OWED_BYTES and self._end is None:
            self._end, self.more = "the other side reads no answers", True

    def _send_pieces(self, chunk: memoryview) -> int:
        parts, (write, give, _) = [], self._writing
        for at in range(0, len(chunk), PIECE_BYTES):
            write(chunk[at : at + PIECE_BYTES])
            parts.append(give())
        try:
            gone = self._send(parts)
        except BlockingIOError:
            gone = 0
        if gone != sum(map(len, parts)):
            self.owed = b"".join(parts)[gone:]
            raise Owing
        return len(chunk)
