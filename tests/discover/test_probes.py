"""Who is probed when, and what the catalog says then: with answers that the test gives, and a mock clock."""

from types import SimpleNamespace

import pytest
import trio
from trio.testing import MockClock

from meshtrio.catalog.probing import Answer, Finding, Target
from meshtrio.catalog.roster import Roster
from meshtrio.catalog.service import Health
from meshtrio.config.discovery import HealthCheck
from meshtrio.discover import probes as module
from meshtrio.discover.probes import AT_ONCE, BETWEEN, FEW, LOOK_S
from tests.support.probing_world import CHECK, KEY, World, at, service


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(module, "ask", world.ask)
    monkeypatch.setattr(module, "random", SimpleNamespace(random=lambda: 0.5))
    return world


async def test_first_soon_then_at_the_interval_and_sooner_after_a_change(
    world: World, autojump_clock: MockClock
) -> None:
    world.say("consul", service("web", 1))
    async with world.probing():
        await trio.sleep(26)
        # Good twice, so known to be healthy at 10.5: the next one comes after 5 s.
        assert world.times(1) == [0.5, 10.5, 15.5, 25.5]
        world.ill = {1}
        await trio.sleep(36)
        assert world.times(1)[4:] == [35.5, 45.5, 55.5, 60.5]
    assert world.asked[0][1].manner.type == "http"


async def test_flapping_is_seen_through(world: World, autojump_clock: MockClock) -> None:
    world.say("consul", service("web", 1, 2))
    async with world.probing():
        await trio.sleep(15)
        assert (world.found(1), world.found(2)) == (Health.HEALTHY, Health.HEALTHY)
        for _ in range(10):
            world.ill = {1} if world.ill != {1} else set()
            await trio.sleep(20)
            assert world.health(1) is Health.HEALTHY, "two bad ones at most"
        world.ill = {1}
        await trio.sleep(40)
        assert (world.health(1), world.health(2)) == (Health.UNHEALTHY, Health.HEALTHY)
        world.ill = set()
        await trio.sleep(20)
        assert world.health(1) is Health.HEALTHY


async def test_results_tell_what_happened(world: World, autojump_clock: MockClock) -> None:
    world.say("consul", service("web", 1))
    world.ill = {1}
    async with world.probing():
        await trio.sleep(0.4)
        unasked = world.probes.results()[KEY, at(1)]
        assert (unasked.health, unasked.last, unasked.text) == (Health.UNKNOWN, 0.0, "")
        await trio.sleep(10)
        once = world.probes.results()[KEY, at(1)]
        assert (once.health, once.text, once.latency_s, once.since) == (
            Health.UNKNOWN,
            "no",
            0.001,
            unasked.since,
        )
        await trio.sleep(11)
        ill = world.probes.results()[KEY, at(1)]
        assert ill.health is Health.UNHEALTHY
        assert ill.since == ill.last > unasked.since


async def test_an_endpoint_of_two_services_is_probed_once_and_both_hear(
    world: World, autojump_clock: MockClock
) -> None:
    world.checks = (HealthCheck("web"), HealthCheck("api"))
    world.say("consul", service("web", 1), service("api", 1))
    world.ill = {1}
    async with world.probing():
        await trio.sleep(22)
        assert world.times(1) == [0.5, 10.5, 20.5]
        assert world.health(1) is world.health(1, "default/api") is Health.UNHEALTHY
        world.say("consul", service("web", 1), service("api", 1), service("third", 1))
        world.checks = (*world.checks, HealthCheck("third"))
        await trio.sleep(1)
        assert world.health(1, "default/third") is Health.UNHEALTHY, "what is known is known at once"
        world.say("consul", service("web", 1))
        await trio.sleep(1)
        assert [*world.probes.results()] == [(KEY, at(1))]
        assert world.health(1) is Health.UNHEALTHY


async def test_of_several_checks_the_worst_holds(world: World, autojump_clock: MockClock) -> None:
    async def answer(target: Target) -> Answer:
        await trio.lowlevel.checkpoint()
        good = target.manner.type == "tcp"
        return Answer(Finding.PASSED if good else Finding.FAILED, target.manner.type)

    world.answer = answer
    world.checks = (CHECK, HealthCheck("web"))
    world.say("consul", service("web", 1))
    async with world.probing():
        await trio.sleep(12)
        assert world.found(1) is Health.UNKNOWN
        await trio.sleep(10)
        assert world.health(1) is Health.UNHEALTHY
        assert world.probes.results()[KEY, at(1)].text == "http"


