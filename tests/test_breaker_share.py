"""Ring 2. Workers that hear of each other through an agent's board, over real channels and a mock clock."""

import contextlib
import math
from collections.abc import AsyncIterator

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from meshtrio import breaker_share as module
from meshtrio.balance.breaker import Thresholds
from meshtrio.balance.breaker_table import WHOLE
from meshtrio.balance.hearsay import Counts, Stand
from meshtrio.balance.verdict import ORDINARY, REFUSED, Verdict
from meshtrio.breaker_board import BreakerBoard
from meshtrio.breaker_share import BATCH_S, BreakerShare
from meshtrio.channel import Channel, ChannelClosed, local_pair
from meshtrio.fleet import Fleet
from meshtrio.messages import KnowBreakers, Observed, SeenElsewhere, ToAgent, ToWorker
from tests.support.catalog_desk import nobody

WEB, CART = "shop/web:http", "shop/cart:http"


class Node:
    """An agent's board, and workers that come, go and stop reading."""

    def __init__(self, workers: int, nursery: trio.Nursery) -> None:
        self.fleet = Fleet(workers, nobody)
        self.board = BreakerBoard(self.fleet, trio.current_time)
        self.nursery = nursery
        self.shares: dict[int, BreakerShare] = {}
        self.scopes: dict[int, trio.CancelScope] = {}
        self.messages = 0
        """How many the agent got and sent."""

    def start(self, number: int) -> BreakerShare:
        """Start a worker on a seat, as a fleet does: it hears the whole table first."""
        pair: tuple[Channel[ToAgent, ToWorker], Channel[ToWorker, ToAgent]] = local_pair()
        share = self.shares[number] = BreakerShare(clock=trio.current_time)
        for subject, (message, _) in self.fleet._table.items():
            self.fleet.seats[number].tell(subject, message)
        self.fleet.seats[number].ready.set()
        self.scopes[number] = trio.CancelScope()
        self.nursery.start_soon(self.converse, number, pair[0], self.scopes[number])
        self.nursery.start_soon(self.listen, share, pair[1])
        self.nursery.start_soon(share.run, pair[1])
        return share

    async def converse(self, number: int, line: Channel[ToAgent, ToWorker], scope: trio.CancelScope) -> None:
        seat = self.fleet.seats[number]
        with scope, contextlib.closing(line):
            async with trio.open_nursery() as talk:
                talk.start_soon(self.fleet._say, seat, line)
                while True:
                    message, _ = await line.receive()
                    assert isinstance(message, Observed)
                    self.messages += 1
                    self.board.hear(seat, message)

    async def listen(self, share: BreakerShare, line: Channel[ToWorker, ToAgent]) -> None:
        with contextlib.suppress(ChannelClosed):
            while True:
                message, _descriptors = await line.receive()
                assert isinstance(message, SeenElsewhere | KnowBreakers)
                self.messages += 1
                share.learn(message)

    def hang_up(self, number: int) -> None:
        self.scopes[number].cancel()
        self.fleet.seats[number].empty()


@contextlib.asynccontextmanager
async def node(workers: int) -> AsyncIterator[Node]:
    async with trio.open_nursery() as nursery:
        made = Node(workers, nursery)
        for number in range(workers):
            made.start(number)
        yield made
        nursery.cancel_scope.cancel()


def fails(share: BreakerShare, endpoint: str = "a", *, times: int = 5, port: str = WEB) -> None:
    for _ in range(times):
        share.of(port).record(endpoint, Verdict.FAILURE, trio.current_time(), ticket=ORDINARY)


def blocked(share: BreakerShare, port: str = WEB) -> frozenset[str]:
    return share.of(port).blocked(trio.current_time())


async def test_what_opens_in_one_worker_is_open_in_all_within_a_tenth_of_a_second(
    autojump_clock: MockClock,
) -> None:
    async with node(3) as made:
        fails(made.shares[0])
        assert [blocked(share) for share in made.shares.values()] == [{"a"}, set(), set()]
        await trio.sleep(0.1)
        await wait_all_tasks_blocked()
        assert [blocked(share) for share in made.shares.values()] == [{"a"}] * 3
        assert len({share.of(WEB).states(0)["a"].stand for share in made.shares.values()}) == 1
        assert made.messages == 1 + 3


async def test_failures_that_each_worker_sees_too_few_of_open_all_of_them(autojump_clock: MockClock) -> None:
    async with node(3) as made:
        for share in made.shares.values():
            fails(share, times=2)
        await trio.sleep(0.2)
        await wait_all_tasks_blocked()
        assert [blocked(share) for share in made.shares.values()] == [{"a"}] * 3
        assert len({share.of(WEB).states(1)["a"].stand for share in made.shares.values()}) == 1
        assert made.board.board.ports[WEB].opens == 1


