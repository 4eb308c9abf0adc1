"""Whether much is spliced may change at any time: every byte and both ends arrive all the same."""

import hashlib
import socket

import pytest
import trio

from meshtrio.forward.flow import Ending
from meshtrio.forward.relay import Relay
from meshtrio.forward.workbench import RelayLimits
from meshtrio.outcome import Outcome
from tests.forward.carried import Carried, running
from tests.forward.peers import pattern, write

pytestmark = pytest.mark.rung("free")

EAGER = RelayLimits(bulk_bytes=0, pressed_bytes=1)
BLOCK = pattern(1_000_000, 7)
BLOCKS = 48
SWITCHES = 6


async def drink(sock: trio.socket.SocketType, size: int, digest: "hashlib._Hash") -> None:
    """Read exactly as much; AssertionError if it ends before."""
    while size:
        heard = await sock.recv(min(size, 1 << 18))
        assert heard, "it ended early"
        digest.update(heard)
        size -= len(heard)


async def carry_blocks(relay: Relay, flow: Carried, allowed: dict[int, bool]) -> Ending:
    """Carry all blocks and both ends, and allow or forbid splices before some of them."""
    digest = hashlib.sha256()
    async with trio.open_nursery() as nursery:
        with flow as (client, server):
            nursery.start_soon(flow.run, relay)

            async def send() -> None:
                for _ in range(BLOCKS):
                    await write(client, BLOCK)
                client.shutdown(socket.SHUT_WR)

            nursery.start_soon(send)
            for number in range(BLOCKS):
                if number in allowed:
                    relay.allow_splice(allowed=allowed[number])
                await drink(server, len(BLOCK), digest)
            assert await server.recv(1) == b"", "and there it ends"
            await write(server, b"heard")
            server.shutdown(socket.SHUT_WR)
            assert await client.recv(100) == b"heard"
            assert await client.recv(1) == b""
            await flow.done.wait()
    whole = hashlib.sha256()
    for _ in range(BLOCKS):
        whole.update(BLOCK)
    assert digest.digest() == whole.digest()
    assert flow.ending is not None
    return flow.ending


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_it_is_turned_off_and_on_under_way(family: int, spliced: list[int]) -> None:
    async with running(EAGER) as relay:
        switches = {at * BLOCKS // SWITCHES: at % 2 == 0 for at in range(SWITCHES)}
        ending = await carry_blocks(relay, Carried(family), switches)
        assert ending == Ending(Outcome.CARRIED, BLOCKS * len(BLOCK), 5)
        assert spliced
        relay.allow_splice(allowed=False)
        spliced.clear()
        await carry_blocks(relay, Carried(family), {})
        assert spliced == []


async def test_a_flow_that_is_to_be_copied_is_never_spliced(spliced: list[int]) -> None:
    async with running(EAGER) as relay:
        flow = Carried()
        joined = relay.join

        def join(*ends: socket.socket, **how: float) -> object:
            made = joined(*ends, **how)  # type: ignore[arg-type]
            made.copy_only()
            return made

        relay.join = join  # type: ignore[assignment, method-assign]
        ending = await carry_blocks(relay, flow, {})
        assert ending.outcome is Outcome.CARRIED
        assert spliced == []
