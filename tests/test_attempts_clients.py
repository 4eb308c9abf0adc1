"""World. Clients and moments at their worst, while an endpoint is chosen and held: the books stay right."""

import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import Any

import pytest
import trio

from meshtrio import attempts, caller_key
from meshtrio.address import Address
from meshtrio.balance.breaker_table import WHOLE, State
from meshtrio.balance.hashing import key_hash
from meshtrio.balance.hearsay import Stand
from meshtrio.config.schema import Timeouts
from meshtrio.config.traffic import Breaker, Retries, Traffic
from meshtrio.messages import KnowBreakers, Resolved
from meshtrio.outcome import Outcome
from tests.forward.peers import abort
from tests.support.scene import REQUEST, Scene, on_its_way, only_ending, recorded, scene
from tests.support.secured import identify
from tests.support.worker_side import SHOP, VIP, found, is_reset, refusing, serving, talk
from tests.test_attempts import is_at_rest, web
from tests.test_way import CancelAtStep

pytestmark = pytest.mark.kernel
STICKY = Traffic(algorithm="maglev", hash_key="cookie:who", slow_start_s=0)
COOKIE = REQUEST[:-2] + b"Cookie: who=me\r\n\r\n"


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    with recorded() as seen:
        yield seen


def no_permits(made: Scene) -> bool:
    return not any(breaker.permits for breaker in web(made).breakers.states(0.0).values())


@pytest.mark.parametrize("traffic", [Traffic(slow_start_s=0), STICKY], ids=["turns", "sticky"])
async def test_cancelled_at_any_step_nothing_is_held(traffic: Traffic, records: list[dict[str, Any]]) -> None:
    """Of two endpoints one refuses and one is half open, so both kinds of claim are there to be lost."""
    outcomes = []
    for step in range(1, 60):
        records.clear()
        before = len(os.listdir("/proc/self/fd"))
        async with scene() as made, serving() as server:
            made.configure(traffic=traffic, timeouts=Timeouts(idle_s=0))
            with refusing() as nobody:
                made.catalog[VIP] = found(nobody, server)
                made.site.ports.of(made.catalog[VIP].service, "http")
                half_open(made)
                instrument = CancelAtStep(made, step)
                trio.lowlevel.add_instrument(instrument)
                async with on_its_way(made) as client:
                    with contextlib.suppress(trio.BrokenResourceError):
                        await talk(client, COOKIE)
                    await client.aclose()
                trio.lowlevel.remove_instrument(instrument)
            assert is_at_rest(web(made)), f"cancelled at step {step}"
            assert no_permits(made), f"cancelled at step {step}"
            outcomes.append(only_ending(made, records).outcome)
        assert len(os.listdir("/proc/self/fd")) == before, f"cancelled at step {step}"
        if instrument.left > 0:
            break
    assert outcomes[-1] is Outcome.CARRIED, "the last run is the one that was not cancelled"
    assert outcomes.count(Outcome.DRAINED) >= 4


def half_open(made: Scene) -> None:
    """Let the breaker of e1 be due."""
    news = {"e1": Stand(1.0, True, 2.0, 1)}
    made.site.breakers.learn(KnowBreakers("default/web:http", news, {}))
    assert web(made).breakers.states(3.0)["e1"].state is State.HALF_OPEN


async def drips(client: trio.SocketStream) -> None:
    for at in range(len(COOKIE)):
        await client.send_all(COOKIE[at : at + 1])
        await trio.sleep(0.001)
    await client.send_eof()


async def hesitates(client: trio.SocketStream) -> None:
    await client.send_all(COOKIE[:7])
    await trio.sleep(3 * caller_key.FIRST_BYTES_S)
    await client.send_all(COOKIE[7:])
    await client.send_eof()


async def says_it_and_ends(client: trio.SocketStream) -> None:
    await client.send_all(COOKIE)
    await client.send_eof()


@pytest.mark.parametrize("says", [drips, hesitates, says_it_and_ends])
async def test_no_byte_is_lost_however_the_key_comes(
    says: Callable[[trio.SocketStream], Awaitable[None]], records: list[dict[str, Any]]
) -> None:
    async with scene() as made, serving() as server:
        made.configure(traffic=STICKY, timeouts=Timeouts())
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client, client:
            await says(client)
            heard = b""
            async for piece in client:
                heard += piece
        assert heard == COOKIE
        assert only_ending(made, records).outcome is Outcome.CARRIED
        assert web(made).balancer.remarks == ({"no_key": 1} if says is hesitates else {})
        assert is_at_rest(web(made))


async def test_who_drips_without_end_is_balanced_without_a_key(
    records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_key, "KEY_S", 0.1)
    async with scene() as made, serving() as server:
        made.configure(traffic=STICKY, timeouts=Timeouts())
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client, client:
            while not web_is_known(made) or not web(made).balancer.active:
                await client.send_all(b"G")
                await trio.sleep(0.01)
            await client.send_eof()
            while await client.receive_some():
                pass
        assert only_ending(made, records).outcome is Outcome.CARRIED
        assert web(made).balancer.remarks == {"no_key": 1}


def web_is_known(made: Scene) -> bool:
    return made.site.ports.known("default/web:http") is not None


@pytest.mark.parametrize("says", [b"", COOKIE[:9]])
async def test_who_resets_before_the_key_is_gone_and_no_endpoint_is_blamed(
    says: bytes, records: list[dict[str, Any]]
) -> None:
    async with scene() as made, serving() as server:
        made.configure(traffic=STICKY, timeouts=Timeouts())
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            await client.send_all(says)
            await trio.sleep(0.01)
            abort(client.socket)
        assert only_ending(made, records).outcome is Outcome.CLIENT_RESET
        assert web(made).breakers.states(0.0) == {}
        assert is_at_rest(web(made))


