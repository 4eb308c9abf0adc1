"""Probes that really connect: every kind of endpoint at once, an agent that is stopped, and two thousand."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio

from meshtrio.address import Address
from meshtrio.catalog.merge import Merge
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.catalog.vips import Vips
from meshtrio.config.discovery import HealthCheck
from meshtrio.discover.hub import Hub
from meshtrio.discover.probes import Probes
from tests.support.probed import HealthService, black_hole, endless, refusing, saying, serving

TREE = Path(__file__).parents[2]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
HTTP = HealthCheck("web", type="http", interval_s=0.2, timeout_s=0.3, rise=2, fall=2)


class Agent:
    """What of an agent probes."""

    def __init__(self, *checks: HealthCheck) -> None:
        self.checks = checks
        self.hub = Hub(Merge(Vips()), lambda snapshot: None)
        self.probes = Probes(self.hub, lambda: self.checks, lambda: ())

    def say(self, addresses: dict[str, Address], name: str = "web") -> None:
        ends = tuple(Endpoint(key, address) for key, address in addresses.items())
        self.hub.sink("file").say({f"default/{name}": Service(name, ports=(ServicePort("", 80, ends),))})
        self.hub.publish_now()

    def health(self, name: str = "web") -> dict[str, Health]:
        self.hub.publish_now()
        service = self.hub.snapshot.service(f"default/{name}")
        assert service is not None
        return {one.id: one.health for one in service.endpoints}

    def found(self) -> set[Health]:
        return {one.health for one in self.probes.results().values()}

    def texts(self) -> dict[Address, str]:
        return {address: one.text for (_, address), one in self.probes.results().items()}

    async def until(self, holds: Callable[[], bool]) -> None:
        with trio.fail_after(5):
            while not holds():
                await trio.sleep(0.02)

    @asynccontextmanager
    async def probing(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.probes.keep_probing)
            yield
            nursery.cancel_scope.cancel()


async def drip(stream: trio.SocketStream) -> None:
    for byte in OK:
        await stream.send_all(bytes((byte,)))
        await trio.sleep(0.05)


async def test_each_endpoint_gets_what_it_deserves_and_the_reason_is_told() -> None:
    agent = Agent(HTTP)
    async with AsyncExitStack() as peers:
        enter = peers.enter_async_context
        addresses = {
            "well": await enter(serving(saying(OK))),
            "endless body": await enter(serving(endless(OK[:-2] + b"X: 1\r\n\r\n", b"x" * 65_536))),
            "wrong status": await enter(serving(saying(b"HTTP/1.1 503 No\r\n\r\n"))),
            "garbage": await enter(serving(saying(b"\x16\x03\x01" * 20 + b"\r\n\r\n"))),
            "endless head": await enter(serving(endless(OK[:-2], b"X: 1\r\n" * 1000))),
            "slow": await enter(serving(drip)),
            "refused": peers.enter_context(refusing()),
            "black hole": peers.enter_context(black_hole()),
        }
        agent.say(addresses)
        async with agent.probing():
            ill = {name: Health.HEALTHY if n < 2 else Health.UNHEALTHY for n, name in enumerate(addresses)}
            await agent.until(lambda: agent.health() == ill)
            texts = agent.texts()
    assert {name: texts[address].partition(": ")[0] for name, address in addresses.items()} == {
        "well": "HTTP 200",
        "endless body": "HTTP 200",
        "wrong status": "HTTP 503",
        "garbage": "answers what is not HTTP",
        "endless head": "answers with a head of more than 32768 bytes",
        "slow": "connected, but no answer within 0.3 s",
        "refused": f"cannot connect to {addresses['refused']}",
        "black hole": "no connection within 0.3 s",
    }


async def test_types_change_while_it_runs() -> None:
    agent = Agent(HTTP)
    peer = HealthService({"": 1, "orders": 2})
    async with serving(peer.serve) as address:
        agent.say({"one": address})
        async with agent.probing():
            await agent.until(lambda: agent.health() == {"one": Health.UNHEALTHY})
            agent.checks = (HealthCheck("web", type="grpc", interval_s=0.2),)
            await agent.until(lambda: agent.health() == {"one": Health.HEALTHY} and bool(agent.texts()))
            assert agent.texts() == {address: "SERVING"}
            agent.checks = (HealthCheck("web", type="grpc", grpc_service="orders", interval_s=0.2),)
            await agent.until(lambda: "NOT_SERVING" in agent.texts().values())
            await agent.until(lambda: agent.health() == {"one": Health.UNHEALTHY})
            agent.say({})
            await agent.until(lambda: not agent.texts())


async def test_who_slept_himself_blames_nobody() -> None:
    """Peer and probes share this loop, so while it stands still nobody can answer in time."""

    async def think(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await trio.sleep(0.05)
        await stream.send_all(OK)

    agent = Agent(HealthCheck("web", type="http", interval_s=0.1, timeout_s=0.5, rise=1, fall=1))
    seen: set[str] = set()
    async with AsyncExitStack() as peers:
        agent.say({str(n): await peers.enter_async_context(serving(think)) for n in range(20)})
        async with agent.probing():
            await agent.until(lambda: agent.found() == {Health.HEALTHY})
            for _ in range(3):
                await agent.until(lambda: agent.probes.running > 5)
                time.sleep(0.8)  # noqa: ASYNC251  (that is the point)
                for _ in range(20):
                    await trio.sleep(0.01)
                    assert agent.found() == {Health.HEALTHY}
                    seen |= {*agent.texts().values()}
    assert "not counted: connected, but no answer within 0.5 s" in seen, "else this proves nothing"


@contextmanager
def python(*words: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=TREE, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


async def test_a_stopped_agent_does_not_find_everybody_dead() -> None:
    held = trio.Event()
    held.set()

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await held.wait()
        await stream.send_all(OK)

    check = {"type": "http", "interval_s": 0.1, "timeout_s": 0.5, "rise": 1, "fall": 1}
    async with AsyncExitStack() as peers:
        texts = [str(await peers.enter_async_context(serving(answer))) for _ in range(20)]
        child = peers.enter_context(python("tests.support.prober", json.dumps(check), *texts))
        assert child.stdout is not None
        lines = [await trio.to_thread.run_sync(child.stdout.readline) for _ in texts]
        assert sorted(lines) == sorted(f"{text} healthy\n" for text in texts)
        held = trio.Event()
        await trio.sleep(0.2)
        child.send_signal(signal.SIGSTOP)
        await trio.sleep(1)
        child.send_signal(signal.SIGCONT)
        await trio.sleep(0.05)
        held.set()
        await trio.sleep(0.7)
        child.kill()
        assert await trio.to_thread.run_sync(child.stdout.read) == ""


@pytest.mark.slow
async def test_two_thousand_on_one_loop() -> None:
    endpoints = 2000
    agent = Agent(HealthCheck("web", type="http", interval_s=6))
    with python("tests.support.acceptor") as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        agent.say({str(n): Address.of(f"127.1.{n >> 8}.{n & 255}", port) for n in range(endpoints)})
        async with agent.probing():
            began_s = time.process_time()
            with trio.fail_after(30):
                while not all(one.last for one in agent.probes.results().values()) or agent.probes.ended == 0:
                    await trio.sleep(1)
            cpu_s, results = time.process_time() - began_s, agent.probes.results()
    assert len(results) == endpoints
    assert {one.text for one in results.values()} == {"HTTP 200"}
    each_us = cpu_s / agent.probes.ended * 1e6
    print(
        f"{each_us:.0f} us a probe: {endpoints} every 10 s take {each_us * endpoints / 1e5:.1f} % of a core"
    )
    assert each_us < 5000
