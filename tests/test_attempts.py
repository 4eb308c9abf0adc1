"""World. From a route to an endpoint that answers: retries, their budget, breakers, limits, keys."""

import itertools
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

from meshtrio.address import Address
from meshtrio.balance.breaker_table import WHOLE, State
from meshtrio.balance.port import Port
from meshtrio.config.schema import Timeouts
from meshtrio.config.traffic import Breaker, Retries, ServiceLimits, Traffic
from meshtrio.messages import KnowBreakers
from meshtrio.outcome import Outcome
from tests.support.scene import REQUEST, Scene, on_its_way, only_ending, recorded, scene
from tests.support.worker_side import VIP, found, is_reset, refusing, serving, silent, talk

pytestmark = pytest.mark.kernel
WEB = "default/web:http"
ONE_RETRY = Traffic(retries=Retries(attempts=1))
PATIENT = Timeouts(connect_s=2, connect_try_s=0.5, idle_s=0)


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    with recorded() as seen:
        yield seen


def web(made: Scene) -> Port:
    port = made.site.ports.known(WEB)
    assert port is not None
    return port


def is_at_rest(port: Port) -> bool:
    """Say whether everything that was held has been given back."""
    held = [member.active for member in port.balancer.members.values()]
    return (port.pending, port.balancer.active, sum(held)) == (0, 0, 0)


def failures(made: Scene) -> int:
    """Say how many failures in a row the breakers of all endpoints have seen."""
    return sum(breaker.run for breaker in web(made).breakers.states(0.0).values())


@asynccontextmanager
async def named(*names: bytes) -> AsyncIterator[list[Address]]:
    """Serve once for each name: whoever calls hears it."""

    async def one(stack: AsyncExitStack, name: bytes) -> Address:
        async def say(stream: trio.SocketStream) -> None:
            await stream.send_all(name)
            await stream.send_eof()

        return await stack.enter_async_context(serving(say))

    async with AsyncExitStack() as stack:
        yield [await one(stack, name) for name in names]