async def test_who_ends_before_the_key_is_carried(records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        made.configure(traffic=STICKY, timeouts=Timeouts())
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            assert await talk(client, b"") == b""
        assert only_ending(made, records).outcome is Outcome.CARRIED
        assert is_at_rest(web(made))


async def test_what_is_held_outlives_settings_endpoints_and_the_operator(
    records: list[dict[str, Any]],
) -> None:
    async with scene() as made, serving() as server, serving() as other:
        made.configure(traffic=Traffic(slow_start_s=0), timeouts=Timeouts())
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client, client:
            await client.send_all(b"x")
            assert await client.receive_some(1) == b"x"
            made.configure(traffic=Traffic(algorithm="peak_ewma", breaker=Breaker(enabled=False)))
            made.site.interest.learn(Resolved(VIP, found()))
            made.site.interest.learn(Resolved(VIP, found(other)))  # the same id, elsewhere
            made.site.breakers.learn(KnowBreakers("default/web:http", {}, {WHOLE: "open"}))
            await client.send_all(b"y")
            assert await client.receive_some(1) == b"y"
            async with on_its_way(made) as second:
                assert await is_reset(second)
            made.site.breakers.learn(KnowBreakers("default/web:http", {}, {}))
            async with on_its_way(made) as third:
                assert await talk(third, b"z") == b"z"
            assert web(made).balancer.active == 1
            await client.send_eof()
            assert await client.receive_some(1) == b""
        assert [record["outcome"] for record in records] == ["breaker_open", "carried", "carried"]
        assert records[1]["endpoint"] == str(other)
        assert records[2]["endpoint"] == str(server)
        assert is_at_rest(web(made))


async def test_what_is_offered_earns_retries(records: list[dict[str, Any]]) -> None:
    async with scene() as made:
        retries = Retries(attempts=5, budget_percent=100, budget_per_s=0)
        made.configure(traffic=Traffic(retries=retries), timeouts=Timeouts())
        with refusing() as nobody:
            made.catalog[VIP] = found(nobody)
            async with on_its_way(made) as client:
                assert await is_reset(client)
        assert "the retry budget of default/web:http is spent" in only_ending(made, records).detail
        assert web(made).breakers.states(0.0)["e0"].run == 2, "one call, so one retry"


async def test_where_all_were_tried_the_next_try_waits(records: list[dict[str, Any]]) -> None:
    async with scene() as made:
        retries = Retries(attempts=5, base_s=60, max_s=60)
        made.configure(traffic=Traffic(retries=retries), timeouts=Timeouts(connect_s=0.2))
        made.site.luck = Half()
        with refusing() as nobody:
            made.catalog[VIP] = found(nobody)
            async with on_its_way(made) as client:
                assert await is_reset(client)
        assert only_ending(made, records).outcome is Outcome.CONNECT_FAILED
        assert web(made).breakers.states(0.0)["e0"].run == 1
        assert is_at_rest(web(made))


class Half(Random):
    def random(self) -> float:
        return 0.5


async def test_what_is_our_own_fault_is_not_the_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with scene() as made, serving() as server:
        monkeypatch.setattr(made.site.neighbours, "find", find)
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            assert await is_reset(client)
        assert web(made).breakers.states(0.0) == {}
        assert is_at_rest(web(made))


async def test_a_breaker_that_opens_amid_the_tries_does_not_hide_why(records: list[dict[str, Any]]) -> None:
    async with scene() as made:
        made.configure(traffic=Traffic(breaker=Breaker(consecutive=1)), timeouts=Timeouts())
        with refusing() as nobody:
            made.catalog[VIP] = found(nobody)
            async with on_its_way(made) as client:
                assert await is_reset(client)
        assert only_ending(made, records).outcome is Outcome.CONNECT_FAILED
        assert web(made).breakers.blocked(0.0) == {"e0"}


async def test_only_algorithms_that_hash_wait_for_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async def greet(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220")

    monkeypatch.setattr(caller_key, "FIRST_BYTES_S", 60)
    monkeypatch.setattr(caller_key, "KEY_S", 60)
    async with scene() as made, serving(greet) as server:
        made.configure(traffic=Traffic(hash_key="sni"), timeouts=Timeouts())
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client, client:
            assert await client.receive_some() == b"220"


@pytest.mark.parametrize("hash_key", ["source_ip", "spiffe_id"])
async def test_who_calls_can_be_the_key(hash_key: str) -> None:
    async with scene() as made:
        made.configure(traffic=Traffic(algorithm="maglev", hash_key=hash_key))
        port = made.site.ports.of(found().service, "http")
        entry = made.site.ledger.open("outbound", "ebpf", 0.0)
        client = Address.of("10.0.0.7", 1234)
        with socket.socket() as sock:
            arrival = attempts.Arrival(made.door, sock, client, entry)
            if hash_key == "spiffe_id":
                assert await attempts._key(made.site, arrival, SHOP, port) is None
                identify(made)
            key = await attempts._key(made.site, arrival, SHOP, port)
        identity = str(made.site.border.keyring.identity(SHOP.id)).encode()
        assert key == key_hash(client.ip if hash_key == "source_ip" else identity)
        made.site.ledger.close(entry, Outcome.CARRIED, 0.0)
