"""World. The way of a connection through a real door to real servers; the test plays the agent."""

import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import pytest
import trio

from meshtrio.balance.breaker_table import WHOLE
from meshtrio.config.identity import Mtls, Policy
from meshtrio.config.schema import Limits
from meshtrio.messages import KnowBreakers
from meshtrio.outcome import Outcome
from meshtrio.way import carry
from tests.forward.peers import abort
from tests.support.scene import QUICK, REQUEST, Scene, on_its_way, only_ending, recorded, scene
from tests.support.secured import client_hello, identify, inbound, meshed
from tests.support.worker_side import (
    SHOP,
    VIP,
    address_of,
    arrived,
    door_in,
    found,
    is_reset,
    refusing,
    serving,
    silent,
    talk,
)

pytestmark = pytest.mark.kernel


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    with recorded() as seen:
        yield seen


# Each outcome


async def carried(made: Scene) -> None:
    async with serving() as server:
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            assert await talk(client, REQUEST) == REQUEST


async def client_reset(made: Scene) -> None:
    async with serving() as server:
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            await client.send_all(b"x")
            assert await client.receive_some() == b"x"
            abort(client.socket)


async def upstream_reset(made: Scene, says: bytes = b"x") -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.send_all(says)
        await stream.receive_some()
        abort(stream.socket)

    async with serving(hang_up) as server:
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            assert not says or await client.receive_some() == says
            await client.send_all(b"x")
            assert await is_reset(client)


async def connect_failed(made: Scene) -> None:
    with refusing() as one, refusing() as other:
        made.catalog[VIP] = found(one, other)
        async with on_its_way(made) as client:
            assert await is_reset(client)


async def connect_timeout(made: Scene) -> None:
    with silent() as one, silent() as other:
        made.catalog[VIP] = found(one, other)
        async with on_its_way(made) as client:
            assert await is_reset(client)


async def no_endpoint(made: Scene) -> None:
    made.catalog[VIP] = found()
    async with on_its_way(made) as client:
        assert await is_reset(client)


async def breaker_open(made: Scene) -> None:
    made.site.breakers.learn(KnowBreakers("default/web:http", {}, {WHOLE: "open"}))
    async with serving() as server:
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            assert await is_reset(client)


async def no_route(made: Scene) -> None:
    made.configure(passthrough="deny")
    async with on_its_way(made) as client:
        assert await is_reset(client)


async def no_destination(made: Scene) -> None:
    async with on_its_way(made, None) as client:
        assert await is_reset(client)


async def loop(made: Scene) -> None:
    async with on_its_way(made, made.at) as client:
        assert await is_reset(client)


async def limit(made: Scene) -> None:
    made.site.ledger.belongs(made.site.ledger.open("outbound", "ebpf", 0.0), SHOP.name)
    made.configure(limits=Limits(per_workload=1))
    async with on_its_way(made) as client:
        assert await is_reset(client)
    made.site.ledger._live.pop(1)


async def no_identity(made: Scene) -> None:
    async with serving() as server:
        made.catalog[VIP] = meshed(found(server))
        async with on_its_way(made) as client:
            assert await is_reset(client)


async def upstream_tls(made: Scene) -> None:
    identify(made)
    async with serving() as server:  # which repeats our ClientHello, and that is no ServerHello
        made.catalog[VIP] = meshed(found(server))
        async with on_its_way(made) as client:
            assert await is_reset(client)


async def client_tls(made: Scene) -> None:
    identify(made)
    await inbound(made, client_hello() + b"and then no more of TLS")


async def plaintext(made: Scene) -> None:
    made.site.settle(msgspec.structs.replace(made.site.config, mtls=Mtls(mode="strict")))
    await inbound(made, REQUEST)


async def denied(made: Scene) -> None:
    made.site.settle(msgspec.structs.replace(made.site.config, policy=Policy(default="deny")))
    await inbound(made, REQUEST)


async def idle(made: Scene) -> None:
    made.configure(timeouts=msgspec.structs.replace(QUICK, idle_s=0.05))
    async with serving() as server:
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            assert await is_reset(client)


