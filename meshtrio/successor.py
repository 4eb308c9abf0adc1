"""Shell. Does a new agent answer on the control socket? Asked by workers whose agent has gone."""

import trio

_REQUEST = b"GET /readyz HTTP/1.1\r\nHost: meshtrio\r\nConnection: close\r\n\r\n"


async def successor_ready(control: str) -> bool:
    """Say whether an agent answers there and says that it is ready. False after two silent seconds."""
    with trio.move_on_after(2):
        try:
            stream = await trio.open_unix_socket(control)
        except OSError:
            return False
        async with stream:
            try:
                await stream.send_all(_REQUEST)
                answer = await stream.receive_some(64)
            except trio.BrokenResourceError:
                return False
            return bytes(answer).startswith(b"HTTP/1.1 200")
    return False
