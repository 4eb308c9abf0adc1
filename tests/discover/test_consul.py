"""The source against a real agent, and against one that answers as no real one would."""

import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from meshtrio.catalog.consul_turns import backoff_s
from meshtrio.catalog.stream import State, is_lost
from meshtrio.config.discovery import Consul
from meshtrio.discover import consul_pulse
from meshtrio.discover.consul_wire import Why
from tests.support.consul import Agent, Heard, agent, followed, missing, until
from tests.support.fake_consul import FakeConsul, fake, instance, reply

SETTLED_S = 5.0
"""How soon after healing the truth must be known."""


@pytest.fixture
def real() -> None:
    if missing():
        pytest.skip(missing())


@pytest.fixture
async def consul(real: None, tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent(tmp_path) as consul:
        yield consul


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rest a twentieth as long after a failure."""
    monkeypatch.setattr(consul_pulse, "backoff_s", lambda failures, luck: backoff_s(failures, luck) / 20)
    monkeypatch.setattr(consul_pulse, "BEAT_S", 0.6)


def state(heard: Heard, name: str) -> State:
    return heard.stream(name).state


def settings(address: str, **more: object) -> Consul:
    return Consul(address=address, **more)  # type: ignore[arg-type]


@pytest.mark.world
async def test_registration_health_and_deregistration(consul: Agent) -> None:
    async with followed(settings(consul.address)) as heard:
        await until(lambda: "default/consul" in heard.services)
        await consul.register("web", port=8080, Tags=["a"], Meta={"version": "2", "protocol": "http"})
        assert await until(lambda: heard.ids("web") == ["node-1/web"]) < SETTLED_S
        port = heard.services["default/web"].ports[0]
        assert (port.port, port.protocol) == (8080, "http")
        assert (str(port.endpoints[0].address), port.endpoints[0].version) == ("127.0.0.9:8080", "2")
        for how, health in (("warn", "warning"), ("fail", "unhealthy"), ("pass", "healthy")):
            await consul.mark("web", how)
            assert await until(lambda health=health: heard.health("web") == [health]) < 1  # type: ignore[misc]
        await consul.ask("PUT", "/v1/agent/maintenance?enable=true")
        await until(lambda: heard.health("web") == ["unhealthy"])
        await consul.ask("PUT", "/v1/agent/maintenance?enable=false")
        await until(lambda: heard.health("web") == ["healthy"])
        await consul.register("web", id="web-2", status="critical")
        await until(lambda: heard.health("web") == ["healthy", "unhealthy"])
        await consul.deregister("web-2")
        await until(lambda: heard.ids("web") == ["node-1/web"])
        await consul.deregister("web")
        await until(lambda: "default/web" not in heard.services)
        assert heard.complete == 1
        assert {name: state(heard, name) for name in ("leader", "services", "checks", "health")} == (
            dict.fromkeys(("leader", "services", "checks", "health"), State.LIVE)
        )


@pytest.mark.world
@pytest.mark.slow
async def test_nothing_is_lost_while_the_agent_is_away(real: None, tmp_path: Path) -> None:
    async with agent(tmp_path, lasting=True) as consul, followed(settings(consul.address)) as heard:
        await consul.register("web")
        await consul.register("db")
        await until(lambda: heard.ids("web") + heard.ids("db") == ["node-1/web", "node-1/db"])
        await consul.kill()
        await until(lambda: state(heard, "health") is State.RETRYING)
        await until(lambda: state(heard, "services") is State.RETRYING)
        known = dict(heard.services)
        await trio.sleep(1)
        assert heard.services == known
        await consul.start()
        await consul.deregister("db")
        await consul.register("mail")
        took = await until(
            lambda: set(heard.services) == {f"default/{one}" for one in ("consul", "web", "mail")}
        )
        assert took < SETTLED_S
        await until(lambda: not any(state(heard, name) is not State.LIVE for name in ("health", "checks")))


@pytest.mark.world
async def test_an_agent_that_begins_anew_is_believed(consul: Agent) -> None:
    """In dev mode a restart forgets everything: the index goes backwards, and what was is gone."""
    async with followed(settings(consul.address)) as heard:
        for at in range(5):
            await consul.register("web", id=f"web-{at}")
        await until(lambda: len(heard.ids("web")) == 5)
        position = heard.stream("services").position
        await consul.kill()
        await consul.start()
        assert int(position) > (await index_of(consul))
        assert await until(lambda: "default/web" not in heard.services) < SETTLED_S
        await consul.register("web", port=81)
        assert await until(lambda: heard.ids("web") == ["node-1/web"]) < SETTLED_S


async def index_of(consul: Agent) -> int:
    services = await consul.ask("GET", "/v1/health/service/consul")
    return int(services[0]["Service"]["ModifyIndex"])


@pytest.mark.world
@pytest.mark.usefixtures("impatient")
async def test_an_agent_that_answers_nothing_for_a_while_loses_nothing(
    consul: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when packets are lost: nothing is refused, and questions under way never end."""
    monkeypatch.setattr(consul_pulse, "BEAT_TIMEOUT_S", 0.3)
    async with followed(settings(consul.address)) as heard:
        await consul.register("web")
        await until(lambda: heard.ids("web") == ["node-1/web"])
        consul.pause()
        try:
            await until(lambda: state(heard, "leader") is State.RETRYING)
            assert heard.ids("web") == ["node-1/web"]
        finally:
            consul.resume()
        await consul.mark("web", "fail")
        assert await until(lambda: heard.health("web") == ["unhealthy"]) < SETTLED_S
        await until(lambda: state(heard, "leader") is State.LIVE)


ACL = {"acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": "root-token"}}}