async def test_what_is_added_is_probed_within_a_second_and_what_is_gone_no_more(
    world: World, autojump_clock: MockClock
) -> None:
    world.say("consul", service("web", 1))
    world.ill = {1, 2}
    async with world.probing():
        await trio.sleep(22)
        assert world.health(1) is Health.UNHEALTHY
        world.say("consul", service("web", 2), service("other", 1))
        await trio.sleep(1.5)
        assert len(world.times(2)) == 1
        assert [*world.probes.results()] == [(KEY, at(2))]
        count = len(world.times(1))
        world.say("consul", service("web", 1, 2))
        world.hub.publish_now()
        assert world.health(1) is Health.HEALTHY, "forgotten: it may be quite another by now"
        await trio.sleep(1.5)
        assert len(world.times(1)) == count + 1


async def test_an_endpoint_may_go_while_it_is_probed(world: World, autojump_clock: MockClock) -> None:
    async def answer(target: Target) -> Answer:
        await trio.sleep(5)
        return Answer(Finding.FAILED, "late")

    world.answer = answer
    world.say("consul", service("web", 1))
    async with world.probing():
        await trio.sleep(1)
        assert world.probes.running == 1
        world.say("consul")
        await trio.sleep(2 * LOOK_S)
        assert world.probes.running == 0
        assert [target.address for target in world.cancelled] == [at(1)]
        await trio.sleep(20)
    assert len(world.asked) == 1
    assert world.hub.merge.probe(KEY, at(1), Health.UNKNOWN) == set()


async def test_another_check_does_not_put_the_dead_back(world: World, autojump_clock: MockClock) -> None:
    world.say("consul", service("web", 1))
    world.ill = {1}
    async with world.probing():
        await trio.sleep(22)
        world.checks = (HealthCheck("web", type="tcp", interval_s=1, rise=3),)
        for _ in range(10):
            await trio.sleep(0.1)
            assert world.health(1) is Health.UNHEALTHY
        assert world.asked[-1][1].manner.type == "tcp"
        world.ill = set()
        await trio.sleep(4)
        assert world.health(1) is Health.HEALTHY
        world.ill = {1}
        await trio.sleep(4)
        assert world.health(1) is Health.UNHEALTHY
        world.checks = ()
        await trio.sleep(1)
        assert (world.health(1), dict(world.probes.results())) == (Health.HEALTHY, {})


async def test_of_a_lost_source_only_what_is_used_is_probed(world: World, autojump_clock: MockClock) -> None:
    world.checks = ()
    world.say("consul", service("web", 1), service("unused", 2))
    world.say("file", service("static", 3))
    world.wanted = {KEY, "default/static", "default/nowhere"}
    async with world.probing():
        await trio.sleep(20)
        assert world.asked == []
        world.lose("consul")
        world.ill = {1}
        await trio.sleep(30)
        assert {target.address for _, target in world.asked} == {at(1)}
        assert {target.manner.type for _, target in world.asked} == {"tcp"}
        assert world.health(1) is Health.UNHEALTHY
        world.wanted.add("default/unused")
        await trio.sleep(2)
        assert len(world.times(2)) == 1
        world.lose("consul", lost=False)
        await trio.sleep(1)
        assert world.health(1) is Health.HEALTHY, "the source is back, and its word holds"
        count = len(world.asked)
        await trio.sleep(30)
        assert len(world.asked) == count


async def test_down_the_ladder_and_up_again(world: World, autojump_clock: MockClock) -> None:
    """The lost source's endpoints go on being probed while DNS leads; else the lead would swing for ever."""
    world.checks = ()
    world.say("kubernetes", service("web", 1))
    world.say("dns", service("web", 2))
    world.wanted = {KEY}
    world.ill = {1}
    seen = []
    async with world.probing():
        world.lose("kubernetes")
        for _ in range(600):
            await trio.sleep(0.1)
            world.hub.publish_now()
            found = world.hub.snapshot.service(KEY)
            assert found is not None
            seen.append(found.endpoints[0].address)
        world.ill = set()
        for _ in range(300):
            await trio.sleep(0.1)
            world.hub.publish_now()
            found = world.hub.snapshot.service(KEY)
            assert found is not None
            seen.append(found.endpoints[0].address)
    swings = [one for one, before in zip(seen[1:], seen, strict=False) if one != before]
    assert swings == [at(2), at(1)]


async def test_so_many_at_once_and_the_others_wait(world: World, autojump_clock: MockClock) -> None:
    most = 0

    async def answer(target: Target) -> Answer:
        nonlocal most
        most = max(most, world.probes.running)
        await trio.sleep(1)
        return Answer(Finding.PASSED, "slow")

    world.answer = answer
    world.say("consul", service("web", *range(1, 2 * AT_ONCE + 1)))
    async with world.probing():
        await trio.sleep(3)
    assert most == AT_ONCE
    assert len(world.asked) == 2 * AT_ONCE
    assert [when for when, _ in world.asked] == [0.5] * AT_ONCE + [1.5] * AT_ONCE
    assert (world.probes.delayed, world.probes.delay_s) == (AT_ONCE, AT_ONCE * 1.0)


