"""The table of ends, line by line, with TLS on the way: over one sealed hop and over two."""

import contextlib
import select
import socket
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import trio

from meshtrio.forward.flow import Ending, Flow
from meshtrio.forward.lane import Way
from meshtrio.forward.relay import Relay
from meshtrio.forward.sealed import Sealed
from meshtrio.forward.workbench import RelayLimits, Workbench
from meshtrio.outcome import Outcome
from tests.forward.peers import FIN, RESET, abort, connected, direct, pair, read, write
from tests.forward.scenarios import (
    A_RESETS,
    ANY_RESET,
    BIG,
    BOTH_FINS,
    FITS,
    HUGE,
    SMALL,
    TABLE,
    Scenario,
    urgent_bytes_keep_their_place,
    write_to_a_closed_peer,
)
from tests.forward.tls_app import app_and_end, secured
from tests.support.rings import ring

LIMITS = RelayLimits(drain_s=0.25, sweep_s=0.05)
pytestmark = pytest.mark.usefixtures("either_records")
RING = ring()
WAYS = ["plain-tls-plain", "tls-plain", "plain-tls"]
OVER_TLS = [line for line in TABLE if line[0] is not urgent_bytes_keep_their_place]

End = socket.socket | Sealed


class World(NamedTuple):
    """Two applications, and what the relay joins between them."""

    client: Any
    server: Any
    joints: list[tuple[End, End]]


async def world(way: str) -> World:
    if way == "tls-plain":
        app, end = await app_and_end(RING, app_dials=True)
        server = pair(socket.AF_INET)
        return World(app, server.app, [(end.end, server.ours)])
    client = pair(socket.AF_INET)
    if way == "plain-tls":
        app, end = await app_and_end(RING, app_dials=False)
        return World(client.app, app, [(client.ours, end.end)])
    dialling, dialled = await secured(RING)
    server = pair(socket.AF_INET)
    return World(client.app, server.app, [(client.ours, dialling.end), (dialled.end, server.ours)])


async def through(way: str, scenario: Any, *, a_is_client: bool, limits: RelayLimits = LIMITS) -> Any:
    """Give what the script saw, and how each flow ended."""
    endings: list[Ending] = []
    relay = Relay(limits)

    async def carry(client: End, upstream: End) -> None:
        endings.append(await relay.carry(client, upstream, idle_s=0))

    with trio.fail_after(10):
        async with trio.open_nursery() as outer:
            await outer.start(relay.run)
            scene = await world(way)
            with scene.client, scene.server:
                async with trio.open_nursery() as nursery:
                    for joint in scene.joints:
                        nursery.start_soon(carry, *joint)
                    a, b = (scene.client, scene.server) if a_is_client else (scene.server, scene.client)
                    seen = await scenario(a, b)
            assert not relay.flows
            outer.cancel_scope.cancel()
    for one in scene.joints:
        assert one[0].fileno() == one[1].fileno() == -1
    return seen, endings


async def unmeshed(scenario: Scenario) -> object:
    a, b = direct(socket.AF_INET)
    with a, b:
        return await scenario(a, b)


def a_speaks_tls(way: str, *, a_is_client: bool) -> bool:
    return way == ("tls-plain" if a_is_client else "plain-tls")


