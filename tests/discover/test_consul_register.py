"""Our own workloads in a real Consul: there while they and we are, and gone after."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from meshtrio.config.discovery import Consul
from meshtrio.discover import consul_register
from meshtrio.discover.consul_register import Offer, register_workloads
from tests.support.consul import Agent, agent, missing
from tests.support.fake_consul import fake, reply

WEB, DB = Offer("node-1:web:80", "web", "10.0.0.1", 80, "spiffe://x/web"), Offer("db", "db", "10.0.0.2", 5432)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consul_register, "RENEW_S", 0.05)


@pytest.fixture
async def consul(tmp_path: Path) -> AsyncIterator[Agent]:
    if missing():
        pytest.skip(missing())
    async with agent(tmp_path) as consul:
        yield consul


async def registered(consul: Agent) -> dict[str, str]:
    """Say what Consul has, and the health of each."""
    checks = await consul.ask("GET", "/v1/health/state/any")
    return {one["ServiceID"]: one["Status"] for one in checks if one["ServiceID"]}


async def become(consul: Agent, expected: dict[str, str]) -> None:
    with trio.fail_after(10):
        while await registered(consul) != expected:
            await trio.sleep(0.02)


@pytest.mark.world
async def test_what_is_offered_is_registered_and_taken_out(consul: Agent) -> None:
    offers = [WEB]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(register_workloads, Consul(address=consul.address), lambda: offers)
        await become(consul, {WEB.id: "passing"})
        [web] = await consul.ask("GET", "/v1/catalog/service/web")
        assert (web["ServiceAddress"], web["ServicePort"]) == ("10.0.0.1", 80)
        assert web["ServiceMeta"] == {
            "meshtrio-mesh": "enabled",
            "meshtrio-identity": "spiffe://x/web",
        }
        offers = [WEB, DB]
        await become(consul, {WEB.id: "passing", DB.id: "passing"})
        [db] = await consul.ask("GET", "/v1/catalog/service/db")
        assert not db["ServiceMeta"], "without an identity it cannot be called by mutual TLS"
        offers = [DB._replace(port=5433)]
        await become(consul, {DB.id: "passing"})
        # An agent that begins anew is told again.
        await consul.kill()
        await trio.sleep(0.1)
        await consul.start()
        await become(consul, {DB.id: "passing"})
        nursery.cancel_scope.cancel()
    await become(consul, {})


async def test_its_end_does_not_wait_for_a_consul_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consul_register, "END_S", 0.2)
    async with fake() as consul:
        consul.fault = lambda path: reply(b"")
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(register_workloads, Consul(address=consul.address), lambda: [WEB])
                while not consul.times(f"/v1/agent/check/pass/service:{WEB.id}"):
                    await trio.sleep(0.01)
                consul.late_s = 60
                nursery.cancel_scope.cancel()
        assert consul.asked[-1][0] != ""


async def test_a_consul_that_cannot_is_asked_again() -> None:
    async with fake() as consul, trio.open_nursery() as nursery:
        consul.fault = lambda path: reply(b"", status=500)
        nursery.start_soon(register_workloads, Consul(address=consul.address), lambda: [WEB])
        with trio.fail_after(5):
            while consul.times("/v1/agent/service/register") < 3:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
