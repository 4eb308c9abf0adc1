"""Shell. The connection of a probe: made, asked nothing, and ended politely. Does not know who is probed.

A probe is dialled from the agent's own namespace, with a mark that no hook of ours catches on the way.
"""

import contextlib
import errno
import socket

import trio

from meshtrio.address import Address
from meshtrio.catalog.probing import Answer, Finding, Target
from meshtrio.forward.dial import DialError, dial
from meshtrio.intercept import marks

LEAVE_S = 0.2
"""How long the other side may take to close after we have."""
LEAVE_BYTES = 65_536
"""How much of what nobody reads is taken in, so that our close is no RST. More: it is one."""

_OUR_OWN = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))
"""No descriptors, no memory, no source ports: what the endpoint cannot be blamed for."""


class Unanswered(Exception):
    """The probe ends here; `answer` says how."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.text)
        self.answer = answer


async def connected(address: Address) -> trio.socket.SocketType:
    """Connect to an address. Unanswered if that fails; then, and when cancelled, nothing is left open."""
    try:
        sock = socket.socket(socket.AF_INET if address.is_v4 else socket.AF_INET6, socket.SOCK_STREAM)
    except OSError as cause:
        raise Unanswered(_blamed(cause.errno, str(cause.strerror))) from cause
    try:
        sock.setblocking(False)
        # Not permitted without CAP_NET_ADMIN; but then there are no hooks of ours either.
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, marks.marked(marks.APP_DIAL))
        await dial(sock, address)
    except DialError as cause:
        raise Unanswered(_blamed(cause.code, str(cause))) from cause
    except BaseException:
        sock.close()
        raise
    return trio.socket.from_stdlib_socket(sock)


def _blamed(code: int | None, text: str) -> Answer:
    if code in _OUR_OWN:
        return Answer(Finding.VOID, text)
    return Answer(Finding.SILENT if code == errno.ETIMEDOUT else Finding.FAILED, text)


async def ask_nothing(sock: trio.socket.SocketType, target: Target) -> Answer:
    """Be content with the connection."""
    await trio.lowlevel.checkpoint()
    return Answer(Finding.PASSED, "connected")


async def send_all(sock: trio.socket.SocketType, request: bytes) -> None:
    """Send all of it. Unanswered if the connection is cut."""
    left = memoryview(request)
    try:
        while left:
            left = left[await sock.send(left) :]
    except OSError as cause:
        raise Unanswered(Answer(Finding.SILENT, f"cut while we asked: {cause.strerror}")) from cause


async def receive(sock: trio.socket.SocketType, most: int) -> bytes:
    """Receive some bytes, at least one. Unanswered if there will be none."""
    try:
        received = await sock.recv(most)
    except OSError as cause:
        raise Unanswered(Answer(Finding.SILENT, f"cut before an answer: {cause.strerror}")) from cause
    if not received:
        raise Unanswered(Answer(Finding.SILENT, "closed before an answer"))
    return received


async def leave(sock: trio.socket.SocketType) -> None:
    """End what we say, hear the other side out for a little, and close: a FIN where a RST can be avoided.

    A server that greets (SMTP, MySQL) would count a RST as an error of its client, and MySQL blocks those.
    The socket is closed when this returns, however it returns.
    """
    with sock, contextlib.suppress(OSError), trio.move_on_after(LEAVE_S):
        sock.shutdown(socket.SHUT_WR)
        heard = 0
        while heard < LEAVE_BYTES and (received := await sock.recv(16_384)):
            heard += len(received)
