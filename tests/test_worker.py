"""World. A worker, told by a test that plays the agent: doors, drains, orphans, and too few descriptors."""

import contextlib
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from meshtrio.config.schema import Config
from meshtrio.intercept.netns import Netns
from meshtrio.messages import (
    CloseDoor,
    Drain,
    KnowWorkload,
    OpenDoor,
    Settings,
    WorkloadName,
)
from meshtrio.outcome import Outcome
from meshtrio.worker import ACCEPTS
from tests.support.agent_end import QUIET, settings, worker_in, worker_process
from tests.support.worker_side import (
    SHOP,
    VIP,
    address_of,
    door_in,
    found,
    hand_maps,
    is_reset,
    serving,
    talk,
)

pytestmark = pytest.mark.kernel


@pytest.fixture
def own_netns() -> Iterator[Netns]:
    with contextlib.closing(Netns.current()) as netns:
        yield netns


# What it is told


async def test_it_carries_and_tells(own_netns: Netns) -> None:
    async with worker_in(own_netns) as agent, serving() as server:
        agent.catalog[VIP] = found(server)
        door = await agent.open_door()
        async with await agent.dial(door) as client:
            await client.send_all(b"hello")
            assert await client.receive_some() == b"hello"
            [live] = (await agent.report(5)).connections
            assert (live.workload, live.endpoint, live.outcome) == ("shop", str(server), None)
            assert (live.sent_bytes, live.received_bytes) == (5, 5)
            assert await talk(client, b"") == b""
        while not agent.counts:
            await agent.heard.wait()
        [count] = agent.counts
        assert (count.outcome, count.connections, count.sent_bytes) == (Outcome.CARRIED, 1, 5)
        assert agent.asked == [VIP]
        assert (await agent.report(6)).connections == []
        assert agent.maps.heartbeat() > 0


async def test_settings_and_names_take_effect_at_once(own_netns: Netns) -> None:
    async with worker_in(own_netns) as agent, serving() as server:
        door = await agent.open_door()
        await agent.line.send(KnowWorkload(WorkloadName(SHOP.id, "renamed")))
        async with await agent.dial(door, server) as client:
            await client.send_all(b"x")
            assert await client.receive_some() == b"x"
            [live] = (await agent.report(1)).connections
            assert live.workload == "renamed"
            await agent.told(Settings(Config(passthrough="deny", log=QUIET)))
            assert await is_reset(await agent.dial(door, server))
            assert await talk(client, b"more") == b"more", "who is established stays"


async def test_closing_a_door_ends_no_connection(own_netns: Netns) -> None:
    async with worker_in(own_netns) as agent, serving() as server:
        agent.catalog[VIP] = found(server)
        door, other = await agent.open_door(1), await agent.open_door(2)
        client = await agent.dial(door)
        await client.send_all(b"x")
        assert await client.receive_some() == b"x"
        await agent.told(CloseDoor(1))
        with pytest.raises(ConnectionRefusedError):
            await agent.dial(door)
        assert await talk(client, b"goes on") == b"goes on"
        assert await talk(await agent.dial(other), b"hello") == b"hello"
        await agent.told(CloseDoor(1))  # once more: harmless


async def test_a_door_may_close_while_somebody_comes(own_netns: Netns) -> None:
    """Both wake up in the same turn, in either order."""
    async with worker_in(own_netns) as agent:
        for number in range(1, 25):
            door = await agent.open_door(number)
            client = agent.dialled(door, door)
            await agent.told(CloseDoor(number))
            await is_reset(client)
            assert (await agent.report(number)).connections == []


async def test_a_door_that_cannot_be_opened_is_no_disaster(own_netns: Netns) -> None:
    async with worker_in(own_netns) as agent:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as no_namespace:
            opened = OpenDoor(1, "outbound", "ebpf", 1, SHOP, 1)
            await agent.told(opened, [no_namespace.fileno(), listener.fileno()])
            door = address_of(listener)
        with pytest.raises(ConnectionRefusedError):
            await agent.dial(door)
        await agent.open_door(2)


async def test_cancelled_it_closes_everything(own_netns: Netns) -> None:
    """The fixture that counts descriptors is the test."""
    async with serving() as server:
        async with worker_in(own_netns) as agent:
            agent.catalog[VIP] = found(server)
            door = await agent.open_door()
            client = await agent.dial(door)
            await client.send_all(b"x")
            assert await client.receive_some() == b"x"
        assert await is_reset(client)


# Drains


async def test_a_drain_takes_the_backlog_first(own_netns: Netns) -> None:
    async with worker_in(own_netns) as agent, serving() as server:
        agent.catalog[VIP] = found(server)
        door = await agent.open_door()
        clients = [agent.dialled(door) for _ in range(6 * ACCEPTS)]
        await agent.line.send(Drain(10))
        answers: list[bytes] = []

        async def ask(client: trio.SocketStream) -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                answers.append(await talk(client, b"hello"))

        async with trio.open_nursery() as asking:
            for client in clients:
                asking.start_soon(ask, client)
        assert answers == [b"hello"] * len(clients)
        await agent.worker_ended.wait()
        assert agent.asked == [VIP], "what comes last has a service, too"
        await agent.hung_up.wait()
        assert sum(count.connections for count in agent.counts) == len(clients)
        with pytest.raises(ConnectionRefusedError):
            await agent.dial(door)


