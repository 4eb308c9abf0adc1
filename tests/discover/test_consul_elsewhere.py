"""Services that our own datacenter does not serve, and another one does."""

from typing import Any

import pytest
import trio

from meshtrio.config.discovery import Consul
from meshtrio.discover import consul_elsewhere
from tests.support.consul import followed, until
from tests.support.fake_consul import FakeConsul, fake, instance, reply


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consul_elsewhere, "AGAIN_S", 0.2)
    monkeypatch.setattr(consul_elsewhere, "APART_S", 0.02)


def far(id_: str, **words: Any) -> Any:
    """Make an instance that is to be dialled by another address from outside."""
    tagged = {"wan": {"Address": "192.0.2.1", "Port": 8080}}
    return instance(id_, TaggedAddresses=tagged, **words)


def settings(consul: FakeConsul) -> Consul:
    return Consul(address=consul.address, fallback_datacenters=("dc2", "dc3"))


def asked_elsewhere(consul: FakeConsul, name: str) -> list[str]:
    return [query["dc"] for path, query in consul.asked if path.endswith(f"/{name}") and "dc" in query]


async def test_the_first_datacenter_that_serves_helps_out_for_as_long_as_it_is_needed() -> None:
    async with fake() as consul:
        consul.become(web=[instance()], db=[instance()])
        consul.become("dc2", web=[far("2", status="critical")], db=[far("2")])
        consul.become("dc3", web=[far("3")])
        async with followed(settings(consul)) as heard:
            await until(lambda: heard.complete == 1)
            await trio.sleep(0.3)
            assert asked_elsewhere(consul, "web") == []
            consul.become(web=[instance(status="critical")], db=[instance()])
            await until(lambda: heard.ids("web") == ["n/1", "dc1/n/3"])
            assert str(heard.services["default/web"].endpoints[1].address) == "192.0.2.1:8080"
            assert asked_elsewhere(consul, "web")[:2] == ["dc2", "dc3"]
            assert all("index" not in query for _, query in consul.asked if "dc" in query)
            consul.become("dc3", web=[far("4")])
            await until(lambda: heard.ids("web") == ["n/1", "dc1/n/4"])
            consul.become(web=[instance()], db=[instance()])
            await until(lambda: heard.ids("web") == ["n/1"])
            assert asked_elsewhere(consul, "db") == []
            seen = len(asked_elsewhere(consul, "web"))
            await trio.sleep(0.5)
            assert len(asked_elsewhere(consul, "web")) == seen


async def test_a_service_that_only_others_have_is_known() -> None:
    async with fake() as consul:
        consul.become("dc2", far=[far("2")])
        async with followed(settings(consul)) as heard:
            await until(lambda: heard.ids("far") == ["dc1/n/2"])


async def test_a_datacenter_that_cannot_be_asked_takes_nothing_away() -> None:
    async with fake() as consul:
        consul.become(web=[instance(status="critical")])
        consul.become("dc2", web=[far("2")])
        consul.become("dc3", web=[far("3", status="critical")])
        async with followed(settings(consul)) as heard:
            await until(lambda: heard.ids("web") == ["n/1", "dc1/n/2"])
            down = reply(b"no path to datacenter", status=500)
            consul.fault = lambda path: down if path.endswith("/web?dc=dc2") else None
            errors = heard.stream("health").errors
            await until(lambda: heard.stream("health").errors > errors + 1)
            assert heard.ids("web") == ["n/1", "dc1/n/2"]
