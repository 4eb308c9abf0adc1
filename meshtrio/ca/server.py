"""Shell. The CA's port: HTTPS, with a certificate of the CA's own root.

The handshake is done here, for what a caller has shown in it is who it is. Does not know what is answered.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

import trio

from meshtrio.observe import log
from meshtrio.web.conversation import converse
from meshtrio.web.message import Caller
from meshtrio.web.router import App

HANDSHAKE_S = 5.0
ALERT_S = 0.5
ALERT_BYTES = 65_536
CONNECTIONS = 1024
"""How many callers there may be at a time. Full: a further one is hung up on, and comes again."""


class CannotListen(Exception):
    """The port cannot be opened; the message says why and what to do."""


def open_port(bind: str, port: int) -> socket.socket:
    """Listen. CannotListen."""
    listener = socket.socket(socket.AF_INET6 if ":" in bind else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            # `::` is everybody, as it is for most servers; whatever the machine's own default says.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((bind, port))
        listener.listen(256)
        listener.setblocking(False)
    except OSError as cause:
        listener.close()
        words = f"cannot listen on {bind} {port}: {cause.strerror}"
        raise CannotListen(
            f"{words} (see: ss -ltnp 'sport = {port}'); choose another --port or --bind"
        ) from cause
    return listener


async def serve(
    app: App,
    listener: socket.socket,
    context: Callable[[], ssl.SSLContext],
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer until cancelled, then hang up on everybody. `context` gives the TLS settings as they are now.
    `listener` is closed when this returns."""
    there = 0

    async def answer(stream: trio.SocketStream) -> None:
        nonlocal there
        if there >= CONNECTIONS:
            log.rarely("too many connections to the CA", most=CONNECTIONS)
            return
        there += 1
        try:
            tls = await _shaken(stream, context())
            if tls is not None:
                await converse(tls, app, Caller(_host(stream), tls.getpeercert(binary_form=True)))
        except Exception as bug:  # noqa: BLE001  the border: one client must not end the others
            log.bug("a connection to the CA ended by a bug of ours", bug)
        finally:
            there -= 1
            stream.socket.close()

    ours = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    await trio.serve_listeners(answer, [ours], task_status=task_status)


class _Noting:
    """TLS settings that note where TLS puts what shall be sent. trio throws the alert away by which a caller
    learns why its certificate is not accepted."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._outgoing = ssl.MemoryBIO()

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **words: Any) -> ssl.SSLObject:
        self._outgoing = outgoing
        return self._context.wrap_bio(incoming, outgoing, **words)

    async def send_alert(self, stream: trio.SocketStream) -> None:
        """Send it, and hear the caller out for a moment: with unread bytes our close would be a RST."""
        with contextlib.suppress(OSError, trio.BrokenResourceError), trio.move_on_after(ALERT_S):
            await stream.send_all(self._outgoing.read())
            await stream.send_eof()
            left = ALERT_BYTES
            while left > 0 and (heard := await stream.receive_some(left)):
                left -= len(heard)


async def _shaken(stream: trio.SocketStream, context: ssl.SSLContext) -> Any:
    """Shake hands; None if that fails, which is told to the caller and to the log."""
    noting = _Noting(context)
    tls = trio.SSLStream(stream, noting, server_side=True, https_compatible=True)  # type: ignore[arg-type]
    try:
        with trio.fail_after(HANDSHAKE_S):
            await tls.do_handshake()
    except (trio.BrokenResourceError, trio.ClosedResourceError) as broken:
        why = getattr(broken.__cause__, "verify_message", None) or str(broken.__cause__ or "cut")
        log.rarely("a TLS handshake with the CA failed", why=why)
        await noting.send_alert(stream)
    except trio.TooSlowError:
        log.rarely("a TLS handshake with the CA was not finished in time", seconds=HANDSHAKE_S)
    else:
        return tls
    return None


def _host(stream: trio.SocketStream) -> str:
    with contextlib.suppress(OSError):  # it may have gone
        return str(stream.socket.getpeername()[0])
    return ""
