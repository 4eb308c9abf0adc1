"""Shell. What calls that belong together share, as a balancing key. Does not know how a key is used."""

import socket
from collections.abc import Callable

import trio

from meshtrio.balance.hashing import key_hash
from meshtrio.config.traffic import Settings
from meshtrio.forward.peek import peek

FIRST_BYTES_S = 0.05
"""How long a client may be silent before it is balanced without a key: it may wait for the server."""

KEY_S = 1.0
"""How long a client may take to say its key, a few bytes at a time. Then it is balanced without one."""


async def key_of(
    settings: Settings, client: socket.socket, *, source: bytes, identity: Callable[[], str]
) -> int | None:
    """Find the key that these settings ask for; None if there is none. What the client says stays unread."""
    match settings.hash_key:
        case "source_ip":
            said = source
        case "spiffe_id":
            said = identity().encode()
        case wanted:
            # It brings HTTP/2's field compression (0.7 MB), and few services are balanced by requests.
            from meshtrio.detect.requestkey import RequestKey

            said = b""
            with trio.move_on_after(KEY_S):
                said = await peek(client, RequestKey(wanted), FIRST_BYTES_S) or b""
    return key_hash(said) if said else None
