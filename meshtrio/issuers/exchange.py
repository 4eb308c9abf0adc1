"""Shell. One HTTPS request, and its whole answer, over h11 on trio. Does not know what is asked, nor about
deadlines.

By h11 and not by httpx, as the probes: that would cost the agent 7.9 MB. A connection a request: there are
few, and none that was kept can be found dead.
"""

import json
import ssl
from collections.abc import Mapping
from typing import NamedTuple

import h11
import msgspec
import trio

from meshtrio import __version__

HEAD_BYTES = 32_768
ANSWER_BYTES = 2 << 20
"""The longest answer; a bundle may have 1 MB. Longer: ExchangeError."""


class ExchangeError(Exception):
    """There is no answer. The words hold nothing of what was asked."""


class NotAccepted(ExchangeError):
    """The other side does not accept the certificate that we have shown."""


class Url(NamedTuple):
    """Where to ask: https only."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        """As it stands in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Ask(msgspec.Struct, frozen=True):
    """What to ask. May hold a secret: never logged."""

    method: str
    path: str
    body: object = None
    """Sent as JSON; None: nothing."""
    token: str = ""

    def __repr__(self) -> str:
        return f"Ask({self.method} {self.path})"


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


def url_of(address: str) -> Url:
    """Read https://host:port, as configured; without a port it is 15004."""
    host, colon, port = address.removeprefix("https://").rpartition(":")
    if not colon or not port.isdigit() or (host.count(":") and not host.endswith("]")):
        return Url(address.removeprefix("https://").strip("[]"), 15004)
    return Url(host.strip("[]"), int(port))


async def exchange(url: Url, tls: ssl.SSLContext, ask: Ask) -> Answer:
    """Ask, and give the whole answer. ExchangeError if there is none; nothing stays open."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    wire = _written(connection, url, ask)
    try:
        stream = await trio.open_tcp_stream(url.host, url.port)
    except OSError as cause:
        raise ExchangeError(f"{url.authority} cannot be reached: {_reason(cause)}") from cause
    try:
        shaken = trio.SSLStream(stream, tls, server_hostname=url.host, https_compatible=True)
        try:
            await shaken.send_all(wire)
            return await _read(connection, shaken)
        except trio.BrokenResourceError as broken:
            raise _broken(broken, url) from broken
    finally:
        await trio.aclose_forcefully(stream)


def _written(connection: h11.Connection, url: Url, ask: Ask) -> bytes:
    body = b"" if ask.body is None else json.dumps(ask.body).encode()
    headers = {"Host": url.authority, "User-Agent": f"meshtrio/{__version__}", "Connection": "close"}
    if ask.body is not None:
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    if ask.token:
        headers["Authorization"] = f"Bearer {ask.token}"
    try:
        head = h11.Request(method=ask.method, target=ask.path, headers=list(headers.items()))
    except h11.LocalProtocolError:
        # Its words would quote the token.
        raise ExchangeError("the token cannot be sent: it holds a line break, or the like") from None
    pieces = [connection.send(head)]
    if body:
        pieces.append(connection.send(h11.Data(data=body)))
    pieces.append(connection.send(h11.EndOfMessage()))
    return b"".join(one or b"" for one in pieces)


async def _read(connection: h11.Connection, stream: trio.SSLStream[trio.SocketStream]) -> Answer:
    head: h11.Response | None = None
    body = bytearray()
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as wrong:
            raise ExchangeError(f"what answers there is no CA: {wrong}") from wrong
        match event:
            case h11.NEED_DATA:
                heard = bytes(await stream.receive_some(65_536))
                if not heard and head is None:
                    raise ExchangeError("the connection was closed before an answer")
                connection.receive_data(heard)
            case h11.Response():
                head = event
            case h11.Data():
                body += event.data
                if len(body) > ANSWER_BYTES:
                    raise ExchangeError(f"the answer is longer than {ANSWER_BYTES} bytes")
            case h11.EndOfMessage() if head is not None:
                named = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
                return Answer(head.status_code, named, bytes(body))
            case _:
                pass


def _broken(broken: trio.BrokenResourceError, url: Url) -> ExchangeError:
    cause = broken.__cause__ or broken
    if isinstance(cause, ssl.SSLCertVerificationError):
        words = f"{url.authority} does not prove that it is our CA (see identity.remote.ca_file)"
        return ExchangeError(f"{words}: {cause.verify_message}")
    if isinstance(cause, ssl.SSLError):
        # The alerts by which a server says so (RFC 8446, 6.2).
        alert = str(cause.reason or "")
        if any(word in alert for word in ("UNKNOWN_CA", "CERTIFICATE", "ACCESS_DENIED")):
            return NotAccepted(f"{url.authority} does not accept our node's certificate: {_alert(alert)}")
        return ExchangeError(f"TLS with {url.authority} failed: {_alert(alert) or 'cut'}")
    return ExchangeError(f"the connection to {url.authority} broke off: {_reason(cause)}")


def _alert(name: str) -> str:
    return name.partition("ALERT_")[2].lower().replace("_", " ") or name.lower().replace("_", " ")


def _reason(cause: BaseException | None) -> str:
    """Find the system's own word under what trio has wrapped around it."""
    words = ""
    while cause is not None:
        # trio says "Error connecting to (address, port): Connection refused".
        words = (getattr(cause, "strerror", None) or str(cause)).rpartition("): ")[2] or type(cause).__name__
        inner = cause.__cause__
        cause = inner.exceptions[0] if isinstance(inner, BaseExceptionGroup) else inner
    return words
