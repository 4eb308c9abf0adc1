"""Shell. One GET over a connection, and its status. Does not know who is probed, nor about deadlines.

By h11 and not by httpx: the admin port has brought h11 into the agent already, and httpx would cost it
7.9 MB (measured) for redirects, pools and bodies that a probe must not have.
"""

import h11
import trio

from meshtrio.catalog.probing import Answer, Finding, Manner, Target
from meshtrio.discover.probe_tcp import receive, send_all

HEAD_BYTES = 32_768
"""How long the head of an answer may be, with all that precedes it. Longer: failed."""


async def ask_http(sock: trio.socket.SocketType, target: Target) -> Answer:
    """Ask, and judge the status. The body is left unread. Unanswered if the connection is cut before."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    try:
        wire = connection.send(_request(target.manner)) or b""
        wire += connection.send(h11.EndOfMessage()) or b""
    except h11.LocalProtocolError as wrong:
        return Answer(Finding.VOID, f"the check is no HTTP request: {wrong}")
    await send_all(sock, wire)
    left = HEAD_BYTES
    while left > 0:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as wrong:
            return Answer(Finding.FAILED, f"answers what is not HTTP: {wrong}")
        if isinstance(event, h11.Response):
            return _judged(target.manner, event.status_code)
        if isinstance(event, h11.InformationalResponse):
            continue
        chunk = await receive(sock, min(left, 8192))
        left -= len(chunk)
        connection.receive_data(chunk)
    return Answer(Finding.FAILED, f"answers with a head of more than {HEAD_BYTES} bytes")


def _judged(manner: Manner, status: int) -> Answer:
    return Answer(Finding.PASSED if manner.accepts(status) else Finding.FAILED, f"HTTP {status}")


def _request(manner: Manner) -> h11.Request:
    headers = {"host": manner.host, "user-agent": "meshtrio-probe", "accept": "*/*", "connection": "close"}
    headers.update((name.lower(), value) for name, value in manner.headers)
    return h11.Request(
        method="GET",
        target=manner.path,
        headers=[(name.encode(), value.encode()) for name, value in headers.items()],
    )
