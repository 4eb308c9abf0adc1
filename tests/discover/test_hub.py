"""News in, snapshots out: batched, complete, and with a source's loss noticed."""

from types import SimpleNamespace

import pytest
import trio
from trio.testing import MockClock

from meshtrio.address import Address
from meshtrio.catalog.merge import Level, Merge
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.catalog.stream import BACK_AFTER_S, LOST_AFTER_S, State
from meshtrio.catalog.vips import Vips
from meshtrio.discover import hub as module
from meshtrio.discover.gathering import APART_S, BURST, BURST_S, GATHER_S, LULL_S
from meshtrio.discover.hub import AT_ONCE, ENDS_AT_ONCE, LOOK_S, MOVED_A_SNAPSHOT, Hub

EPOCH = 1_700_000_000.0


def service(name: str, host: int = 1) -> Service:
    end = Endpoint("one", Address.of(f"10.0.0.{host}", 80))
    return Service(name, vips=(bytes(16),), ports=(ServicePort("http", 80, (end,)),))


class Listener:
    """Who hears of snapshots, and when."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, Snapshot]] = []

    def __call__(self, snapshot: Snapshot) -> None:
        self.heard.append((trio.current_time(), snapshot))

    @property
    def times(self) -> list[float]:
        return [round(at, 3) for at, _ in self.heard]

    def last(self, key: str) -> Service | None:
        return self.heard[-1][1].service(key)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def hub(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> Hub:
    # One jump of the clock moves both: what streams note is wall time.
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: EPOCH + trio.current_time()))
    return Hub(Merge(Vips()), listener)


async def test_the_first_change_comes_soon_and_the_next_ones_apart(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(hub.run)
    sink = hub.sink("consul")
    await trio.sleep(1)
    for count in range(100):
        sink.say({"default/a": service("a", count)})
        await trio.sleep(0.001)
    await trio.sleep(1)
    gaps = [1 + GATHER_S, 1 + GATHER_S + APART_S, 1 + GATHER_S + 2 * APART_S]
    assert listener.times[: len(gaps)] == [round(at, 3) for at in gaps]
    assert len(listener.times) <= 4
    assert listener.last("default/a") == hub.snapshot.service("default/a")
    found = listener.last("default/a")
    assert found is not None
    assert found.endpoints[0].address.host == "10.0.0.99"


async def test_a_burst_is_one_snapshot(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(hub.run)
    sink = hub.sink("kubernetes")
    names = [f"s{number}" for number in range(3 * AT_ONCE)]
    for name in names:
        sink.say({f"default/{name}": service(name)})
    await trio.sleep(5)
    assert [len(snapshot) for _, snapshot in listener.heard] == [len(names)]
    sink.say({}, complete=True)
    await trio.sleep(5)
    assert [len(snapshot) for _, snapshot in listener.heard] == [len(names), 0]


async def trickle(sink: module.Sink, count: int, name: str = "s") -> None:
    """Say another service each millisecond: a burst, as a watch brings it."""
    for number in range(count):
        sink.say({f"default/{name}{number}": service(f"{name}{number}")})
        await trio.sleep(0.001)


async def test_a_burst_that_takes_its_time_is_one_snapshot_too(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(hub.run)
    sink = hub.sink("kubernetes")
    await trickle(sink, 300)
    await trio.sleep(1)
    assert [(len(snapshot), snapshot.version) for _, snapshot in listener.heard] == [(300, 1)]
    assert listener.times[0] <= 0.3 + 2 * LULL_S


@pytest.mark.parametrize("services", [1, BURST - 1])
async def test_some_changes_after_a_silence_are_no_burst(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock, services: int
) -> None:
    nursery.start_soon(hub.run)
    sink = hub.sink("kubernetes")
    for at in (1, 2):
        await trio.sleep(at - trio.current_time())
        sink.say({f"default/s{number}": service(f"s{number}", at) for number in range(services)})
        await trio.sleep(0.5)
    assert listener.times == [1 + GATHER_S, 2 + GATHER_S]


@pytest.mark.parametrize("every_s", [0.001, 0.003, 0.01, 0.03, LULL_S, BURST_S])
async def test_nothing_waits_for_ever_and_the_last_word_gets_out(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock, every_s: float
) -> None:
    nursery.start_soon(hub.run)
    sink, waited = hub.sink("kubernetes"), []
    for number in range(int(3 / every_s)):
        sink.say({f"default/s{number % 500}": service(f"s{number % 500}", number % 251)})
        await trio.sleep(every_s)
        last = listener.heard[-1][0] if listener.heard else 0.0
        waited.append(trio.current_time() - last)
    assert max(waited) <= every_s + BURST_S + APART_S + GATHER_S + 0.005
    await trio.sleep(LULL_S + BURST_S)
    final = {one.key: one for one in listener.heard[-1][1]}
    assert final == {key: hub.merge.merged(key) for key in sink.said()}
    assert [snapshot.version for _, snapshot in listener.heard] == [*range(1, 1 + len(listener.heard))]


async def test_a_burst_that_concerns_what_is_in_use_does_not_wait(
    listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    hub = Hub(Merge(Vips()), listener, lambda keys: "default/used" in keys)
    nursery.start_soon(hub.run)
    sink = hub.sink("kubernetes")
    nursery.start_soon(trickle, sink, 1000)
    await trio.sleep(0.25)
    for host in range(1, 20):
        said = trio.current_time()
        sink.say({"default/used": service("used", host)})
        await trio.sleep(LULL_S + APART_S + 2 * GATHER_S)
        told = [
            at
            for at, snapshot in listener.heard
            if snapshot.service("default/used") == hub.merge.merged("default/used")
        ]
        assert told[0] - said <= APART_S + 1e-9


async def test_a_burst_of_very_many_endpoints_is_published_in_parts_and_holds_up_nobody(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(hub.run)
    sink, turns = hub.sink("consul"), 0
    each, many = ENDS_AT_ONCE // 2, {}
    for number in range(3 * MOVED_A_SNAPSHOT // each):
        ends = tuple(Endpoint(str(at), Address.of(f"10.0.{number}.1", at)) for at in range(1, 1 + each))
        many[f"default/s{number}"] = Service(f"s{number}", ports=(ServicePort("", 80, ends),))
    sink.say(many)
    await trio.sleep(GATHER_S + LULL_S)
    while not listener.heard or len(listener.heard[-1][1]) < len(many):
        await trio.lowlevel.checkpoint()
        turns += bool(len(hub.snapshot))
    assert 3 <= len(listener.heard) <= 4
    assert turns >= len(many) // 2 - 1


async def test_a_burst_of_small_changes_in_large_services_is_one_snapshot(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(hub.run)
    sink = hub.sink("kubernetes")
    for shift in (0, 1):
        for number in range(3 * MOVED_A_SNAPSHOT // 1000):
            ends = (Address.of(f"10.0.{number}.{1 + shift * (at == 0)}", 1 + at) for at in range(1000))
            port = ServicePort("", 80, tuple(Endpoint(str(end), end) for end in ends))
            sink.say({f"default/s{number}": Service(f"s{number}", ports=(port,))})
        await trio.sleep(1)
    assert listener.times[-1] > 1
    assert listener.times[-2] < 1, "all that has changed in the second round came at once"


async def test_all_is_said_in_parts_and_then_what_is_gone(
    hub: Hub, listener: Listener, nursery: trio.Nursery
) -> None:
    sink = hub.sink("file")
    sink.say({"default/old": service("old")})
    await sink.say_all({f"default/s{number}": service(f"s{number}") for number in range(2 * AT_ONCE)})
    assert len(sink.said()) == 2 * AT_ONCE
    assert "default/old" not in sink.said()
    await sink.say_all({})
    assert sink.said() == set()
    await hub.publish_changed()
    assert len(hub.snapshot) == 0


async def test_nothing_new_is_not_published(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(hub.run)
    sink = hub.sink("consul")
    sink.say({"default/a": service("a")})
    await trio.sleep(1)
    sink.say({"default/a": service("a"), "default/none": None}, complete=True)
    hub.probed("default/a", Address.of("10.0.0.1", 80), Health.UNKNOWN)
    await trio.sleep(1)
    assert len(listener.heard) == 1


async def test_what_is_said_while_a_batch_is_merged_is_not_lost(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(hub.run)
    sink = hub.sink("consul")
    many = {f"default/s{number}": service(f"s{number}") for number in range(3 * AT_ONCE)}
    sink.say(many)
    while not len(hub.snapshot):
        await trio.lowlevel.checkpoint()
        if trio.current_time() < GATHER_S + LULL_S:
            await trio.sleep(GATHER_S + LULL_S)
    assert len(hub.snapshot) < len(many), "between two parts of a batch"
    sink.say({key: service(key.partition("/")[2], 7) for key in many})
    await trio.sleep(1)
    final = listener.heard[-1][1]
    assert {one.endpoints[0].address.host for one in final} == {"10.0.0.7"}


async def test_a_source_is_lost_after_a_while_and_found_after_a_while(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(hub.run)
    sink = hub.sink("consul")
    stream = sink.stream("health")
    assert sink.stream("health") is stream
    stream.lives("1", EPOCH)
    sink.say({"default/a": service("a")})
    hub.probed("default/a", Address.of("10.0.0.1", 80), Health.HEALTHY)
    await trio.sleep(1)
    stream.failed("no route", EPOCH + 1)

    async def when(lost: bool) -> float:
        while hub.merge.lost("consul") is not lost:
            await trio.sleep(0.1)
        return trio.current_time()

    lost_at = await when(True)
    assert 1 + LOST_AFTER_S <= lost_at <= 1 + LOST_AFTER_S + LOOK_S + 0.2
    assert [hub.merge.level(one.key) for one in hub.snapshot] == [Level.LAST_KNOWN]
    assert listener.last("default/a") is not None, "nothing is taken away"
    stream.lives("2", EPOCH + lost_at)
    back_at = await when(False)
    assert lost_at + BACK_AFTER_S <= back_at <= lost_at + BACK_AFTER_S + LOOK_S + 0.2
    assert [hub.merge.level(one.key) for one in hub.snapshot] == [Level.LIVE]


async def test_the_log_says_why_a_source_is_lost(
    hub: Hub, nursery: trio.Nursery, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    nursery.start_soon(hub.run)
    sink = hub.sink("consul")
    sink.stream("silent")
    sink.stream("leader").failed("connection refused", EPOCH)
    sink.stream("other").lives("1", EPOCH)
    await trio.sleep(LOST_AFTER_S + 1)
    assert [record.fields for record in caplog.records if "is lost" in record.message] == [  # type: ignore[attr-defined]
        {"source": "consul", "why": "leader: connection refused"}
    ]


async def test_a_probe_s_word_changes_with_the_loss(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(hub.run)
    sink = hub.sink("consul")
    ill = Service(
        "a",
        vips=(bytes(16),),
        ports=(ServicePort("", 80, (Endpoint("1", Address.of("10.0.0.1", 80), health=Health.UNHEALTHY),)),),
    )
    sink.say({"default/a": ill})
    hub.probed("default/a", Address.of("10.0.0.1", 80), Health.HEALTHY)
    sink.stream("health").failed("gone", EPOCH)

    def health() -> Health:
        found = listener.last("default/a")
        assert found is not None
        return found.endpoints[0].health

    await trio.sleep(1)
    assert health() is Health.UNHEALTHY
    await trio.sleep(LOST_AFTER_S + 1)
    assert health() is Health.HEALTHY


async def test_a_source_that_is_forgotten_leaves_nothing(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(hub.run)
    static, consul = hub.sink("file"), hub.sink("consul")
    static.say({"default/a": service("a", 2)})
    consul.say({"default/a": service("a", 1), "default/b": service("b")})
    consul.stream("health").failed("gone", EPOCH)
    await trio.sleep(LOST_AFTER_S + 1)
    assert hub.merge.lost("consul")
    hub.forget("consul")
    await trio.sleep(1)
    assert [one.key for one in listener.heard[-1][1]] == ["default/a"]
    found = listener.last("default/a")
    assert found is not None
    assert found.endpoints[0].address.host == "10.0.0.2"
    assert not hub.merge.lost("consul")
    assert [*hub.all_streams()] == []
    assert (consul.said(), static.said()) == (set(), {"default/a"})
    assert [hub.merge.level(one.key) for one in hub.snapshot] == [Level.LIVE], (
        "a file is as good as it gets where no registry is configured"
    )


async def test_a_stream_that_has_ended_counts_no_more(
    hub: Hub, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(hub.run)
    sink = hub.sink("consul")
    sink.stream("good").lives("1", EPOCH)
    sink.stream("bad").failed("gone", EPOCH)
    await trio.sleep(LOST_AFTER_S + 1)
    assert hub.merge.lost("consul")
    sink.end_stream("bad")
    sink.end_stream("bad")
    await trio.sleep(LOOK_S + 0.1)
    assert not hub.merge.lost("consul")
    assert [(one.name, one.state) for one in hub.all_streams()] == [("good", State.LIVE)]


async def test_what_cannot_wait_is_published_at_once(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(hub.run)
    hub.sink("file").say({"default/a": service("a")})
    hub.publish_now()
    assert listener.last("default/a") == hub.snapshot.service("default/a")
    await trio.sleep(1)
    assert {snapshot.version for _, snapshot in listener.heard} == {1}, "what comes later is the same"


@pytest.mark.parametrize("when_s", [GATHER_S / 2, GATHER_S + LULL_S])
async def test_who_asks_for_a_service_meanwhile_hears_the_last_word_of_it(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock, when_s: float
) -> None:
    nursery.start_soon(hub.run)
    sink = hub.sink("kubernetes")
    many = 3 * AT_ONCE
    sink.say({f"default/s{number}": service(f"s{number}") for number in range(many)})
    await trio.sleep(when_s)
    if when_s > GATHER_S:
        while not len(hub.snapshot):
            await trio.lowlevel.checkpoint()
        assert not listener.heard, "half of it is merged, and nothing published"
    for key in ("default/s0", f"default/s{many - 1}"):
        hub.asked(key)
        assert listener.last(key) == hub.merge.merged(key)
    told = len(listener.heard)
    assert told in (1, 2), "both may be in the half that is merged"
    hub.asked("default/s0")
    assert len(listener.heard) == told, "what is published already is not published again"
    await trio.sleep(1)
    assert len(listener.heard[-1][1]) == many


async def test_an_address_of_no_service_hurries_what_waits_for_it_may_be_among_that(
    hub: Hub, listener: Listener, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(hub.run)
    sink = hub.sink("kubernetes")
    hub.asked(None)
    sink.say({"default/a": service("a")})
    await trio.sleep(1)
    sink.say({"default/a": service("a", 2)})
    await trio.sleep(GATHER_S / 5)
    hub.asked(None)
    await trio.sleep(1)
    assert listener.times == [round(GATHER_S, 3), round(1 + GATHER_S / 5, 3)]