async def test_a_drain_lets_connections_end_and_still_reports(own_netns: Netns) -> None:
    async with worker_in(own_netns) as agent, serving() as server:
        agent.catalog[VIP] = found(server)
        door = await agent.open_door()
        client = await agent.dial(door)
        await client.send_all(b"x")
        assert await client.receive_some() == b"x"
        await agent.line.send(Drain(10))
        with pytest.raises(ConnectionRefusedError):
            while True:
                await (await agent.dial(door)).aclose()
        assert any(live.service for live in (await agent.report(1)).connections)
        # A door that is opened now stays shut, and harms nobody.
        await agent.told(OpenDoor(2, "outbound", "ebpf", 1, SHOP, 0), [own_netns.descriptor])
        assert not agent.worker_ended.is_set()
        assert await talk(client, b"last words") == b"last words"
        await agent.worker_ended.wait()


async def test_a_drain_has_a_deadline(own_netns: Netns) -> None:
    async with worker_in(own_netns) as agent, serving() as server:
        agent.catalog[VIP] = found(server)
        door = await agent.open_door()
        client = await agent.dial(door)
        await client.send_all(b"x")
        assert await client.receive_some() == b"x"
        began = trio.current_time()
        await agent.line.send(Drain(0.2))
        assert await is_reset(client)
        assert 0.2 <= trio.current_time() - began < 2
        await agent.hung_up.wait()
        assert [ended.outcome for ended in agent.ended] == [Outcome.DRAINED]


async def test_without_connections_a_drain_is_over_at_once(own_netns: Netns) -> None:
    async with worker_in(own_netns) as agent:
        await agent.open_door()
        await agent.line.send(Drain(60))
        await agent.worker_ended.wait()


# Orphans


async def test_an_orphan_without_successor_drains(own_netns: Netns) -> None:
    async with worker_in(own_netns, settings(drain_s=10)) as agent, serving() as server:
        agent.catalog[VIP] = found(server)
        door = await agent.open_door()
        client = await agent.dial(door)
        await client.send_all(b"x")
        assert await client.receive_some() == b"x"
        agent.line.close()
        await trio.sleep(0.05)
        assert not agent.worker_ended.is_set()
        assert await talk(client, b"goes on") == b"goes on"
        await agent.worker_ended.wait()


async def test_an_orphan_goes_on_until_its_successor_is_ready(own_netns: Netns, tmp_path: Path) -> None:
    control = str(tmp_path / "control.sock")
    answer = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
    seen = 0

    async def successor(stream: trio.SocketStream) -> None:
        nonlocal seen
        async with stream:
            assert (await stream.receive_some()).startswith(b"GET /readyz ")
            await stream.send_all(answer)
            seen += 1

    async with worker_in(own_netns, settings(control, drain_s=10)) as agent, serving() as server:
        agent.catalog[VIP] = found(server)
        door = await agent.open_door()
        assert await talk(await agent.dial(door), b"hello") == b"hello"
        agent.line.close()
        for _ in range(3):
            assert await talk(await agent.dial(door), b"known already") == b"known already"
        assert await talk(await agent.dial(door, server), b"passed through") == b"passed through"
        beat = agent.maps.heartbeat()
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(control)
            bound.listen()
            bound.setblocking(False)
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
            async with trio.open_nursery() as succession:
                succession.start_soon(trio.serve_listeners, successor, [listener])
                while seen < 2:
                    await trio.sleep(0.02)
                assert not agent.worker_ended.is_set(), "it is not ready yet"
                assert await talk(await agent.dial(door), b"still here") == b"still here"
                assert agent.maps.heartbeat() > beat
                answer = b"HTTP/1.1 200 OK\r\n\r\n"
                await agent.worker_ended.wait()
                succession.cancel_scope.cancel()


async def test_a_signal_drains_only_an_orphan(own_netns: Netns, tmp_path: Path) -> None:
    async with worker_in(own_netns, settings(str(tmp_path / "nobody"))) as agent:
        assert agent.worker
        await agent.open_door()
        agent.worker.terminate()
        assert (await agent.report(1)).connections == []
        assert not agent.worker_ended.is_set()
        agent.line.close()
        await trio.testing.wait_all_tasks_blocked()
        agent.worker.terminate()
        await agent.worker_ended.wait()


# Descriptors


async def test_too_few_descriptors_lose_no_connection(own_netns: Netns) -> None:
    with hand_maps() as maps:
        async with worker_process(own_netns, maps) as (agent, process), serving() as server:
            agent.catalog[VIP] = found(server)
            door = await agent.open_door()
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (100, 100))
            outcomes: list[Any] = []

            async def ask(client: trio.SocketStream) -> None:
                try:
                    outcomes.append(await talk(client, b"hello"))
                except trio.BrokenResourceError:
                    outcomes.append("reset")

            clients = [agent.dialled(door) for _ in range(150)]
            async with trio.open_nursery() as asking:
                for client in clients:
                    asking.start_soon(ask, client)
            assert outcomes == [b"hello"] * len(clients)
            assert len(os.listdir(f"/proc/{process.pid}/fd")) < 100
            await agent.line.send(Drain(5))
            await agent.hung_up.wait()
            assert await trio.to_thread.run_sync(process.wait) == 0
            assert sum(count.connections for count in agent.counts) == len(clients)


async def test_a_listener_without_room_is_left_alone(own_netns: Netns) -> None:
    """What EMFILE says at accept(): nothing is lost, and nobody spins."""
    with hand_maps() as maps, door_in(own_netns, maps) as door:
        listener = door.listeners[0]
        waiting = socket.create_connection(listener.getsockname())
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = max(map(int, os.listdir("/proc/self/fd"))) + 1
        fillers = [os.dup(0) for _ in range(used - len(os.listdir("/proc/self/fd")) + 1)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
            assert door.accept(listener, 10) == ([], False)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for filler in fillers:
                os.close(filler)
        [(client, peer)], more = door.accept(listener, 10)
        assert more
        assert peer == waiting.getsockname()
        client.close()
        waiting.close()
