"""Many services and few places; one that fails among others that do not; and asking everything anew."""

from typing import Any

import pytest
import trio

from meshtrio.catalog.stream import State
from meshtrio.config.discovery import Consul
from meshtrio.discover import consul_instances, consul_pulse
from meshtrio.discover.consul_client import Answer, Question
from meshtrio.discover.consul_instances import RESYNC_S, Watch
from meshtrio.discover.consul_wire import Failed, Why
from tests.support.consul import followed, until
from tests.support.fake_consul import fake, instance, reply


def services(count: int, **changed: Any) -> dict[str, Any]:
    return {f"s{at:03}": [instance()] for at in range(count)} | changed


def health_path(name: str) -> str:
    return f"/v1/health/service/{name}"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consul_pulse, "backoff_s", lambda failures, luck: 0.05)
    monkeypatch.setattr(consul_pulse, "REFUSED_S", 0.05)


async def test_a_change_without_a_check_is_found_by_asking_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of services moves, and does not say for whom: if they take turns, all are asked."""
    monkeypatch.setattr(consul_instances, "SWEEP_S", 0.1)
    async with fake() as consul:
        consul.become(**services(40))
        async with followed(Consul(address=consul.address, queries=8)) as heard:
            await until(lambda: heard.complete == 1)
            assert consul.most_blocked <= 8
            consul.become(**services(40, s037=[instance("2")]))
            assert await until(lambda: heard.ids("s037") == ["n/2"]) < 3


async def test_turns_are_short_when_it_is_crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consul_instances, "TURN_S", 0.1)
    async with fake() as consul:
        consul.become(**services(20))
        async with followed(Consul(address=consul.address, queries=8)) as heard:
            await until(lambda: heard.complete == 1)
            consul.asked.clear()
            await until(lambda: all(consul.times(health_path(f"s{at:03}")) for at in range(20)), 10)


@pytest.mark.parametrize(
    "answer", [reply(b"x"), reply(7), reply([], index=None), reply(b"", status=500), reply(b"", status=403)]
)
async def test_one_that_fails_says_nothing_of_the_others(answer: bytes) -> None:
    async with fake() as consul:
        consul.become(**services(6))
        async with followed(Consul(address=consul.address)) as heard:
            await until(lambda: heard.complete == 1)
            consul.fault = lambda path: answer if path == health_path("s001") else None
            consul.become(**services(6, s002=[instance("2")]))
            await until(lambda: heard.ids("s002") == ["n/2"])
            record = heard.stream("health")
            await until(lambda: record.errors >= 3)
            assert "s001" in record.last_error
            assert (heard.ids("s001"), record.state) == (["n/1"], State.LIVE)


async def test_all_that_fail_make_it_retry() -> None:
    async with fake() as consul:
        consul.become(**services(6))
        async with followed(Consul(address=consul.address)) as heard:
            await until(lambda: heard.complete == 1)
            consul.fault = lambda path: reply(b"", status=500) if "/health/service/" in path else None
            consul.wake()
            await until(lambda: heard.stream("health").state is State.RETRYING)
            assert heard.stream("services").state is State.LIVE
            consul.fault = lambda path: None
            await until(lambda: heard.stream("health").state is State.LIVE)


async def test_one_that_goes_is_asked_no_more() -> None:
    async with fake() as consul:
        consul.become(**services(3))
        async with followed(Consul(address=consul.address)) as heard:
            await until(lambda: heard.complete == 1)
            consul.become(**services(2))
            await until(lambda: "default/s002" not in heard.services)
            await trio.sleep(0.1)
            consul.asked.clear()
            consul.wake()
            await trio.sleep(0.2)
            assert consul.times(health_path("s002")) == 0
            consul.become(**services(3))
            await until(lambda: heard.ids("s002") == ["n/1"])


async def test_checks_that_are_too_many_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshtrio.discover.consul_client.ANSWER_BYTES", 1000)
    async with fake() as consul:
        consul.become(web=[instance()])
        consul.fault = lambda path: reply([0] * 9999) if path.endswith("/state/any") else None
        async with followed(Consul(address=consul.address)) as heard:
            await until(lambda: heard.stream("checks").skipped == 1)
            assert heard.stream("checks").state is State.LIVE
            await until(lambda: heard.ids("web") == ["n/1"])


def test_a_watch_asks_for_everything_at_times_and_after_failures() -> None:
    watch = Watch()
    assert watch.question(30, 1000.0).index == 0
    assert watch.answered(Question(), Answer(7, []))
    asked = watch.question(30, 1001.0)
    assert asked.index == 7
    assert 27 <= asked.wait_s <= 33
    assert not watch.answered(asked, Answer(7, []))
    assert watch.answered(asked, Answer(3, []))
    assert watch.question(30, 1001.0).index == 0
    watch.answered(Question(), Answer(3, []))
    assert watch.question(30, 1001.0 + 0.8 * RESYNC_S).index == 3
    assert watch.question(30, 1001.0 + 1.2 * RESYNC_S).index == 0
    watch.answered(Question(), Answer(3, []))
    assert watch.failed(Failed(Why.NETWORK, "")) == 0.05
    assert (watch.index, watch.failures) == (0, 1)