async def resetting(stream: trio.SocketStream) -> None:
    await stream.receive_some(1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@pytest.mark.parametrize("attempts", [0, 1, 3])
async def test_one_that_refuses_is_tried_so_often(attempts: int, records: list[dict[str, Any]]) -> None:
    async with scene() as made:
        made.configure(traffic=Traffic(retries=Retries(attempts=attempts)), timeouts=PATIENT)
        with refusing() as nobody:
            made.catalog[VIP] = found(nobody)
            async with on_its_way(made) as client:
                assert await is_reset(client)
        assert only_ending(made, records).outcome is Outcome.CONNECT_FAILED
        assert failures(made) == 1 + attempts
        assert is_at_rest(web(made))


async def test_no_retry_without_budget(records: list[dict[str, Any]]) -> None:
    async with scene() as made:
        retries = Retries(attempts=5, budget_percent=0, budget_per_s=0.1)
        made.configure(traffic=Traffic(retries=retries), timeouts=PATIENT)
        with refusing() as nobody:
            made.catalog[VIP] = found(nobody)
            async with on_its_way(made) as client:
                assert await is_reset(client)
        assert "the retry budget of default/web:http is spent" in only_ending(made, records).detail
        assert failures(made) == 2, "0.1 a second is one in ten seconds"


async def test_who_fails_again_and_again_is_left_alone(records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        made.configure(traffic=Traffic(breaker=Breaker(consecutive=2)), timeouts=PATIENT)
        with refusing() as nobody:
            made.catalog[VIP] = found(nobody, server)
            for _ in range(10):
                async with on_its_way(made) as client:
                    assert await talk(client, b"hello") == b"hello"
            breakers = web(made).breakers.states(0.0)
            assert {name: breaker.state for name, breaker in breakers.items()} == {"e0": State.OPEN}
        assert [record["outcome"] for record in records] == 10 * ["carried"]
        assert is_at_rest(web(made))


async def test_a_reset_before_an_answer_is_a_failure_and_one_after_it_is_none(
    records: list[dict[str, Any]],
) -> None:
    async with scene() as made, serving(resetting) as server:
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            await client.send_all(b"x")
            assert await is_reset(client)
        assert only_ending(made, records).outcome is Outcome.UPSTREAM_RESET_EARLY
        assert failures(made) == 1

    async def answering(stream: trio.SocketStream) -> None:
        await stream.send_all(b"y")
        await resetting(stream)

    records.clear()
    async with scene() as made, serving(answering) as server:
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            assert await client.receive_some(1) == b"y"
            await client.send_all(b"x")
            assert await is_reset(client)
        assert only_ending(made, records).outcome is Outcome.UPSTREAM_RESET
        assert failures(made) == 0


async def test_what_is_cancelled_gives_back_what_it_held() -> None:
    async with scene() as made:
        made.configure(timeouts=Timeouts())
        with silent() as nobody:
            made.catalog[VIP] = found(nobody)
            async with on_its_way(made) as client:
                while made.site.ports.known(WEB) is None or not web(made).balancer.active:
                    await trio.sleep(0.001)
                made.scope.cancel()
                assert await is_reset(client)
        assert is_at_rest(web(made))
        assert failures(made) == 0, "nobody knows what would have become of it"


async def test_silence_until_the_deadline_of_all_tries_is_a_failure() -> None:
    async with scene() as made:
        made.configure(timeouts=Timeouts(connect_s=0.1, connect_try_s=60))
        with silent() as nobody:
            made.catalog[VIP] = found(nobody)
            async with on_its_way(made) as client:
                assert await is_reset(client)
        assert failures(made) == 1


async def test_who_says_no_says_more_than_who_is_silent(records: list[dict[str, Any]]) -> None:
    for order in (1, -1):
        async with scene() as made:
            made.configure(timeouts=Timeouts(connect_s=1, connect_try_s=0.05), traffic=ONE_RETRY)
            with refusing() as one, silent() as other:
                made.catalog[VIP] = found(*(one, other)[::order])
                async with on_its_way(made) as client:
                    assert await is_reset(client)
            assert only_ending(made, records).outcome is Outcome.CONNECT_FAILED
        records.clear()


async def test_a_retry_goes_elsewhere_also_where_the_key_leads_to_one(records: list[dict[str, Any]]) -> None:
    for order in (1, -1):
        async with scene() as made, serving() as server:
            made.configure(timeouts=PATIENT, traffic=msgspec.structs.replace(ONE_RETRY, algorithm="maglev"))
            with refusing() as nobody:
                made.catalog[VIP] = found(*(server, nobody)[::order])
                async with on_its_way(made) as client:
                    assert await talk(client, b"hello") == b"hello"
            assert is_at_rest(web(made))


async def test_what_is_no_service_has_the_same_deadline(records: list[dict[str, Any]]) -> None:
    async with scene() as made:
        made.configure(timeouts=Timeouts(connect_s=0.1, connect_try_s=60))
        with silent() as nobody:
            async with on_its_way(made, nobody) as client:
                assert await is_reset(client)
        assert only_ending(made, records).outcome is Outcome.CONNECT_TIMEOUT


@pytest.mark.parametrize("limit", ["connections", "per_endpoint"])
async def test_a_service_has_limits_of_its_own(limit: str, records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        made.configure(traffic=Traffic(limits=ServiceLimits(**{limit: 1})), timeouts=PATIENT)
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as first:
            await first.send_all(b"x")
            assert await first.receive_some(1) == b"x"
            async with on_its_way(made) as second:
                assert await is_reset(second)
            await first.aclose()
        async with on_its_way(made) as third:
            assert await talk(third, b"hello") == b"hello"
        assert records[0]["outcome"] == "limit"
        assert f"traffic.limits.{limit}" in records[0]["detail"]


async def test_forced_open_it_says_so_and_forced_closed_it_carries(records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        made.catalog[VIP] = found(server)
        made.site.breakers.learn(KnowBreakers(WEB, {}, {WHOLE: "open"}))
        async with on_its_way(made) as client:
            assert await is_reset(client)
        made.site.breakers.learn(KnowBreakers(WEB, {}, {}))
        async with on_its_way(made) as client:
            assert await talk(client, b"hello") == b"hello"
        assert [record["outcome"] for record in records] == ["breaker_open", "carried"]


@pytest.mark.parametrize("algorithm", ["consistent_hash", "maglev"])
async def test_the_same_cookie_leads_to_the_same_endpoint(algorithm: Any) -> None:
    async with scene() as made, named(b"a", b"b", b"c") as addresses:
        made.configure(traffic=Traffic(algorithm=algorithm, hash_key="cookie:who"), timeouts=PATIENT)
        made.catalog[VIP] = found(*addresses)

        async def ask(who: int) -> bytes:
            async with on_its_way(made) as client:
                return await talk(client, REQUEST[:-2] + b"Cookie: who=%d\r\n\r\n" % who)

        heard = [{await ask(who) for _ in range(3)} for who in range(12)]
        assert all(len(names) == 1 for names in heard)
        assert set(itertools.chain(*heard)) == {b"a", b"b", b"c"}


async def test_who_waits_for_the_server_is_balanced_without_a_key() -> None:
    async with scene() as made, named(b"a", b"b") as addresses:
        made.configure(traffic=Traffic(algorithm="maglev", hash_key="sni"), timeouts=PATIENT)
        made.catalog[VIP] = found(*addresses)
        heard = set()
        for _ in range(2):
            async with on_its_way(made) as client:
                heard.add(await client.receive_some(1))
                await client.aclose()
        assert heard == {b"a", b"b"}
        assert web(made).balancer.remarks == {"no_key": 2}
