"""Sources are there while they are configured, and begin anew when they end."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from meshtrio import sources as module
from meshtrio.address import Address
from meshtrio.catalog.document import NoCatalog
from meshtrio.catalog.service import Endpoint, Service, ServicePort
from meshtrio.catalog.stream import State
from meshtrio.cli.complaint import leaves
from meshtrio.config.load import load
from meshtrio.config.schema import Config
from meshtrio.discover.hub import Sink
from meshtrio.fleet import Seat
from meshtrio.messages import Resolve, Resolved
from meshtrio.publisher import Publisher
from meshtrio.sources import Sources

# fmt: off
HEAVY = (
    "kubernetes", "httpx", "consul", "dns", "sqlite3", "bcc", "pyroute2", "rich", "click",
    "asyncio", "email", "h2", "http.client", "prometheus_client",
)
# fmt: on
HOST = "orders.example.org"


def config(**settings: Any) -> Config:
    return load(msgspec.json.encode(settings).decode(), {}, {})


def with_dns(*hosts: str) -> Config:
    return config(discovery={"dns": [{"name": "orders", "host": host, "port": 80} for host in hosts]})


def orders(number: int) -> Service:
    address = Address.of(f"10.0.0.{number}", 80)
    return Service("orders", ports=(ServicePort("", 80, (Endpoint(str(address), address),)),))


@asynccontextmanager
async def running(made: Sources) -> AsyncIterator[Sources]:
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


def made_of(settings: Config) -> Sources:
    # Private, so that it does not read and write what an agent of this machine keeps.
    return Sources(settings, Publisher([]), lambda: None, private=True)


async def eventually(true: Callable[[], object]) -> None:
    with trio.fail_after(3):
        while not true():
            await trio.sleep(0.01)


def addresses(made: Sources) -> list[str]:
    return [str(endpoint.address) for service in made.hub.snapshot for endpoint in service.endpoints]


def test_an_agent_without_registries_carries_no_library_of_theirs() -> None:
    script = f"import sys, meshtrio.agent_process; print({{*{HEAVY}}} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, ": cannot be read: No such file or directory (want a file of services, or no catalog.file)"),
        ("services:\n- {name: UP, ports: [{port: 80}]}", ': services[0].name is "UP" '),
    ],
)
async def test_a_file_that_cannot_be_used_from_the_start_is_no_start(
    tmp_path: Path, text: str | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "services.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ExceptionGroup) as refused:
        async with running(made_of(config(catalog={"file": str(file)}))):
            pytest.fail("it began")
    (why,) = leaves(refused.value)
    assert isinstance(why, NoCatalog)
    assert str(why).startswith(f"catalog {file}{says}")
    assert capsys.readouterr().err == "", "there is no last good one to speak of"


async def test_nothing_configured_is_settled_at_once() -> None:
    async with running(made_of(Config())) as made:
        assert made.settled
        assert dict(made.hub.streams) == {}


async def test_a_source_lives_as_long_as_it_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def follow(settings: Any, sink: Sink) -> None:
        host = settings[0][0].host
        sink.stream("one").lives("1", 1.0)
        sink.say({"default/orders": orders(len(host))}, complete=True)
        try:
            await trio.sleep_forever()
        finally:
            ended.append(host)

    monkeypatch.setattr(module, "_follow_dns", follow)
    async with running(made_of(with_dns("a.b"))) as made:
        await eventually(lambda: addresses(made) == ["10.0.0.3:80"])
        made.reconfigure(with_dns("a.b"))
        await trio.testing.wait_all_tasks_blocked()
        assert ended == []
        made.reconfigure(with_dns("aa.b"))
        await eventually(lambda: addresses(made) == ["10.0.0.4:80"])
        assert ended == ["a.b"]
        made.reconfigure(Config())
        await eventually(lambda: addresses(made) == [])
        assert dict(made.hub.streams) == {}


async def test_a_worker_that_asks_during_a_burst_hears_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that has gone is not dialled, though the burst that says so is not published yet."""

    def many(number: int) -> dict[str, Service | None]:
        return {f"default/s{at}": msgspec.structs.replace(orders(number), name=f"s{at}") for at in range(100)}

    async def follow(settings: Any, sink: Sink) -> None:
        sink.say(many(1))
        sink.stream("one").lives("1", 1.0)
        await trio.sleep_forever()

    def heard() -> list[str]:
        (resolved, _), *_ = seat.waiting.values()
        assert isinstance(resolved, Resolved)
        assert resolved.found is not None
        assert resolved.found.port is not None
        return [str(one.address) for one in resolved.found.port.endpoints]

    monkeypatch.setattr(module, "_follow_dns", follow)
    seat = Seat(0)
    publisher = Publisher([seat])
    async with running(Sources(with_dns("a.b"), publisher, lambda: None, private=True)) as made:
        dialled = next(iter(publisher.snapshot)).vips[0]
        sink, version = made.hub.sink("dns"), publisher.snapshot.version
        sink.say(many(2))
        assert publisher.snapshot.version == version, "that is a burst"
        publisher.answer(seat, Resolve(Address(dialled, 80)))
        assert (heard(), publisher.snapshot.version) == (["10.0.0.2:80"], version + 1)
        sink.say(many(3))
        await eventually(lambda: publisher.snapshot.version == version + 2)
        assert heard() == ["10.0.0.3:80"]