@pytest.mark.parametrize("a_is_client", [True, False], ids=["client", "upstream"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("scenario", "ends"), OVER_TLS, ids=lambda value: getattr(value, "__name__", ""))
async def test_ends_are_as_unmeshed(scenario: Scenario, ends: str, way: str, a_is_client: bool) -> None:
    if scenario is write_to_a_closed_peer and a_speaks_tls(way, a_is_client=a_is_client):
        expected: object = ((SMALL, RESET), True)  # it closes without close_notify, which TLS takes for a cut
    else:
        expected = await unmeshed(scenario)
    seen, endings = await through(way, scenario, a_is_client=a_is_client)
    assert seen == expected
    a_reset, b_reset = {Outcome.CLIENT_RESET}, {Outcome.UPSTREAM_RESET, Outcome.UPSTREAM_RESET_EARLY}
    if not a_is_client:
        a_reset, b_reset = b_reset, a_reset
    possible = {BOTH_FINS: {Outcome.CARRIED}, A_RESETS: a_reset, ANY_RESET: a_reset | b_reset}[ends]
    assert {ending.outcome for ending in endings} <= possible


@pytest.mark.parametrize("a_is_client", [True, False], ids=["client", "upstream"])
async def test_urgent_bytes_go_inline(a_is_client: bool) -> None:
    async def urgent(a: Any, b: Any) -> object:
        await write(a, SMALL)
        await a.send(b"!", socket.MSG_OOB)
        await write(a, SMALL)
        a.shutdown(socket.SHUT_WR)
        b.shutdown(socket.SHUT_WR)
        return await read(a), await read(b)

    seen, endings = await through("plain-tls-plain", urgent, a_is_client=a_is_client)
    assert seen == ((b"", FIN), (SMALL + b"!" + SMALL, FIN))
    assert {ending.outcome for ending in endings} == {Outcome.CARRIED}


async def cut(a: Any, b: Any) -> object:
    """End the TCP stream and say nothing in TLS: what someone on the way could do."""
    await write(a, BIG)
    a.sock.shutdown(socket.SHUT_WR)
    return await read(b), await read(a)


async def garbage(a: Any, b: Any) -> object:
    await write(a, FITS)
    await a.sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    return await read(b), (await read(a))[1]


async def alert(a: Any, b: Any) -> object:
    """A peer that meets an error says so in TLS, and is no clean end either."""
    await write(a, SMALL)
    a.incoming.write(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(OSError, match=r"(?i)mac"):
        a.tls.read(1)
    await a.flush()
    return await read(b), (await read(a))[1]


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        (cut, ((BIG, RESET), (b"", RESET))),
        (garbage, ((FITS, RESET), RESET)),
        (alert, ((SMALL, RESET), RESET)),
    ],
    ids=["cut", "garbage", "alert"],
)
@pytest.mark.parametrize("a_is_client", [True, False], ids=["client", "upstream"])
async def test_what_tls_does_not_end_is_reset(scenario: Any, expected: object, a_is_client: bool) -> None:
    way = "tls-plain" if a_is_client else "plain-tls"
    seen, endings = await through(way, scenario, a_is_client=a_is_client)
    assert seen == expected
    upstream = Outcome.UPSTREAM_RESET if endings[0].received_bytes else Outcome.UPSTREAM_RESET_EARLY
    assert endings[0].outcome is (Outcome.CLIENT_RESET if a_is_client else upstream)


async def bytes_and_goodbye_in_one_segment(a: Any, b: Any) -> object:
    a.tls.write(SMALL)
    a.say_goodbye()
    await a.flush()  # and no FIN, so that no second word of the kernel follows
    asked = await read(b)
    await write(b, BIG)
    b.shutdown(socket.SHUT_WR)
    return asked, await read(a)


async def nothing_after_goodbye_is_heard(a: Any, b: Any) -> object:
    await write(a, SMALL)
    a.say_goodbye()
    a.owed += a.outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32)
    await a.flush()
    asked = await read(b)
    await write(b, SMALL)
    answer = await a.recv(5000)
    abort(a)
    return asked, answer


@pytest.mark.parametrize("a_is_client", [True, False], ids=["client", "upstream"])
async def test_goodbye_is_the_end(a_is_client: bool) -> None:
    way = "tls-plain" if a_is_client else "plain-tls"
    seen, endings = await through(way, bytes_and_goodbye_in_one_segment, a_is_client=a_is_client)
    assert seen == ((SMALL, FIN), (BIG, FIN))
    assert endings[0].outcome is Outcome.CARRIED
    seen, endings = await through(way, nothing_after_goodbye_is_heard, a_is_client=a_is_client)
    assert seen == ((SMALL, FIN), SMALL)


async def early_bytes(a: Any, b: Any) -> object:
    await write(a, SMALL)
    got = await b.recv(5000)
    abort(a)
    return got


async def test_bytes_that_came_with_the_handshake_are_not_forgotten() -> None:
    """The caller's Finished and its first bytes in one segment: the kernel will not speak of them again."""
    for _ in range(5):
        seen, _ = await through("tls-plain", early_bytes, a_is_client=True)
        assert seen == SMALL


async def test_small_chunks_keep_the_rest_of_a_record() -> None:
    limits = RelayLimits(chunk_bytes=4096, pressed_bytes=1024, turn_bytes=16_384, drain_s=1)

    async def talk(a: Any, b: Any) -> object:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, a, HUGE[:2_000_000])
            got = b""
            while len(got) < 2_000_000:
                got += await b.recv(30_000)
        a.shutdown(socket.SHUT_WR)
        b.shutdown(socket.SHUT_WR)
        return got == HUGE[:2_000_000], await read(a), await read(b)

    for way in WAYS:
        seen, endings = await through(way, talk, a_is_client=True, limits=limits)
        assert seen == (True, (b"", FIN), (b"", FIN))
        assert {ending.outcome for ending in endings} == {Outcome.CARRIED}