@pytest.mark.world
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("wrong", ["not-the-token", "", None])
async def test_a_token_that_is_refused_may_be_mended(real: None, tmp_path: Path, wrong: str | None) -> None:
    token = tmp_path / "token"
    if wrong is not None:
        token.write_text(wrong)
    async with agent(tmp_path, config=ACL, token="root-token") as consul:
        await consul.register("web")
        async with followed(settings(consul.address, token_file=str(token))) as heard:
            await until(lambda: state(heard, "services") is State.REFUSED)
            assert heard.services == {}
            assert "not-the-token" not in repr(heard._hub.streams)
            token.write_text("root-token\n")
            assert await until(lambda: heard.ids("web") == ["node-1/web"]) < SETTLED_S
            await until(lambda: state(heard, "services") is State.LIVE)
            token.write_text("wrong-again")
            await until(lambda: state(heard, "services") is State.REFUSED)
            assert heard.ids("web") == ["node-1/web"]
            assert "wrong-again" not in repr(heard._hub.streams)


@pytest.mark.world
async def test_without_a_token_an_empty_list_is_no_word(real: None, tmp_path: Path) -> None:
    """Consul 1.8 does not refuse those who may see nothing: it shows them nothing."""
    async with (
        agent(tmp_path, config=ACL, token="root-token") as consul,
        followed(settings(consul.address)) as heard,
    ):
        await until(lambda: state(heard, "services") is State.REFUSED)
        assert "not even itself" in heard.stream("services").last_error
        assert heard.complete == 0


@pytest.mark.world
@pytest.mark.slow
async def test_hundreds_of_services_are_no_threads(consul: Agent) -> None:
    names = [f"s{at:03}" for at in range(300)]
    for name in names:
        service = {"ID": name, "Service": name, "Address": "10.0.0.1", "Port": 80}
        check = {"CheckID": f"check:{name}", "Name": "c", "ServiceID": name, "Status": "passing"}
        await consul.ask("PUT", "/v1/catalog/register", {
            "Node": "far", "Address": "10.0.0.1", "Service": service, "Check": check,
        })  # fmt: skip
    async with followed(settings(consul.address, queries=32)) as heard:
        before = threading.active_count()
        await until(lambda: heard.complete == 1, within_s=30)
        assert set(heard.services) == {f"default/{name}" for name in ("consul", *names)}
        await trio.sleep(0.5)
        # With fewer places than services, the checks tell whose turn it is.
        for name in (names[0], names[150], names[-1]):
            check = {"CheckID": f"check:{name}", "Name": "c", "ServiceID": name, "Status": "critical"}
            await consul.ask("PUT", "/v1/catalog/register", {
                "Node": "far", "Address": "10.0.0.1", "SkipNodeUpdate": True, "Check": check,
            })  # fmt: skip
            assert await until(lambda name=name: heard.health(name) == ["unhealthy"]) < 1  # type: ignore[misc]
        await consul.ask("PUT", "/v1/catalog/deregister", {"Node": "far", "ServiceID": names[7]})
        await until(lambda: f"default/{names[7]}" not in heard.services)
        assert threading.active_count() <= before + 4


