"""The table of ends, line by line: the same script on a plain connection and through the relay."""

import select
import socket
import weakref

import pytest
import trio

from meshtrio.forward.flow import Ending, Flow
from meshtrio.forward.relay import Relay
from meshtrio.forward.workbench import RelayLimits, Workbench
from meshtrio.outcome import Outcome
from tests.forward.peers import FIN, RESET, Pair, abort, direct, pair, read, until_acked, write
from tests.forward.scenarios import (
    A_RESETS,
    ANY_RESET,
    BIG,
    BOTH_FINS,
    SMALL,
    TABLE,
    Scenario,
    fin_then_answer,
)

LIMITS = RelayLimits(drain_s=0.25)


async def through_the_relay(scenario: Scenario, *, family: int, a_is_client: bool) -> tuple[object, Ending]:
    client, server = pair(family), pair(family)
    endings: list[Ending] = []
    relay = Relay(LIMITS)

    async def carry() -> None:
        endings.append(await relay.carry(client.ours, server.ours, idle_s=0))

    async with trio.open_nursery() as outer:
        await outer.start(relay.run)
        with client.app, server.app:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carry)
                a, b = (client.app, server.app) if a_is_client else (server.app, client.app)
                seen = await scenario(a, b)
        assert not relay.flows
        outer.cancel_scope.cancel()
    assert client.ours.fileno() == server.ours.fileno() == -1
    return seen, endings[0]


async def unmeshed(scenario: Scenario, *, family: int) -> object:
    a, b = direct(family)
    with a, b:
        return await scenario(a, b)


@pytest.mark.parametrize("a_is_client", [True, False], ids=["client", "upstream"])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
@pytest.mark.parametrize(("scenario", "ends"), TABLE, ids=lambda value: getattr(value, "__name__", ""))
async def test_ends_are_as_unmeshed(scenario: Scenario, ends: str, family: int, a_is_client: bool) -> None:
    with trio.fail_after(10):
        expected = await unmeshed(scenario, family=family)
        seen, ending = await through_the_relay(scenario, family=family, a_is_client=a_is_client)
    assert seen == expected
    upstream = Outcome.UPSTREAM_RESET if ending.received_bytes else Outcome.UPSTREAM_RESET_EARLY
    a_reset, b_reset = Outcome.CLIENT_RESET, upstream
    if not a_is_client:
        a_reset, b_reset = b_reset, a_reset
    assert (
        ending.outcome
        in {
            BOTH_FINS: {Outcome.CARRIED},
            A_RESETS: {a_reset},
            ANY_RESET: {a_reset, b_reset},
        }[ends]
    )


async def test_bytes_are_counted_by_direction() -> None:
    seen, ending = await through_the_relay(fin_then_answer, family=socket.AF_INET, a_is_client=True)
    assert seen == ((SMALL, FIN), (BIG, FIN))
    assert ending == Ending(Outcome.CARRIED, sent_bytes=len(SMALL), received_bytes=len(BIG))


def joined(client: Pair, upstream: Pair) -> Flow:
    return Flow(client.ours, upstream.ours, bench=Workbench(LIMITS), heed=lambda flow: None)


async def test_error_taken_by_our_write_is_no_fin() -> None:
    """The write to the dead side takes ECONNRESET away; the next read there says "nothing", as for FIN."""
    client, upstream = pair(socket.AF_INET), pair(socket.AF_INET)
    with client.app:
        flow = joined(client, upstream)
        await write(upstream.app, SMALL)
        await write(client.app, SMALL)
        abort(upstream.app)
        flow.client_lane.happened(select.EPOLLIN | select.EPOLLOUT)
        flow.cut()
        assert await read(client.app) == (SMALL, RESET)
    assert flow.ending == Ending(Outcome.UPSTREAM_RESET, sent_bytes=0, received_bytes=len(SMALL))


async def test_fin_behind_which_our_write_finds_a_reset_is_a_fin() -> None:
    client, upstream = pair(socket.AF_INET), pair(socket.AF_INET)
    with client.app:
        flow = joined(client, upstream)
        await write(upstream.app, SMALL)
        upstream.app.shutdown(socket.SHUT_WR)
        await write(client.app, SMALL)
        await until_acked(upstream.app)
        abort(upstream.app)
        flow.client_lane.happened(select.EPOLLIN | select.EPOLLOUT)
        flow.cut()
        assert await read(client.app) == (SMALL, FIN)
    assert flow.ending == Ending(Outcome.UPSTREAM_RESET, sent_bytes=0, received_bytes=len(SMALL))


async def test_error_taken_by_someone_before_us_is_no_fin() -> None:
    """Epoll then shows HUP without ERR, and reads say "nothing"."""
    client, upstream = pair(socket.AF_INET), pair(socket.AF_INET)
    with client.app:
        abort(upstream.app)
        assert upstream.ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        flow = joined(client, upstream)
        flow.upstream_lane.happened(select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLHUP)
        flow.cut()
        assert await read(client.app) == (b"", RESET)


async def test_a_dead_flow_gives_its_memory_back_without_the_collector() -> None:
    client, upstream = pair(socket.AF_INET), pair(socket.AF_INET)
    with client.app, upstream.app:
        flow = joined(client, upstream)
        lane = weakref.ref(client.ours)
        flow.cut()
        flow.forget()
        client, upstream = Pair(client.app, None), Pair(upstream.app, None)  # type: ignore[arg-type]
        del flow
        assert lane() is None
