"""Shell. Identities in a scene of one worker, and callers that come to its inbound door."""

import contextlib
import socket
import ssl

import msgspec
import pytest

from meshtrio.catalog.service import Found
from meshtrio.way import carry
from tests.support.rings import SERVER_ID, credentials, trusted
from tests.support.scene import Scene
from tests.support.worker_side import SHOP, address_of, arrived, door_in, is_reset


def identify(made: Scene) -> None:
    """Give the shop a certificate."""
    made.site.settle(made.site.config)
    made.site.border.learn(trusted())
    made.site.border.learn(credentials(SHOP.id, SERVER_ID))


def meshed(what: Found) -> Found:
    """Let the endpoints be in the mesh."""
    ends = tuple(msgspec.structs.replace(one, meshed=True) for one in what.port.endpoints)
    return msgspec.structs.replace(what, port=msgspec.structs.replace(what.port, endpoints=ends))


def client_hello() -> bytes:
    """Make what a mesh begins with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_alpn_protocols(["meshtrio/1"])
    said = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), said).do_handshake()
    return said.read()


async def inbound(made: Scene, words: bytes) -> None:
    """Say this to a workload that is dialled, and be reset. What it serves gets no connection."""
    with (
        door_in(made.door.netns, made.maps, direction="inbound") as door,
        socket.create_server(("127.0.0.1", 0)) as app,
    ):
        caller = await arrived(socket.socket(), address_of(app))
        made.client, peer = app.accept()
        made.client.setblocking(False)
        app.setblocking(False)
        await caller.send_all(words)
        await carry(made.site, door, made.client, peer)
        assert await is_reset(caller)
        with pytest.raises(BlockingIOError):
            app.accept()
