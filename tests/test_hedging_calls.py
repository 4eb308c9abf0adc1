"""World. Hedged calls by real sockets: who is silent costs a call a moment, and no byte goes astray."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from meshtrio.config.identity import Mtls
from meshtrio.config.schema import Timeouts
from meshtrio.config.traffic import Retries, Traffic
from meshtrio.outcome import Outcome
from tests.support.rings import SERVER, ring
from tests.support.scene import Scene, on_its_way, only_ending, recorded, scene
from tests.support.secured import identify, meshed
from tests.support.worker_side import VIP, found, is_reset, serving, silent, talk
from tests.test_attempts import failures, is_at_rest, web

pytestmark = pytest.mark.kernel
LONG = Timeouts(connect_s=8, connect_try_s=8, idle_s=0)
"""Longer than any of these tests waits, unless something hangs."""


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    with recorded() as seen:
        yield seen


def hedging(made: Scene, timeouts: Timeouts = LONG, **more: Any) -> None:
    retries = Retries(**{"hedge_after_s": 0.05, **more})
    made.configure(traffic=Traffic(retries=retries, slow_start_s=0), timeouts=timeouts)


async def test_who_is_silent_costs_a_moment(records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        hedging(made)
        with silent() as nobody, trio.fail_after(5):
            made.catalog[VIP] = found(nobody, server)
            async with on_its_way(made) as client:
                assert await talk(client, b"hello") == b"hello"
        ending = only_ending(made, records)
        assert (ending.outcome, ending.endpoint) == (Outcome.CARRIED, str(server))
        assert (web(made).budget.allowed, web(made).hedges, web(made).hedges_won) == (1, 1, 1)
        assert failures(made) == 0
        assert is_at_rest(web(made))


async def test_without_it_the_call_ends_with_the_silent_one(records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        hedging(made, Timeouts(connect_s=0.5, connect_try_s=0.5, idle_s=0), hedge_after_s=0)
        with silent() as nobody:
            made.catalog[VIP] = found(nobody, server)
            async with on_its_way(made) as client:
                assert await is_reset(client)
        assert only_ending(made, records).outcome is Outcome.CONNECT_TIMEOUT
        assert failures(made) == 1


async def test_hedges_are_bounded_by_the_budget(records: list[dict[str, Any]]) -> None:
    """Two of three endpoints are silent, and in ten seconds there is one retry."""
    async with scene() as made, serving() as server:
        short = Timeouts(connect_s=0.3, connect_try_s=0.3, idle_s=0)
        hedging(made, short, budget_percent=0, budget_per_s=0.1)
        with silent() as one, silent() as other:
            made.catalog[VIP] = found(one, other, server)
            for _ in range(6):
                async with on_its_way(made) as client:
                    with contextlib.suppress(trio.BrokenResourceError):
                        await talk(client, b"hello")
        outcomes = [record["outcome"] for record in records]
        assert outcomes.count("carried") in (2, 3), (
            "turns that begin at who answers, and perhaps the one hedge"
        )
        assert (web(made).hedges, web(made).budget.allowed) == (1, 1)
        assert web(made).budget.denied >= 3
        assert is_at_rest(web(made))


async def test_a_handshake_that_hangs_is_hedged_too(records: list[dict[str, Any]]) -> None:
    heard = []

    async def mute(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            async for words in stream:
                heard.append(words)

    context = ring().proof(SERVER).server

    async def secure_echo(stream: trio.SocketStream) -> None:
        sealed = trio.SSLStream(stream, context, server_side=True)
        async for words in sealed:
            await sealed.send_all(words)
        await sealed.aclose()

    async with scene() as made, serving(mute) as hangs, serving(secure_echo) as server:
        identify(made)
        hedging(made)
        made.configure(mtls=Mtls(handshake_s=8))
        made.catalog[VIP] = meshed(found(hangs, server))
        async with on_its_way(made) as client:
            assert await talk(client, b"hello") == b"hello"
        ending = only_ending(made, records)
        assert (ending.outcome, ending.endpoint) == (Outcome.CARRIED, str(server))
        assert ending.tls == "TLSv1.3"
        assert len(heard) == 1, "a ClientHello, and no word of the client"
        assert b"hello" not in heard[0]
        assert failures(made) == 0
        assert is_at_rest(web(made))


async def test_a_handshake_that_fails_leaves_the_call_to_the_hedge(records: list[dict[str, Any]]) -> None:
    """The first one fails when the hedge is under way, and the hedge is silent for a while."""
    hedged = trio.Event()

    async def hangs_up(stream: trio.SocketStream) -> None:
        await hedged.wait()
        await stream.aclose()

    context = ring().proof(SERVER).server

    async def slow_echo(stream: trio.SocketStream) -> None:
        hedged.set()
        while not failures(made):
            await trio.sleep(0.001)
        sealed = trio.SSLStream(stream, context, server_side=True)
        await sealed.send_all(await sealed.receive_some())
        await sealed.aclose()

    async with scene() as made, serving(hangs_up) as fails, serving(slow_echo) as server:
        identify(made)
        hedging(made)
        made.catalog[VIP] = meshed(found(fails, server))
        async with on_its_way(made) as client, client:
            await client.send_all(b"hello")
            assert await client.receive_some() == b"hello"
        assert (web(made).budget.allowed, web(made).hedges_won, failures(made)) == (1, 1, 1)
        assert is_at_rest(web(made))


class CancelAtStep(trio.abc.Instrument):
    """Cancels the connection of a scene when the n-th step of it or of one of its tries begins."""

    def __init__(self, made: Scene, step: int) -> None:
        self.made, self.left = made, step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.endswith(("Scene.carry_one", "first_to_stand.<locals>.run")):
            self.left -= 1
            if self.left == 0:
                self.made.scope.cancel()


async def test_cancelled_at_any_step_everything_is_closed(records: list[dict[str, Any]]) -> None:
    outcomes = []
    for step in range(1, 60):
        records.clear()
        before = len(os.listdir("/proc/self/fd"))
        async with scene() as made, serving() as server:
            hedging(made, hedge_after_s=0.02)
            with silent() as nobody:
                made.catalog[VIP] = found(nobody, server)
                instrument = CancelAtStep(made, step)
                trio.lowlevel.add_instrument(instrument)
                async with on_its_way(made) as client:
                    with contextlib.suppress(trio.BrokenResourceError):
                        await talk(client, b"hello")
                    await client.aclose()
                trio.lowlevel.remove_instrument(instrument)
            port = made.site.ports.known("default/web:http")
            assert port is None or is_at_rest(port), f"cancelled at step {step}"
            outcomes.append(only_ending(made, records).outcome)
        assert len(os.listdir("/proc/self/fd")) == before, f"cancelled at step {step}"
        if instrument.left > 0:
            break
    assert outcomes[-1] is Outcome.CARRIED, "the last run is the one that was not cancelled"
    assert {*outcomes[:-1]} <= {Outcome.DRAINED, Outcome.CARRIED}
    assert outcomes.count(Outcome.DRAINED) >= 6


async def test_where_two_may_stand_one_gets_all_bytes_and_the_other_none(
    records: list[dict[str, Any]],
) -> None:
    heard: dict[str, bytes] = {"one": b"", "other": b""}

    def listens(name: str) -> Any:
        async def hear(stream: trio.SocketStream) -> None:
            async for words in stream:
                heard[name] += words
            await stream.send_eof()

        return hear

    async with scene() as made, serving(listens("one")) as one, serving(listens("other")) as other:
        hedging(made, hedge_after_s=1e-6)
        made.catalog[VIP] = found(one, other)
        for _ in range(4):
            async with on_its_way(made) as client:
                assert await talk(client, b"hello") == b""
        assert b"".join(heard.values()) == 4 * b"hello"
        assert is_at_rest(web(made))