async def drained(made: Scene) -> None:
    async with serving() as server:
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            await client.send_all(b"x")
            assert await client.receive_some() == b"x"
            made.scope.cancel()
            assert await is_reset(client)


async def our_bug(made: Scene) -> None:
    made.site._routes = object()  # type: ignore[assignment]
    async with on_its_way(made) as client:
        assert await is_reset(client)
    assert isinstance(made.bug, AttributeError)


EACH: dict[Outcome, Callable[[Scene], Awaitable[None]]] = {
    Outcome.CARRIED: carried,
    Outcome.CLIENT_RESET: client_reset,
    Outcome.UPSTREAM_RESET: upstream_reset,
    Outcome.UPSTREAM_RESET_EARLY: partial(upstream_reset, says=b""),
    Outcome.CONNECT_FAILED: connect_failed,
    Outcome.CONNECT_TIMEOUT: connect_timeout,
    Outcome.NO_ENDPOINT: no_endpoint,
    Outcome.BREAKER_OPEN: breaker_open,
    Outcome.NO_ROUTE: no_route,
    Outcome.NO_DESTINATION: no_destination,
    Outcome.LOOP: loop,
    Outcome.LIMIT: limit,
    Outcome.NO_IDENTITY: no_identity,
    Outcome.UPSTREAM_TLS: upstream_tls,
    Outcome.CLIENT_TLS: client_tls,
    Outcome.PLAINTEXT: plaintext,
    Outcome.DENIED: denied,
    Outcome.IDLE: idle,
    Outcome.DRAINED: drained,
    Outcome.OUR_BUG: our_bug,
}


@pytest.mark.parametrize("outcome", Outcome)
async def test_every_outcome_is_reached_and_told_once(
    outcome: Outcome, records: list[dict[str, Any]]
) -> None:
    async with scene() as made:
        await EACH[outcome](made)
        ended = only_ending(made, records)
    assert ended.outcome is outcome
    assert (made.bug is not None) == (outcome is Outcome.OUR_BUG)


# What the entry says


