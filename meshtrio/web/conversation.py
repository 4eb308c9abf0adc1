"""Shell. HTTP/1.1 with one caller, by h11 over any trio stream: its requests one after the other, and their
answers. Does not know what is answered, nor who may call.

Ours and not hypercorn's with Starlette: those bring asyncio, HTTP/2, WebSockets and e-mail, 8 MB and 0.2 s of
an agent's start, for answers that are short, whole and rarely asked for.
"""

import contextlib
import time
from collections.abc import AsyncGenerator

import h11
import trio

from meshtrio.observe import log
from meshtrio.web.message import Caller, Disconnected, HTTPException, Request, Response, answer_error
from meshtrio.web.router import App

HEAD_BYTES = 16 * 1024
"""The longest head of a request, and the longest line of a chunk's length. Longer: 431, and no more."""
IDLE_S = 15.0
"""How long a caller may take for the head of its next request; then it is hung up on."""
SEND_BYTES = 64 * 1024
SEND_S = 15.0
"""How long a caller may take to read so much of an answer; then it is hung up on."""
READ_BYTES = 64 * 1024
UNREAD_BYTES = 4 << 20
UNREAD_S = 2.0
"""So much of a request that was answered before it was whole is still read: closing with unread bytes would
be a RST, which can overtake the answer."""
CLOSE_S = 1.0

_Event = type[h11.NEED_DATA] | type[h11.PAUSED] | h11.Event
_FRAMING = (b"content-length", b"transfer-encoding")
_CUT_SHORT = (h11.SEND_BODY, h11.ERROR)
_WITHOUT_BODY = frozenset((204, 304))


async def converse(stream: trio.abc.Stream, app: App, caller: Caller) -> None:
    """Answer until the caller or silence ends it. The stream is closed when this returns, however it does."""
    line = _Line(stream)
    try:
        with contextlib.suppress(Disconnected):
            while await _answered(line, app, caller):
                pass
            await line.hang_up()
    finally:
        with trio.move_on_after(CLOSE_S):
            await stream.aclose()


async def _answered(line: "_Line", app: App, caller: Caller) -> bool:
    """Answer the next request; say whether there may be another one."""
    try:
        with trio.move_on_after(IDLE_S) as idle:
            head = await line.next()
        if idle.cancelled_caught or not isinstance(head, h11.Request):
            return False
        await line.skip_empty_body(head)
    except h11.RemoteProtocolError as wrong:
        await line.send(answer_error(HTTPException(wrong.error_status_hint, f"{wrong}")))
        return False
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    method, target = head.method.decode(), head.target.decode()
    request = Request(method, target, headers, caller, line.body)
    response = await app(request)
    await line.send(response, head_only=method == "HEAD")
    return line.begin_anew()


class _Line:
    """One connection, of which h11 knows what may come next."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)

    async def next(self) -> _Event:
        """Read until something has come. Disconnected, or h11.RemoteProtocolError if it is no HTTP."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
            try:
                self._http.receive_data(bytes(await self._stream.receive_some(READ_BYTES)))
            except (trio.BrokenResourceError, trio.ClosedResourceError) as broken:
                raise Disconnected from broken
        return event

    async def skip_empty_body(self, head: h11.Request) -> None:
        """Let a request without a body be whole, so that the next one may follow its answer."""
        framing = {name: value for name, value in head.headers if name in _FRAMING}
        if framing in ({}, {b"content-length": b"0"}):
            await self.next()

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Give what comes of the body. Disconnected, also if the caller breaks the rules."""
        try:
            while self._http.their_state is h11.SEND_BODY:
                if isinstance(event := await self.next(), h11.Data):
                    yield bytes(event.data)
        except h11.RemoteProtocolError as wrong:
            raise Disconnected from wrong

    async def send(self, response: Response, *, head_only: bool = False) -> None:
        """Send an answer; a caller that has not sent all yet is told that it is the last one."""
        try:
            head = self._head(response)
        except (h11.LocalProtocolError, UnicodeError) as bug:
            log.bug("an answer cannot be sent by a bug of ours", bug)
            response = answer_error(HTTPException(500))
            head = self._head(response)
        wire = self._http.send(head) or b""
        if not head_only and response.status not in _WITHOUT_BODY:
            wire += self._http.send(h11.Data(data=response.body)) or b""
        self._http.send(h11.EndOfMessage())
        await self._write(wire)

    def _head(self, response: Response) -> h11.Response:
        headers = [
            ("content-type", response.media_type),
            ("content-length", str(len(response.body))),
            ("date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
            *response.headers.items(),
        ]
        if self._http.their_state in _CUT_SHORT:
            headers.append(("connection", "close"))
        return h11.Response(status_code=response.status, headers=headers)

    def begin_anew(self) -> bool:
        """Be ready for another request, if the caller may send one."""
        if self._http.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            return False
        self._http.start_next_cycle()
        return True

    async def hang_up(self) -> None:
        """End our side, and hear out within bounds who has not ended its own."""
        left = UNREAD_BYTES
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            if self._http.their_state in _CUT_SHORT:
                with trio.move_on_after(UNREAD_S):
                    while left > 0 and (heard := await self._stream.receive_some(READ_BYTES)):
                        left -= len(heard)

    async def _write(self, wire: bytes | None) -> None:
        view = memoryview(wire or b"")
        try:
            for at in range(0, len(view), SEND_BYTES):
                with trio.fail_after(SEND_S):
                    await self._stream.send_all(view[at : at + SEND_BYTES])
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as broken:
            raise Disconnected from broken
