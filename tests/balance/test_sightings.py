"""What is news is told once, and what is told is forgotten."""

from meshtrio.balance.hearsay import FAILURE, SUCCESS, Counts, Stand
from meshtrio.balance.sightings import Sightings


def test_successes_wait_for_news_to_go_along_with() -> None:
    seen = Sightings()
    calls: list[int] = []
    seen.on_news = lambda: calls.append(1)
    seen.count("a", SUCCESS, is_news=False)
    assert not seen
    assert seen.take() == ({}, {})
    seen.count("a", FAILURE, is_news=True)
    seen.count("a", FAILURE, is_news=True)
    seen.count("b", SUCCESS, is_news=False)
    assert seen
    assert calls == [1]
    assert seen.take() == ({"a": Counts(1, 2, 0, 2)}, {})
    assert not seen
    assert seen.take() == ({}, {})


def test_what_a_breaker_came_to_says_all_that_led_there() -> None:
    seen = Sightings()
    calls: list[int] = []
    seen.on_news = lambda: calls.append(1)
    seen.count("a", FAILURE, is_news=True)
    seen.came_to("a", Stand(1, True, 2, 1))
    seen.came_to("a", Stand(3, False, 0, 1))
    assert seen.take() == ({}, {"a": Stand(3, False, 0, 1)})
    seen.came_to("a", Stand(5, True, 6, 2))
    assert calls == [1, 1]


def test_what_is_forgotten_is_not_told() -> None:
    seen = Sightings()
    seen.count("a", FAILURE, is_news=True)
    seen.came_to("b", Stand(1, True, 2, 1))
    seen.forget("a")
    seen.forget("b")
    seen.forget("c")
    assert not seen
    assert seen.take() == ({}, {})