async def test_the_entry_of_a_carried_connection_says_everything(records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            source = client.socket.getsockname()
            await talk(client, REQUEST)
        ended = only_ending(made, records)
    assert made.asked == [VIP]
    assert (ended.workload, ended.direction, ended.rung) == ("shop", "outbound", "ebpf")
    assert (ended.source, ended.destination) == (f"{source[0]}:{source[1]}", str(VIP))
    assert (ended.service, ended.endpoint) == ("default/web", str(server))
    assert (ended.protocol, ended.sni) == ("http1", "")
    assert (ended.sent_bytes, ended.received_bytes) == (len(REQUEST), len(REQUEST))
    assert records[0]["flag"] == "-"


async def test_a_server_may_speak_first(records: list[dict[str, Any]]) -> None:
    async def greet(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"220 hello\r\n")
            await stream.receive_some()

    async with scene() as made, serving(greet) as server:
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            assert await client.receive_some() == b"220 hello\r\n"
            assert await talk(client, b"QUIT\r\n") == b""
        ended = only_ending(made, records)
    assert (ended.outcome, ended.protocol) == (Outcome.CARRIED, "tcp")


async def test_what_is_no_service_is_dialled_itself(records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        async with on_its_way(made, server) as client:
            assert await talk(client, b"hello") == b"hello"
        ended = only_ending(made, records)
    assert (ended.outcome, ended.service, ended.endpoint) == (Outcome.CARRIED, "", str(server))


async def test_without_an_agent_the_policy_decides(records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        made.site.interest.alone = True
        async with on_its_way(made, server) as client:
            assert await talk(client, b"hello") == b"hello"
        only_ending(made, records)
        made.configure(passthrough="deny")
        records.clear()
        async with on_its_way(made, server) as client:
            assert await is_reset(client)
        assert only_ending(made, records).outcome is Outcome.NO_ROUTE


async def test_a_kernel_that_cannot_say_who_is_near_is_a_failed_dial(
    records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with scene() as made, serving() as server:
        monkeypatch.setattr(made.site.neighbours, "find", find)
        made.catalog[VIP] = found(server)
        async with on_its_way(made) as client:
            assert await is_reset(client)
        ended = only_ending(made, records)
    assert (ended.outcome, made.bug) == (Outcome.CONNECT_FAILED, None)
    assert "Too many open files" in ended.detail


# Inbound


async def test_inbound_the_called_process_itself_is_dialled(records: list[dict[str, Any]]) -> None:
    async with scene() as made:
        netns = made.door.netns
        with (
            door_in(netns, made.maps, direction="inbound") as door,
            socket.create_server(("127.0.0.1", 0)) as app,
        ):
            app.setblocking(False)
            caller = await arrived(socket.socket(), address_of(app))
            # What sk_lookup would have given to the door: a connection with the app's address as its own.
            client, peer = app.accept()
            client.setblocking(False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carry, made.site, door, client, peer)
                await trio.lowlevel.wait_readable(app)
                dialled, source = app.accept()
                dialled.setblocking(False)
                assert source[0] == "127.0.0.6"
                nursery.start_soon(echoed, dialled)
                assert await talk(caller, b"hello") == b"hello"
            made.client = client
            assert made.maps.our_dials() == []
            ended = only_ending(made, records)
            assert ended.destination == str(address_of(app))
    assert (ended.direction, ended.outcome, ended.workload) == ("inbound", Outcome.CARRIED, "shop")


async def echoed(sock: socket.socket) -> None:
    async with trio.SocketStream(trio.socket.from_stdlib_socket(sock)) as stream:
        async for heard in stream:
            await stream.send_all(heard)


@pytest.mark.parametrize(
    ("gone", "outcome"), [(True, Outcome.CONNECT_FAILED), (False, Outcome.CONNECT_TIMEOUT)]
)
async def test_inbound_an_app_that_does_not_answer(
    gone: bool, outcome: Outcome, records: list[dict[str, Any]]
) -> None:
    async with scene() as made:
        with (
            door_in(made.door.netns, made.maps, direction="inbound") as door,
            contextlib.ExitStack() as stack,
        ):
            app = stack.enter_context(socket.socket())
            app.bind(("127.0.0.1", 0))
            app.listen(0)
            caller = await arrived(socket.socket(), address_of(app))
            made.client, peer = app.accept()
            made.client.setblocking(False)
            if gone:
                app.close()
            for _ in range(2 if not gone else 0):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(app.getsockname())
            await carry(made.site, door, made.client, peer)
            assert await is_reset(caller)
            assert made.maps.our_dials() == []
            assert only_ending(made, records).outcome is outcome


# Cancellation


class CancelAtStep(trio.abc.Instrument):
    """Cancels the connection of a scene when its task begins its n-th step."""

    def __init__(self, made: Scene, step: int) -> None:
        self.made, self.left = made, step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.endswith("Scene.carry_one"):
            self.left -= 1
            if self.left == 0:
                self.made.scope.cancel()


async def test_cancelled_at_any_step_everything_is_closed(records: list[dict[str, Any]]) -> None:
    outcomes = []
    for step in range(1, 40):
        records.clear()
        before = len(os.listdir("/proc/self/fd"))
        async with scene() as made, serving() as server:
            with refusing() as nobody:
                made.catalog[VIP] = found(nobody, server)
                instrument = CancelAtStep(made, step)
                trio.lowlevel.add_instrument(instrument)
                async with on_its_way(made) as client:
                    with contextlib.suppress(trio.BrokenResourceError):
                        await talk(client, REQUEST)
                    await client.aclose()
                trio.lowlevel.remove_instrument(instrument)
            outcomes.append(only_ending(made, records).outcome)
        assert len(os.listdir("/proc/self/fd")) == before, f"cancelled at step {step}"
        if instrument.left > 0:
            break
    assert outcomes[-1] is Outcome.CARRIED, "the last run is the one that was not cancelled"
    assert outcomes.count(Outcome.DRAINED) >= 4, "a Resolve, two dials, the relay"