async def test_a_source_that_fails_by_a_bug_begins_anew_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lives = 0

    async def follow(settings: Any, sink: Sink) -> None:
        nonlocal lives
        lives += 1
        sink.stream("one").lives("1", 1.0)
        if lives == 1:
            sink.say({"default/orders": orders(1)}, complete=True)
        if lives < 3:
            raise KeyError("secret")
        await trio.sleep_forever()

    monkeypatch.setattr(module, "_follow_dns", follow)
    monkeypatch.setattr(module, "RESTART_S", 0.05)
    async with running(made_of(with_dns("a.b"))) as made:
        await eventually(lambda: lives == 3)
        assert addresses(made) == ["10.0.0.1:80"]
        assert "secret" not in made.hub.streams["dns"]["dns"].last_error
        assert made.hub.streams["dns"]["dns"].errors == 2


async def test_readiness_waits_for_first_words_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async def follow(settings: Any, sink: Sink) -> None:
        sink.stream("one")
        await trio.sleep(settings[0][0].port)
        sink.stream("one").failed("no", 1.0)
        await trio.sleep_forever()

    monkeypatch.setattr(module, "_follow_dns", follow)
    for port, within_s in ((4, (4.0, 4.2)), (80, (10.0, 10.2))):
        settings = config(discovery={"dns": [{"name": "orders", "host": HOST, "port": port}]})
        began = trio.current_time()
        async with running(made_of(settings)) as made:
            assert made.settled
            assert within_s[0] <= trio.current_time() - began <= within_s[1]


async def test_ready_means_that_the_first_words_are_published(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"s{number}" for number in range(100)]

    async def follow(settings: Any, sink: Sink) -> None:
        sink.say({f"default/{name}": Service(name) for name in names}, complete=True)
        sink.stream("one").lives("1", 1.0)
        await trio.sleep_forever()

    monkeypatch.setattr(module, "_follow_dns", follow)
    publisher = Publisher([])
    async with running(Sources(with_dns("a.b"), publisher, lambda: None, private=True)):
        assert len(publisher.snapshot) == len(names)


async def test_a_registry_that_cannot_be_reached_is_told_and_does_not_stop_the_others(tmp_path: Path) -> None:
    services = tmp_path / "services.yaml"
    services.write_text("services: [{name: web, ports: [{port: 80}], endpoints: ['10.0.0.9:80']}]")
    settings = config(
        catalog={"file": str(services)}, discovery={"consul": {"address": "http://127.0.0.1:1"}}
    )
    began = trio.current_time()
    async with running(made_of(settings)) as made:
        assert trio.current_time() - began < module.FIRST_WORD_S
        assert addresses(made) == ["10.0.0.9:80"]
        states = {stream.state for stream in made.hub.streams["consul"].values()}
        assert State.RETRYING in states
