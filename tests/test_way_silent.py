"""World. A caller who says nothing at first, at the door of a permissive workload."""

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio

from meshtrio.config.identity import Callers, Policy, PolicyRule
from meshtrio.outcome import Outcome
from meshtrio.way import carry
from tests.support.rings import CLIENT, CLIENT_ID, ring
from tests.support.scene import Scene, only_ending, recorded, scene
from tests.support.secured import identify
from tests.support.worker_side import address_of, arrived, door_in, is_reset

pytestmark = pytest.mark.kernel


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    with recorded() as seen:
        yield seen


@contextlib.asynccontextmanager
async def called(made: Scene) -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream, trio.CancelScope]]:
    """Call a workload and be silent until its server was dialled: caller's end, server's, and its task."""
    identify(made)
    with (
        door_in(made.door.netns, made.maps, direction="inbound") as door,
        socket.create_server(("127.0.0.1", 0)) as app,
    ):
        app.setblocking(False)
        caller = await arrived(socket.socket(), address_of(app))
        made.client, peer = app.accept()
        made.client.setblocking(False)
        task = trio.CancelScope()

        async def carried(client: socket.socket) -> None:
            with task:
                await carry(made.site, door, client, peer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(carried, made.client)
            await trio.lowlevel.wait_readable(app)
            server = trio.SocketStream(trio.socket.from_stdlib_socket(app.accept()[0]))
            with trio.fail_after(5):
                async with caller, server:
                    yield caller, server, task


def by_hand() -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    context = ring().proof(CLIENT).client
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    return context.wrap_bio(arriving, leaving), arriving, leaving


async def test_a_mesh_whose_first_words_were_lost_is_secured(records: list[dict[str, Any]]) -> None:
    tls, arriving, leaving = by_hand()
    async with scene() as made:
        async with called(made) as (caller, server, _):
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            await caller.send_all(leaving.read())
            arriving.write(await caller.receive_some())
            tls.do_handshake()
            tls.write(b"hello")
            await caller.send_all(leaving.read())
            assert await server.receive_some() == b"hello"
        ended = only_ending(made, records)
    assert (ended.peer, ended.tls) == (CLIENT_ID, "TLSv1.3")


async def test_policy_asks_again_who_it_is(records: list[dict[str, Any]]) -> None:
    nobody = Policy(
        rules=(PolicyRule(name="not the cart", action="deny", callers=Callers(ids=(CLIENT_ID,))),)
    )
    tls, arriving, leaving = by_hand()
    async with scene() as made:
        made.configure(policy=nobody)
        async with called(made) as (caller, server, _):
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            await caller.send_all(leaving.read())
            arriving.write(await caller.receive_some())
            tls.do_handshake()
            await caller.send_all(leaving.read())
            assert await is_reset(caller)
            assert await is_reset(server)
        ended = only_ending(made, records)
    assert (ended.outcome, ended.peer) == (Outcome.DENIED, CLIENT_ID)


async def test_a_server_that_speaks_first_is_heard(records: list[dict[str, Any]]) -> None:
    async with scene() as made:
        async with called(made) as (caller, server, _):
            await server.send_all(b"220 ready")
            assert await caller.receive_some() == b"220 ready"
            await caller.send_all(b"HELO")
            assert await server.receive_some() == b"HELO"
        ended = only_ending(made, records)
    assert (ended.outcome, ended.peer) == (Outcome.CARRIED, "")


async def test_a_plain_caller_is_carried_when_he_speaks(records: list[dict[str, Any]]) -> None:
    async with scene() as made:
        async with called(made) as (caller, server, _):
            await caller.send_all(b"hello")
            assert await server.receive_some() == b"hello"
            await server.send_all(b"hello yourself")
            assert await caller.receive_some() == b"hello yourself"
        ended = only_ending(made, records)
    assert (ended.outcome, ended.peer) == (Outcome.CARRIED, "")


@pytest.mark.parametrize("who", ["caller", "server"])
async def test_whoever_ends_without_a_word_ends_it(who: str, records: list[dict[str, Any]]) -> None:
    async with scene() as made:
        async with called(made) as (caller, server, _):
            one, other = (caller, server) if who == "caller" else (server, caller)
            await one.send_eof()
            assert await other.receive_some() == b""
            await other.send_eof()
            assert await one.receive_some() == b""
        ended = only_ending(made, records)
    assert ended.outcome is Outcome.CARRIED


async def test_a_drain_ends_it_as_drained(records: list[dict[str, Any]]) -> None:
    async with scene() as made:
        async with called(made) as (caller, server, task):
            task.cancel()
            assert await is_reset(caller)
            assert await is_reset(server)
        ended = only_ending(made, records)
    assert ended.outcome is Outcome.DRAINED