async def test_a_storm_is_a_bounded_number_of_messages(autojump_clock: MockClock) -> None:
    lasts_s = 2.0
    async with node(2) as made:
        for share in made.shares.values():
            # If one opened, all would, and nobody would count any more.
            share.of(WEB, Thresholds(consecutive=0, rate_percent=0))
        while trio.current_time() < lasts_s:
            fails(made.shares[0], times=10)
            made.shares[0].of(WEB).record("a", Verdict.SUCCESS, trio.current_time(), ticket=ORDINARY)
            await trio.sleep(0.001)
        assert lasts_s / BATCH_S < made.messages <= 2 * (lasts_s / BATCH_S + 1)
        await trio.sleep(1)
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf, "silence wakes nobody"


async def test_a_worker_that_is_started_again_knows_what_is_open_and_forced(
    autojump_clock: MockClock,
) -> None:
    async with node(2) as made:
        fails(made.shares[0])
        made.board.force([CART], [WHOLE], "open")
        await trio.sleep(0.2)
        made.hang_up(1)
        await wait_all_tasks_blocked()
        share = made.start(1)
        await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        assert blocked(share) == {"a"}
        assert share.of(CART).begin("x", trio.current_time()) == REFUSED
        assert share.of(WEB).states(0)["a"].stand == made.shares[0].of(WEB).states(0)["a"].stand


async def test_an_orphan_goes_on_by_itself(autojump_clock: MockClock) -> None:
    async with node(2) as made:
        made.board.force([CART], ["x"], "open")
        fails(made.shares[0])
        await trio.sleep(0.2)
        for number in (0, 1):
            made.hang_up(number)
        await trio.sleep(0.2)
        orphan = made.shares[1]
        fails(orphan, "b")
        await trio.sleep(40)
        assert blocked(orphan, CART) == {"x"}
        for endpoint in "ab":
            for _ in range(3):
                ticket = orphan.of(WEB).begin(endpoint, trio.current_time())
                assert ticket > ORDINARY
                orphan.of(WEB).record(endpoint, Verdict.SUCCESS, trio.current_time(), ticket=ticket)
        assert blocked(orphan) == set()
        fails(orphan, "b")
        assert blocked(orphan) == {"b"}


async def test_what_closes_in_one_worker_closes_in_all_and_what_is_let_go_begins_anew(
    autojump_clock: MockClock,
) -> None:
    async with node(2) as made:
        fails(made.shares[0])
        await trio.sleep(40)
        one = made.shares[1].of(WEB)
        for _ in range(3):
            ticket = one.begin("a", trio.current_time())
            one.record("a", Verdict.SUCCESS, trio.current_time(), ticket=ticket)
        await trio.sleep(0.2)
        assert made.shares[0].of(WEB).begin("a", trio.current_time()) == ORDINARY
        made.board.force([WEB], ["a"], "open")
        await wait_all_tasks_blocked()
        assert [blocked(share) for share in made.shares.values()] == [{"a"}] * 2
        made.board.force([WEB], ["a"], None)
        await wait_all_tasks_blocked()
        assert [blocked(share) for share in made.shares.values()] == [set()] * 2


# A share alone


def test_thresholds_hold_from_the_last_asking_on() -> None:
    share = BreakerShare()
    one = share.of(WEB, Thresholds(consecutive=2))
    assert share.of(WEB) is one
    assert share.of(WEB, Thresholds(consecutive=3)) is one
    assert one.thresholds.consecutive == 3


def test_a_message_speaks_of_so_many_endpoints_and_the_next_of_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ROWS", 2)
    share = BreakerShare(clock=lambda: 1.0)
    for number in range(5):
        share.of(f"n/s{number}:").record("a", Verdict.FAILURE, 1.0, ticket=ORDINARY)
    told: dict[str, dict[str, Counts]] = {}
    sizes = []
    while (seen := share.take()) is not None:
        sizes.append(len(seen.counts))
        told |= seen.counts
    assert sizes == [2, 2, 1]
    assert told == {f"n/s{number}:": {"a": Counts(0, 1, 0, 1)} for number in range(5)}


def test_ports_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PORTS_BOUND", 2)
    share = BreakerShare(clock=lambda: 1.0)
    first = share.of("1")
    share.of("2")
    share.of("3")
    first.record("a", Verdict.FAILURE, 1.0, ticket=ORDINARY)  # goes on, and tells nobody
    assert share.take() is None
    assert share.of("1") is not first


def test_what_is_forgotten_or_empty_leaves_nothing() -> None:
    share = BreakerShare(clock=lambda: 1.0)
    share.of(WEB).record("a", Verdict.FAILURE, 1.0, ticket=ORDINARY)
    share.forget(WEB)
    share.forget(WEB)
    assert share.take() is None
    share.learn(KnowBreakers(CART, {}, {}))
    assert share._ports == {}


def test_absurd_news_change_nothing() -> None:
    share = BreakerShare(clock=lambda: 1.0)
    share.learn(KnowBreakers(WEB, {"a": Stand(math.inf, True, math.inf, 1)}, {}))
    share.learn(SeenElsewhere({WEB: {"a": Counts(-1, -1, -1, 99)}}))
    assert share.of(WEB).blocked(1.0) == frozenset()
    assert share.of(WEB).states(1.0) == {}
