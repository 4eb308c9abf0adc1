"""Ring 2. What one worker saw, all hear: seats whose words are read, and no worker behind them."""

import math

import pytest

from meshtrio import breaker_board as module
from meshtrio.balance.breaker_table import WHOLE
from meshtrio.balance.hearsay import Counts, Stand
from meshtrio.breaker_board import PRUNE_S, BreakerBoard
from meshtrio.fleet import Fleet
from meshtrio.messages import KnowBreakers, Observed, SeenElsewhere
from tests.support.catalog_desk import nobody

NOW = 1000.0
WEB, CART = "shop/web:http", "shop/cart:http"
OPEN = Stand(NOW, True, NOW + 30, 1)


class Scene:
    """Three seats, whose workers are ready and read when the test says."""

    def __init__(self) -> None:
        self.fleet = Fleet(3, nobody)
        self.now = NOW
        self.board = BreakerBoard(self.fleet, lambda: self.now)
        for seat in self.fleet.seats:
            seat.ready.set()

    def sees(self, who: int, counts: dict[str, dict[str, Counts]], **stands: Stand) -> None:
        self.board.hear(self.fleet.seats[who], Observed(counts, {WEB: stands} if stands else {}))

    def read(self, who: int) -> list[object]:
        waiting = self.fleet.seats[who].waiting
        words: list[object] = [message for message, _ in waiting.values()]
        waiting.clear()
        return words


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_counts_go_to_the_others_alone_and_add_up_while_they_do_not_read(scene: Scene) -> None:
    scene.sees(0, {WEB: {"a": Counts(1, 2, 0, 2)}})
    assert scene.read(1) == [SeenElsewhere({WEB: {"a": Counts(1, 2, 0, 2)}})]
    scene.sees(1, {WEB: {"a": Counts(0, 1, 0, 1), "b": Counts(0, 1, 0, 1)}, CART: {"a": Counts(0, 0, 1)}})
    assert scene.read(0) == [
        SeenElsewhere({WEB: {"a": Counts(0, 1, 0, 1), "b": Counts(0, 1, 0, 1)}, CART: {"a": Counts(0, 0, 1)}})
    ]
    assert scene.read(1) == []
    assert scene.read(2) == [
        SeenElsewhere({WEB: {"a": Counts(1, 3, 0, 3), "b": Counts(0, 1, 0, 1)}, CART: {"a": Counts(0, 0, 1)}})
    ]


def test_counts_are_not_kept_for_a_worker_that_is_not_there(scene: Scene) -> None:
    scene.fleet.seats[1].empty()
    scene.sees(0, {WEB: {"a": Counts(0, 1, 0, 1)}})
    assert (scene.read(1), len(scene.read(2))) == ([], 1)


def test_what_waits_for_one_that_does_not_read_is_bounded(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RELAYED", 3)
    one = Counts(0, 1, 0, 1)
    for endpoint in "abcde":
        scene.sees(0, {WEB: {endpoint: one}})
    scene.sees(0, {WEB: {"a": one}})
    (words,) = scene.read(1)
    assert words == SeenElsewhere({WEB: {"a": Counts(0, 2, 0, 2), "b": one, "c": one}})
    assert scene.board.untold == 2 * 2


def test_what_breakers_came_to_is_told_to_all_and_to_those_that_start_later(scene: Scene) -> None:
    scene.sees(0, {}, a=OPEN)
    told = KnowBreakers(WEB, {"a": OPEN}, {})
    assert [scene.read(who) for who in range(3)] == [[told]] * 3
    assert [message for message, _ in scene.fleet._table.values()] == [told]
    scene.sees(1, {}, a=OPEN)  # nothing new
    assert scene.read(2) == []
    newer = Stand(NOW + 1, True, NOW + 33, 1)
    scene.sees(1, {}, a=newer, b=OPEN)
    assert scene.read(2) == [KnowBreakers(WEB, {"a": newer, "b": OPEN}, {})]


def test_what_says_nothing_any_more_leaves_the_table(scene: Scene) -> None:
    scene.sees(0, {}, a=OPEN)
    scene.read(1)
    scene.now = NOW + 1000
    scene.sees(0, {CART: {"x": Counts(0, 1, 0, 1)}})
    assert KnowBreakers(WEB, {}, {}) in scene.read(1)
    assert list(scene.fleet._table) == []
    scene.now += PRUNE_S - 1
    scene.sees(0, {CART: {"x": Counts(0, 1, 0, 1)}})
    assert len(scene.read(1)) == 1


def test_what_an_operator_holds_is_told_whole(scene: Scene) -> None:
    scene.board.force([WEB, CART], [WHOLE], "open")
    scene.board.force([WEB], ["a", "b"], "close")
    assert scene.read(1) == [
        KnowBreakers(CART, {}, {WHOLE: "open"}),
        KnowBreakers(WEB, {}, {WHOLE: "open", "a": "close", "b": "close"}),
    ]
    scene.board.force([WEB], [WHOLE], None)
    scene.board.force([CART, "never/known:"], [WHOLE], None)
    assert scene.read(1) == [KnowBreakers(WEB, {}, {}), KnowBreakers(CART, {}, {})]
    assert list(scene.fleet._table) == []


def test_absurd_words_are_passed_over(scene: Scene) -> None:
    scene.sees(0, {}, a=Stand(math.nan, True, math.inf, 1), b=Stand(NOW * 9, True, NOW, 1))
    assert scene.board.board.absurd == 2
    assert [scene.read(who) for who in range(3)] == [[]] * 3


@pytest.mark.parametrize("times", [1, 200])
def test_a_storm_costs_one_message_for_each_that_does_not_read(scene: Scene, times: int) -> None:
    for number in range(times):
        scene.sees(0, {WEB: {"a": Counts(0, 1, 0, 1)}}, a=Stand(NOW + number * 1e-6, True, NOW + 30, 1))
    assert [type(words) for words in scene.read(1)] == [KnowBreakers, SeenElsewhere]
