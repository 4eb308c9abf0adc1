"""Any conversation through the relay: every byte arrives once and in order, and every end is what it was."""

import socket
from typing import NamedTuple

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtrio.forward.workbench import RelayLimits
from meshtrio.outcome import Outcome
from tests.forward.carried import Carried, running
from tests.forward.peers import FIN, RESET, abort, pattern, read, until_acked, write


class Part(NamedTuple):
    """What one side does: sends pieces, reads in its own way, and ends."""

    pieces: list[int]
    pause_s: float
    read_bytes: int
    read_pause_s: float
    aborts: bool


part = st.builds(
    Part,
    pieces=st.lists(st.one_of(st.integers(1, 100), st.integers(1, 400_000)), max_size=6),
    pause_s=st.sampled_from([0, 0, 0.001]),
    read_bytes=st.sampled_from([4000, 65_536, 1_000_000]),
    read_pause_s=st.sampled_from([0, 0, 0.0005]),
    aborts=st.sampled_from([False, False, True]),
)
limits = st.builds(
    RelayLimits,
    chunk_bytes=st.sampled_from([4096, 524_288]),
    pressed_bytes=st.sampled_from([1024, 4096]),
    turn_bytes=st.sampled_from([16_384, 1_048_576]),
    drain_s=st.just(10.0),
    bulk_bytes=st.sampled_from([0, 524_288]),
)


class Side:
    """One side of the conversation, and what it saw."""

    def __init__(self, part: Part, sock: trio.socket.SocketType, seed: int) -> None:
        self.part, self.sock = part, sock
        self.data = pattern(sum(part.pieces), seed)
        self.got, self.end = b"", ""
        self.broken = False

    async def speak(self) -> None:
        rest = self.data
        try:
            for size in self.part.pieces:
                await write(self.sock, rest[:size])
                rest = rest[size:]
                await trio.sleep(self.part.pause_s)
            if self.part.aborts:
                await until_acked(self.sock)
                abort(self.sock)
            else:
                self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.broken = True

    async def listen(self) -> None:
        try:
            self.got, self.end = await read(
                self.sock, piece=self.part.read_bytes, pause_s=self.part.read_pause_s
            )
        except trio.ClosedResourceError:
            self.end = "aborted"


def check(side: Side, peer: Side) -> None:
    """Compare what one side saw with what its peer did."""
    assert peer.data.startswith(side.got)
    if side.part.aborts and not side.broken:
        return
    if peer.part.aborts and not peer.broken:
        # A write of ours may have taken the error first; then reads say "nothing", also unmeshed.
        assert side.end == RESET or side.broken
        assert side.got == peer.data
    elif not side.part.aborts:
        assert (side.got == peer.data, side.end) == (True, FIN)


@given(client_part=part, server_part=part, limits=limits, family=st.sampled_from([2, 10]))
@settings(max_examples=60, deadline=None)
async def test_any_conversation(
    client_part: Part, server_part: Part, limits: RelayLimits, family: int
) -> None:
    async with running(limits) as relay, trio.open_nursery() as nursery:
        with (flow := Carried(family)) as (a, b):
            nursery.start_soon(flow.run, relay)
            client, server = Side(client_part, a, 1), Side(server_part, b, 2)
            async with trio.open_nursery() as talking:
                for side in (client, server):
                    talking.start_soon(side.speak)
                    talking.start_soon(side.listen)
            await flow.done.wait()
    check(client, server)
    check(server, client)
    assert flow.ending is not None
    possible = {Outcome.CLIENT_RESET} if client_part.aborts else set()
    possible |= {Outcome.UPSTREAM_RESET, Outcome.UPSTREAM_RESET_EARLY} if server_part.aborts else set()
    assert flow.ending.outcome in (possible or {Outcome.CARRIED})
    if not possible:
        assert flow.ending.sent_bytes == len(client.data)
        assert flow.ending.received_bytes == len(server.data)