FAULTS: dict[str, Callable[[], bytes]] = {
    "no JSON": lambda: reply(b"<html>"),
    "another JSON": lambda: reply(7),
    "nested": lambda: reply(b"[" * 100_000),
    "no index": lambda: reply({}, index=None),
    "index 0": lambda: reply({}, index=0),
    "index of letters": lambda: reply({}, index="abc"),
    "empty": lambda: reply(b""),
    "an empty list": lambda: reply({}),
    "500": lambda: reply(b"rpc error", status=500),
    "429": lambda: reply(b"slow down", status=429),
    "404": lambda: reply(b"", status=404),
    "301": lambda: reply({}, status=301, Location="/elsewhere"),
    "no leader": lambda: reply({"consul": []}, X_Consul_KnownLeader="false"),
    "torn": lambda: reply({"consul": []}).replace(b"Length: ", b"Length: 9") + b"",
    "no HTTP": lambda: b"SSH-2.0-x\r\n",
    "closed": lambda: b"",
}


@pytest.mark.parametrize("about", ["/v1/catalog/services", "/v1/health/service/web"])
@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.usefixtures("impatient")
async def test_no_broken_answer_takes_anything_away(what: str, about: str) -> None:
    async with fake() as consul, followed(settings(consul.address)) as heard:
        consul.become(web=[instance()], db=[instance()])
        await until(lambda: heard.ids("web") == ["n/1"])
        answer = FAULTS[what]()
        if what == "torn":
            answer += b"Close: 1"
        consul.fault = lambda path: answer if path == about else None
        asked = consul.times(about)
        if "catalog" in about:
            consul.become(db=[instance("2")])
        else:
            consul.become(web=[instance("9")], db=[instance("2")])
        await until(lambda: consul.times(about) >= asked + 1 and heard.ids("db") == ["n/2"])
        await trio.sleep(0.05)
        assert heard.ids("web") == ["n/1"]
        consul.fault = lambda path: None
        consul.become(web=[instance("3")])
        await until(lambda: heard.ids("web") == ["n/3"] and not heard.ids("db"))


async def test_a_name_that_is_none_is_skipped_and_named() -> None:
    async with fake() as consul, followed(settings(consul.address)) as heard:
        consul.become(Web_1=[instance()], web=[instance(), instance("2", Port="x")])
        await until(lambda: heard.ids("web") == ["n/1"])
        record = heard.stream("services")
        assert (record.skipped, record.last_skipped) == (0, "")
        record = heard.stream("health")
        assert record.skipped == 2
        assert "n/2 of web: the port 'x' is no number" in record.last_skipped
        assert state(heard, "health") is State.LIVE


async def test_it_is_not_lost_while_it_answers_and_is_when_it_does_not() -> None:
    async with fake() as consul:
        consul.become(web=[instance()])
        async with followed(settings(consul.address)) as heard:
            await until(lambda: heard.complete == 1)
            streams = heard._hub.streams["consul"]
            assert not is_lost(streams.values(), 1e12, was_lost=True)
            consul.fault = lambda path: reply(b"", status=500)
            consul.wake()
            await until(lambda: {one.state for one in streams.values()} == {State.RETRYING})
            assert is_lost(streams.values(), 1e12, was_lost=False)


async def test_failures_while_it_was_gone_do_not_count_when_it_is_back(
    consul_fake: FakeConsul, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has just come up lists nothing for a moment: ask again soon, not much later."""
    rests: list[tuple[Why, int]] = []

    def rest_s(why: Why, failures: int) -> float:
        rests.append((why, failures))
        return 0.02

    monkeypatch.setattr(consul_pulse, "rest_s", rest_s)
    consul_fake.fault = lambda path: b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n"
    async with followed(settings(consul_fake.address)) as heard:
        await until(lambda: (Why.SERVER, 5) in rests)
        consul_fake.fault = lambda path: reply({}) if path == "/v1/catalog/services" else None
        await until(
            lambda: any(why is Why.EMPTY for why, _ in rests) and state(heard, "leader") is State.LIVE
        )
        rests.clear()
        consul_fake.leader = "127.0.0.2:8300"
        await until(lambda: (Why.EMPTY, 1) in rests)


async def test_without_any_service_it_is_live(consul_fake: FakeConsul) -> None:
    async with followed(settings(consul_fake.address)) as heard:
        await until(lambda: heard.complete == 1)
        assert state(heard, "health") is State.LIVE


@pytest.fixture
async def consul_fake() -> AsyncIterator[FakeConsul]:
    async with fake() as consul:
        yield consul