async def test_many_new_ones_are_spread_and_more_than_there_is_room_for_are_told(
    world: World,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        module, "random", SimpleNamespace(random=iter(n / 499 for n in range(10**6)).__next__)
    )
    world.probes.roster = Roster(500)
    world.say("consul", service("web", *range(1, 501)), service("more", *range(1001, 1004)))
    world.checks = (HealthCheck("web"),)
    async with world.probing():
        await trio.sleep(1)
        world.checks = (HealthCheck("web"), HealthCheck("more"))
        assert FEW < 500
        assert 45 <= len(world.asked) <= 55
        await trio.sleep(9.1)
        assert len({target.address for _, target in world.asked}) == 500
        assert sum(world.probes.roster.refused.values()) == 3
        monkeypatch.setattr(module, "random", SimpleNamespace(random=lambda: 0.5))
        world.say("consul", service("web", *range(1, 499)), service("more", *range(1001, 1004)))
        await trio.sleep(1.5)
        assert sum(world.probes.roster.refused.values()) == 1
        world.say("consul", service("more", *range(1001, 1004)))
        await trio.sleep(1.5)
        assert {address for _, address in world.probes.results()} == {at(host) for host in (1001, 1002, 1003)}
    assert [record.message for record in caplog.records if "too many" in record.message] == [
        "too many endpoints to probe; some are not"
    ]


async def test_what_we_could_not_ask_counts_for_nothing(world: World, autojump_clock: MockClock) -> None:
    async def answer(target: Target) -> Answer:
        await trio.lowlevel.checkpoint()
        return Answer(Finding.VOID, "Too many open files")

    world.answer = answer
    world.say("consul", service("web", 1))
    async with world.probing():
        await trio.sleep(60)
        assert len(world.asked) == 6
        result = world.probes.results()[KEY, at(1)]
        assert (result.health, result.text) == (Health.UNKNOWN, "not counted: Too many open files")


async def test_in_the_end_nothing_stays_said(world: World, autojump_clock: MockClock) -> None:
    world.say("consul", service("web", 1))
    world.ill = {1}
    async with world.probing():
        await trio.sleep(25)
        assert world.health(1) is Health.UNHEALTHY
    assert world.health(1) is Health.HEALTHY


async def test_after_a_long_stop_what_is_overdue_is_spread_and_not_asked_at_once(
    world: World, autojump_clock: MockClock
) -> None:
    world.say("consul", service("web", 1, 2, 3))
    async with world.probing():
        await trio.sleep(17)
        before = len(world.asked)
        autojump_clock.jump(300)
        await trio.sleep(4.9)
        assert len(world.asked) == before
        await trio.sleep(0.2)
        assert len(world.asked) == before + 3
        assert world.probes.delayed == 0


async def test_a_short_stop_is_made_up_for_at_once(world: World, autojump_clock: MockClock) -> None:
    world.say("consul", service("web", 1))
    async with world.probing():
        await trio.sleep(10.4)
        autojump_clock.jump(1.5)
        await trio.sleep(0.1)
        assert world.times(1) == [0.5, 11.9]
        assert world.probes.delayed == 1


async def test_an_answer_that_comes_with_the_end_is_not_counted(
    world: World, autojump_clock: MockClock
) -> None:
    done = trio.Event()

    async def answer(target: Target) -> Answer:
        await done.wait()
        return Answer(Finding.FAILED, "too late")

    world.answer = answer
    world.checks = (HealthCheck("web", fall=1),)
    world.say("consul", service("web", 1))
    async with world.probing():
        await trio.sleep(1)
        world.say("consul")
        done.set()
        await world.probes._follow()  # in this very step, so that the answer is on its way already
        await trio.sleep(30)
    assert world.cancelled == []
    assert (len(world.asked), world.probes.ended, world.probes.running) == (1, 0, 0)


async def test_many_services_are_followed_with_pauses_and_none_is_missed(
    world: World, autojump_clock: MockClock
) -> None:
    world.checks = tuple(HealthCheck(f"s{number}") for number in range(3 * BETWEEN))
    world.say("consul", *(service(f"s{number}", number) for number in range(3 * BETWEEN)))
    pauses = 0

    async def count_turns() -> None:
        nonlocal pauses
        while len(world.probes.roster) < 3 * BETWEEN:
            pauses += len(world.probes.roster) > 0
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await world.probes._follow()
    assert len(world.probes.results()) == 3 * BETWEEN
    assert pauses
