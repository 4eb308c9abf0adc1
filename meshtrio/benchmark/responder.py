"""Shell. The server that is called: one process, one thread, all connections by epoll. Knows no mesh.

Run as a file by `python -I -S`, so it imports nothing of ours. The first byte of a connection says what is
wanted: `c` one byte back, `e` everything back, `s` everything taken and counted until the end of the
stream, then the count as eight bytes, `d` bytes without end. Prints its port when it listens.
"""

import gc
import select
import socket
import sys

CHUNK_BYTES = 1 << 18
BACKLOG = 4096
_ENDLESS = bytes(CHUNK_BYTES)
_GONE = (ConnectionError, TimeoutError)


class Talk:
    """One connection. It is not read while something is still to be sent, so `unsent` is a chunk at most."""

    __slots__ = ("count", "kind", "line", "unsent")

    def __init__(self, line: socket.socket) -> None:
        """Begin, not knowing yet what is wanted."""
        self.line = line
        self.kind = b""
        self.count = 0
        self.unsent = b""


class Responder:
    """All connections of one listener."""

    def __init__(self, listener: socket.socket) -> None:
        """Take the listener over."""
        self._listener = listener
        self._poll = select.epoll()
        self._talks: dict[int, Talk] = {}
        self._room = memoryview(bytearray(CHUNK_BYTES))
        self._poll.register(listener.fileno(), select.EPOLLIN)

    def serve(self) -> None:
        """Answer until the process ends."""
        while True:
            for number, _ in self._poll.poll():
                if number == self._listener.fileno():
                    self._accept()
                    continue
                talk = self._talks[number]
                try:
                    goes_on = self._go_on(talk)
                except BlockingIOError:
                    goes_on = True
                except _GONE:
                    goes_on = False
                if not goes_on:
                    del self._talks[number]
                    talk.line.close()

    def _accept(self) -> None:
        try:
            line, _ = self._listener.accept()
        except (BlockingIOError, *_GONE):
            return
        line.setblocking(False)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._talks[line.fileno()] = Talk(line)
        self._poll.register(line.fileno(), select.EPOLLIN)

    def _go_on(self, talk: Talk) -> bool:
        """Do what can be done at once; False when the connection is over."""
        if talk.unsent:
            return self._send(talk, talk.unsent)
        if talk.kind == b"d":
            return self._send(talk, _ENDLESS)
        if not talk.kind:
            talk.kind = talk.line.recv(1)
            if talk.kind == b"c":
                return self._send(talk, b"c")
            if talk.kind == b"d":
                self._poll.modify(talk.line.fileno(), select.EPOLLOUT)
            return bool(talk.kind)
        got = talk.line.recv_into(self._room)
        talk.count += got
        if talk.kind == b"s":
            return bool(got) or self._send(talk, talk.count.to_bytes(8, "big"))
        return bool(got) and self._send(talk, bytes(self._room[:got]))

    def _send(self, talk: Talk, said: bytes) -> bool:
        """Send it, or as much as fits and the rest when there is room."""
        if talk.kind == b"s":
            talk.line.sendall(said)
            return False
        try:
            sent = talk.line.send(said)
        except BlockingIOError:
            sent = 0
        if talk.kind == b"d":
            return True
        was_unsent, talk.unsent = bool(talk.unsent), said[sent:]
        if was_unsent != bool(talk.unsent):
            wanted = select.EPOLLOUT if talk.unsent else select.EPOLLIN
            self._poll.modify(talk.line.fileno(), wanted)
        return True


def main() -> None:
    """Listen at the address and port that are given, and answer until the process is ended."""
    host, port = sys.argv[1], int(sys.argv[2])
    gc.disable()  # nothing here makes cycles, and a collection would be somebody's latency
    with socket.create_server((host, port), backlog=BACKLOG) as listener:
        listener.setblocking(False)
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        Responder(listener).serve()


if __name__ == "__main__":
    main()
