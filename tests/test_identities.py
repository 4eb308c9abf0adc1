"""Ring 2. All identities of a node on a virtual clock, through outages, jumps, revocations and a year."""

import functools
import itertools

import pytest
import trio
from trio.testing import MockClock

from meshtrio import identities as module
from meshtrio import renewing
from meshtrio.config.identity import Identity
from meshtrio.identities import Identities, UnknownWorkload
from meshtrio.identity.bundle import make_bundle
from meshtrio.identity.plan import wakes_in_s
from meshtrio.identity.revocation import Revocations
from meshtrio.identity.rotation import State
from meshtrio.identity.spiffe import parse
from meshtrio.issuers.issuer import IssueError, Wanted
from meshtrio.issuers.signing import fresh_root
from tests.support.bearers import WEB, Node, living
from tests.support.identities import NOW

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S


@pytest.fixture
def node() -> Node:
    return Node()


async def test_the_first_certificate_is_there_when_the_workload_enters(
    autojump_clock: MockClock, node: Node
) -> None:
    async with living(node):
        await node.enter()
        assert trio.current_time() == 0.2
        told = node.credentials[1]
        assert (told.spiffe_id, len(told.chain), told.not_after) == (WEB, 2, NOW + 0.2 // 1 + DAY_S)
        assert str(node.proves()) == WEB
        assert node.trusted.own == "td" and len(node.trusted.bundles["td"]) == 1


async def test_a_slow_authority_holds_nobody_up_for_long(autojump_clock: MockClock, node: Node) -> None:
    node.clerk.takes_s = 5
    async with living(node):
        await node.enter()
        assert trio.current_time() == module.FIRST_S
        assert node.credentials[1].why == "there is no certificate yet"
        await node.enter(2, "cart")
        assert trio.current_time() == module.FIRST_S, "the second one does not wait again"
        await trio.sleep(10)
        assert node.serves(1) and node.serves(2)


async def test_a_refusal_is_told_at_once_and_overcome(autojump_clock: MockClock, node: Node) -> None:
    node.clerk.down = "the root is broken"
    async with living(node):
        await node.enter()
        assert trio.current_time() == 0.2
        assert node.credentials[1].why == "there is no certificate yet; the root is broken"
        node.clerk.down = ""
        await trio.sleep(5)
        assert str(node.proves()) == WEB


async def test_without_source_there_is_nothing_to_do(autojump_clock: MockClock) -> None:
    node = Node(source="off")
    async with living(node):
        await node.enter()
        node.identities.leave(1)
        assert (node.credentials, node.trusted.own, node.identities.issuer) == ({}, "", None)


async def test_names_that_cannot_stand_in_an_id(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        await node.identities.enter(1, "web", namespace="a/b", service_account="x")
        assert not node.serves()
        assert "a/b" in node.credentials[1].why


async def test_who_left_is_forgotten(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        await node.enter()
        node.identities.leave(1)
        node.identities.leave(1)
        assert not node.serves()
        count = len(node.clerk.made)
        await trio.sleep(2 * DAY_S)
        assert len(node.clerk.made) == count
        await node.enter(2)
        assert node.serves(2)


# Rotation


async def test_a_year_of_rotations(
    autojump_clock: MockClock, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authority that is down for 6 h once a month and slow otherwise: never a moment without."""
    # Looking each minute whether the clock was set makes half a million looks a year.
    monkeypatch.setattr(renewing, "wakes_in_s", functools.partial(wakes_in_s, most_s=3600.0))
    async with living(node):
        await node.enter()
        moments = 0
        while trio.current_time() < YEAR_S:
            node.clerk.down = "maintenance" if trio.current_time() % (30 * DAY_S) < DAY_S / 4 else ""
            assert str(node.proves()) == WEB
            moments += 1
            await trio.sleep(3 * 3600)
        assert 540 < len(node.clerk.made) < 640
        assert len({made.serial for made in node.clerk.made}) == len(node.clerk.made)
        assert len({made.key for made in node.clerk.made}) == len(node.clerk.made)
        assert all(told.chain for told in node.said if told.workload == 1 and told is not node.said[0])
        assert moments == 2920


async def test_down_for_20_hours_harms_nobody(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        await node.enter()
        node.clerk.down = "no answer"
        for _ in range(20):
            await trio.sleep(3600)
            assert str(node.proves()) == WEB
        bearer = node.identities.bearers[1]
        assert (bearer.plan.state, bearer.error) == (State.FAILING, "no answer")
        node.clerk.down = ""
        await trio.sleep(301)
        assert (bearer.plan.state, bearer.error) == (State.FRESH, "")


async def test_down_past_the_end_is_said_and_heals(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        await node.enter()
        node.clerk.down = "no answer"
        await trio.sleep(DAY_S + 200)
        assert node.serves(), "clocks may differ by five minutes"
        await trio.sleep(200)
        assert not node.serves()
        assert node.credentials[1].why == ("its certificate has expired, or our clock is wrong; no answer")
        node.clerk.down = ""
        await trio.sleep(301)
        assert str(node.proves()) == WEB


@pytest.mark.parametrize("ahead_s", [-299.0, 299.0])
async def test_clocks_may_differ_by_five_minutes(
    autojump_clock: MockClock, node: Node, ahead_s: float
) -> None:
    node.clerk.ahead_s = ahead_s
    async with living(node):
        await node.enter()
        for _ in range(30):
            assert str(node.proves()) == WEB
            await trio.sleep(3600)


@pytest.mark.parametrize("jump_s", [-10 * DAY_S, -3600.0, 3600.0, 10 * DAY_S])
async def test_a_jump_of_the_clock_does_not_stop_rotation(
    autojump_clock: MockClock, node: Node, jump_s: float
) -> None:
    """The authority's clock jumps with ours: it is in this process."""
    async with living(node):
        await node.enter()
        await trio.sleep(3600)
        node.ahead_s = node.clerk.ahead_s = jump_s
        node.clerk.authority = fresh_root("td", node.wall_now(), 300)
        assert node.clerk.news is not None
        node.clerk.news(make_bundle("td", (node.clerk.authority.certificate,)))
        await trio.sleep(120)
        count = len(node.clerk.made)
        assert node.serves()
        await trio.sleep(3 * DAY_S)
        assert len(node.clerk.made) >= count + 3
        assert str(node.proves()) == WEB


async def test_an_emergency_replaces_all_or_some(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        for number, name in enumerate(("web", "cart", "till"), 1):
            await node.enter(number, name)
        before = dict(node.credentials)
        rotated = await node.identities.rotate(["cart"])
        assert [bearer.name for bearer in rotated] == ["cart"]
        assert [node.credentials[n] != before[n] for n in (1, 2, 3)] == [False, True, False]
        await node.identities.rotate()
        assert all(node.credentials[n] != before[n] for n in (1, 2, 3))
        with pytest.raises(UnknownWorkload, match="no workload nobody"):
            await node.identities.rotate(["web", "nobody"])


async def test_an_emergency_while_one_is_asked_for(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        await node.enter()
        node.clerk.takes_s = 2
        async with trio.open_nursery() as both:
            both.start_soon(node.identities.rotate)
            await trio.sleep(1)
            both.start_soon(node.identities.rotate)
        assert node.serves()
        assert len(node.clerk.made) == 2, "the attempt that was under way is dropped"


async def test_an_authority_that_hangs_is_given_up(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        await node.enter()
        node.clerk.takes_s = 10_000
        await node.identities.rotate()
        assert trio.current_time() == 0.2 + module.ROTATED_S
        await trio.sleep(30)
        assert "has not answered for 30 s" in node.identities.bearers[1].error
        assert node.serves()


async def test_a_certificate_that_comes_unasked_is_used(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        await node.enter()
        asked = len(node.clerk.made)
        pushed = await node.clerk.issue(Wanted(parse(WEB), "web", DAY_S))
        assert node.clerk.news is not None
        node.clerk.news(pushed)
        assert node.credentials[1].chain == pushed.chain
        await trio.sleep(DAY_S / 2)
        assert len(node.clerk.made) == asked + 1


# Revocation and roots


async def test_revoked_is_replaced_at_once(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        await node.enter()
        trusting = node.identities.trusting
        assert trusting is not None
        old = node.clerk.made[0].serial
        trusting._take(trusting.trust.revoking(Revocations().with_serial(old)))
        assert node.trusted.revoked_serials == {f"{old:x}": 0.0}
        await trio.sleep(0.1)
        assert not node.serves()
        assert node.credentials[1].why == "its certificate was revoked"
        await trio.sleep(0.2)
        assert str(node.proves()) == WEB


async def test_a_revoked_id_gets_no_certificate_until_it_is_taken_back(
    autojump_clock: MockClock, node: Node
) -> None:
    async with living(node):
        await node.enter()
        trusting = node.identities.trusting
        assert trusting is not None
        trusting._take(trusting.trust.revoking(Revocations().with_id(parse(WEB))))
        await trio.sleep(3600)
        assert not node.serves() and len(node.clerk.made) == 1
        assert node.credentials[1].why == f"its certificate was revoked; {WEB} is revoked"
        trusting._take(trusting.trust.revoking(Revocations()))
        await trio.sleep(0.3)
        assert str(node.proves()) == WEB


async def test_only_who_has_the_root_can_rotate_it(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        with pytest.raises(IssueError, match="is not ours to rotate"):
            await node.identities.rotate_root()


# Many, and the wrong kind of authority


async def test_a_thousand_workloads_are_renewed_apart(autojump_clock: MockClock, node: Node) -> None:
    node.clerk.takes_s = 0
    async with living(node):
        for number in range(1, 301):
            await node.enter(number, f"w{number}")
        dues = sorted(one.renews_at(node.identities.now()) for one in node.identities.bearers.values())
        assert dues[-1] - dues[0] > 3600
        assert max(later - sooner for sooner, later in itertools.pairwise(dues)) < 600


async def test_a_source_with_a_bug_begins_anew(autojump_clock: MockClock) -> None:
    class Buggy:
        name, lives = "buggy", 0

        async def run(self, news: object, task_status: object = None) -> None:
            self.lives += 1
            raise KeyError("oops")

        async def issue(self, wanted: object) -> None:
            raise TypeError("oops")

    buggy = Buggy()
    identities = Identities(Identity(trust_domain="td"), lambda subject, message: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(identities.run, lambda settings, wall_now: buggy)
        await identities.enter(1, "web", namespace="shop", service_account="web")
        await trio.sleep(10)
        assert buggy.lives > 2
        assert identities.fault == "a bug of ours: KeyError"
        assert identities.bearers[1].error == "a bug of ours: TypeError"
        nursery.cancel_scope.cancel()


async def test_a_key_is_in_no_words(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        await node.enter()
        bearer = node.identities.bearers[1]
        for one in (bearer.issued, node.credentials[1], node.said, bearer, node.identities):
            assert repr(node.clerk.made[0].key)[2:-1] not in repr(one)
