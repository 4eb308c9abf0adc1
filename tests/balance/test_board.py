"""What the agent knows of breakers: the newest of each, what an operator holds, and no more than fits."""

import math

import pytest

from meshtrio.balance import board as module
from meshtrio.balance.board import FORGET_S, Board, BoardFull
from meshtrio.balance.breaker_table import WHOLE, State
from meshtrio.balance.hearsay import Stand

NOW = 1000.0
WEB, CART = "shop/web:http", "shop/cart:http"
OPEN = Stand(NOW, True, NOW + 30, 1)


def test_the_newest_stand_of_each_endpoint_is_kept() -> None:
    board = Board()
    assert board.hear({WEB: {"a": OPEN}, CART: {}}, NOW) == [WEB]
    assert board.hear({WEB: {"a": OPEN}}, NOW) == []
    assert board.hear({WEB: {"a": Stand(NOW - 1, False, 0, 1)}}, NOW) == []
    port = board.ports[WEB]
    assert [port.state("a", NOW), port.state("a", NOW + 30), port.state("b", NOW)] == [
        State.OPEN,
        State.HALF_OPEN,
        State.CLOSED,
    ]
    assert board.hear({WEB: {"a": Stand(NOW + 1, False, 0, 1)}}, NOW + 1) == [WEB]
    assert port.state("a", NOW + 1) is State.CLOSED


def test_an_opening_that_several_workers_see_is_one() -> None:
    board = Board()
    board.hear({WEB: {"a": OPEN}}, NOW)
    board.hear({WEB: {"a": Stand(NOW + 0.01, True, NOW + 33, 1)}}, NOW + 1)
    assert board.ports[WEB].opens == 1
    board.hear({WEB: {"a": Stand(NOW + 40, True, NOW + 90, 2)}}, NOW + 40)
    assert board.ports[WEB].opens == 2
    board.hear({WEB: {"a": Stand(NOW + 95, False, 0, 2)}}, NOW + 95)
    assert board.ports[WEB].opens == 2


def test_what_is_forced_hides_what_the_breaker_came_to_and_makes_it_begin_anew() -> None:
    board = Board()
    board.hear({WEB: {"a": OPEN, "b": OPEN}}, NOW)
    port = board.ports[WEB]
    board.force(WEB, "a", "close")
    board.force(WEB, "c", "open")
    assert [port.state(one, NOW) for one in "abc"] == [State.FORCED_CLOSED, State.OPEN, State.FORCED_OPEN]
    board.force(WEB, "a", None)
    assert port.state("a", NOW) is State.CLOSED
    board.force(WEB, WHOLE, "open")
    assert {port.state(one, NOW) for one in "abc"} == {State.FORCED_OPEN}
    board.force(WEB, WHOLE, None)
    assert {port.state(one, NOW) for one in "abc"} == {State.CLOSED}
    board.force(CART, "a", None)
    assert CART not in board.ports


def test_the_absurd_is_counted_and_passed_over() -> None:
    board = Board()
    absurd = {
        "a": Stand(NOW, True, math.inf, 1),
        "b": Stand(NOW + 99, True, NOW, 1),
        "c": Stand(NOW, True, NOW, 999),
    }
    assert board.hear({WEB: absurd}, NOW) == []
    assert (board.absurd, board.ports) == (3, {})


def test_what_says_nothing_any_more_is_forgotten() -> None:
    board = Board()
    board.hear({WEB: {"a": OPEN}, CART: {"b": OPEN}}, NOW)
    board.force(CART, "c", "open")
    assert board.prune(NOW + 30 + FORGET_S - 1) == []
    assert board.prune(NOW + 30 + FORGET_S) == [WEB]
    assert board.prune(NOW + 31 + FORGET_S) == []
    assert board.ports[WEB].opens == 1  # what was counted stays
    assert board.ports[CART].forced == {"c": "open"}


def test_full_it_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_BOUND", 2)
    monkeypatch.setattr(module, "PORTS_BOUND", 2)
    monkeypatch.setattr(module, "FORCED_BOUND", 1)
    board = Board()
    assert board.hear({WEB: {"a": OPEN, "b": OPEN, "c": OPEN}}, NOW) == [WEB]
    assert (set(board.ports[WEB].stands), board.dropped) == ({"a", "b"}, 1)
    newer = Stand(NOW + 1, True, NOW + 31, 1)
    assert board.hear({WEB: {"a": newer}}, NOW + 1) == [WEB]  # what is known can still change
    assert board.hear({CART: {"a": OPEN}}, NOW) == []
    board.prune(NOW + 700)
    assert board.hear({"x/y:": {"a": Stand(NOW + 700, True, NOW + 730, 1)}}, NOW + 700) == ["x/y:"]
    assert set(board.ports) == {"x/y:"}  # ports of which nothing is left made room
    board.force("x/y:", "a", "open")
    with pytest.raises(BoardFull, match="1 breakers are forced already"):
        board.force("x/y:", "b", "open")
    board.force("x/y:", "a", None)
    board.force("x/y:", "b", "open")