USUAL = select.EPOLLIN | select.EPOLLOUT
TIGHT = RelayLimits(chunk_bytes=4096, pressed_bytes=1024, turn_bytes=16_384, turn_reads=4)
EITHER = pytest.mark.parametrize("into_tls", [True, False])


class ByHand(NamedTuple):
    """One flow with TLS on one side, whose client lane gets its events from the test."""

    bench: Workbench
    flow: Flow
    client: End
    server: End

    def turn(self, mask: int) -> None:
        """Let the client lane hear this, and take all the turns that follow."""
        self.flow.client_lane.happened(mask)
        while self.bench.again:
            self.bench.again.clear()
            self.flow.client_lane.go_on()

    def received(self) -> bytes:
        """Take all that has arrived at the server."""
        buffer, got = memoryview(bytearray(300_000)), b""
        with contextlib.suppress(BlockingIOError):
            while count := self.server.recv_into(buffer, 200_000):
                got += buffer[:count]
        return got


@contextlib.asynccontextmanager
async def by_hand(*, into_tls: bool) -> AsyncIterator[ByHand]:
    dialling, dialled = await secured(RING)
    app, ours = connected(socket.AF_INET)
    for end in (dialling.end, dialled.end):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bench = Workbench(TIGHT)
    if into_tls:
        flow = Flow(ours, dialling.end, bench=bench, heed=lambda flow: None)
        hand = ByHand(bench, flow, app, dialled.end)
    else:
        flow = Flow(dialled.end, ours, bench=bench, heed=lambda flow: None)
        hand = ByHand(bench, flow, dialling.end, app)
    yield hand
    flow.cut()
    app.close()
    (dialled if into_tls else dialling).end.close()


@EITHER
async def test_a_turn_that_began_the_short_way_is_as_long_as_any(into_tls: bool) -> None:
    data = HUGE[:40_000]
    async with by_hand(into_tls=into_tls) as hand:
        lane = hand.flow.client_lane
        hand.client.send(data)
        lane.happened(USUAL)
        assert hand.bench.again == [lane]
        assert lane.moved_bytes == TIGHT.turn_bytes
        lane.happened(USUAL)  # it has its place in the list already
        assert hand.bench.again == [lane]
        hand.bench.again.clear()
        lane.go_on()
        hand.turn(USUAL)
        assert hand.received() == data
        hand.client.send(data[:1000])
        lane.happened(USUAL)
        assert hand.received() == data[:1000]
        assert hand.bench.again == []


@EITHER
async def test_the_short_way_meets_the_end(into_tls: bool) -> None:
    """FIN and RST can come between epoll's word, which does not tell of them then, and our read."""
    async with by_hand(into_tls=into_tls) as hand:
        lane = hand.flow.client_lane
        hand.client.shutdown(socket.SHUT_WR)
        lane.happened(USUAL)
        assert lane.way is Way.SHUT
    async with by_hand(into_tls=into_tls) as hand:
        lane = hand.flow.client_lane
        lane.happened(USUAL)  # nothing is there
        ways = [lane.way]
        hand.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        hand.client.close()
        lane.happened(USUAL)
        assert [*ways, lane.way] == [Way.OPEN, Way.SPENT]
        assert hand.flow.ending is not None
        assert hand.flow.ending.outcome is Outcome.CLIENT_RESET


@EITHER
async def test_what_a_full_sink_did_not_take_waits(into_tls: bool) -> None:
    async with by_hand(into_tls=into_tls) as hand:
        lane, gone = hand.flow.client_lane, 0
        lane.sink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        while lane.held is None:
            gone += hand.client.send(HUGE[gone : gone + 3000])
            hand.turn(USUAL)
        moved = lane.moved_bytes
        for _ in range(2):
            gone += hand.client.send(HUGE[gone : gone + 1000])
            lane.happened(USUAL)
        assert lane.moved_bytes == moved
        got, waits = b"", 0
        while len(got) < gone and waits < 2000:
            got += hand.received()
            hand.flow.upstream_lane.happened(select.EPOLLOUT)
            hand.turn(USUAL)
            await trio.sleep(0.001)  # the sink's kernel waits for acknowledgements
            waits += 1
        assert got == HUGE[:gone]
        assert lane.moved_bytes == gone
