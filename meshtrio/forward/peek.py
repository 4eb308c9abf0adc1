"""Shell. A client's first bytes, looked at before it is known who shall read them. Consumes nothing."""

import select
import socket
from typing import Protocol, TypeVar

import trio

from meshtrio.detect.detector import DETECT_BYTES
from meshtrio.forward.tcp import TcpEnd

Answer_co = TypeVar("Answer_co", covariant=True)
Answer = TypeVar("Answer")


class Reader(Protocol[Answer_co]):
    """What is asked about the bytes: any class of detect."""

    def feed(self, data: bytes) -> Answer_co | None:
        """Look at the next bytes; None: more are needed."""

    def eof(self) -> Answer_co:
        """Answer by what there was."""


def glance(sock: socket.socket, reader: Reader[Answer]) -> Answer | None:
    """Say what `reader` finds in the bytes that are there now; None: not enough of them for an answer.

    Most clients have spoken before anyone looks, and then there is nothing to wait for.
    """
    try:
        words = sock.recv(DETECT_BYTES, socket.MSG_PEEK)
    except OSError:
        return None
    return reader.feed(words) if words else None


async def peek(sock: socket.socket, reader: Reader[Answer], patience_s: float) -> Answer | None:
    """Say what `reader` finds in the first bytes, as soon as that is certain; None if there are none in time.

    A client that ends, or begins and then is silent for `patience_s`, gets the answer that its bytes allow.
    Every byte is still there to be read, also when this is cancelled. The reader sees DETECT_BYTES at most.
    """
    seen = 0
    try:
        while True:
            try:
                words = sock.recv(DETECT_BYTES, socket.MSG_PEEK)
            except BlockingIOError:
                pass
            except OSError:
                return reader.eof()  # whoever reads next hears of it
            else:
                if len(words) == seen:
                    return reader.eof()
                answer = reader.feed(words[seen:])
                if answer is not None:
                    return answer
                seen = len(words)
                # Without this the bytes that are there already would wake us again and again.
                _wake_at(sock, seen + 1)
            with trio.move_on_after(patience_s) as silence:
                await trio.lowlevel.wait_readable(sock)
            if silence.cancelled_caught:
                return reader.eof() if seen else None
    finally:
        if seen:
            _wake_at(sock, 1)


async def speaks(caller: socket.socket, other: TcpEnd, patience_s: float) -> bool:
    """Wait until one of the two has something to be read, be it its end. True: it is, or also, `caller`."""

    with select.epoll() as either:
        for sock in (caller, other):
            either.register(sock.fileno(), select.EPOLLIN)
        with trio.move_on_after(patience_s):
            await trio.lowlevel.wait_readable(either.fileno())
    poll = select.poll()
    poll.register(caller, select.POLLIN)
    return bool(poll.poll(0))


def _wake_at(sock: socket.socket, count: int) -> None:
    if sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
