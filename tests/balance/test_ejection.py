"""Never more than a share is blocked, and those open for the longest come back first."""

from random import Random

import pytest

from meshtrio.balance.breaker import Breaker, Thresholds
from meshtrio.balance.breaker_table import Input, State
from meshtrio.balance.ejection import blocked
from meshtrio.balance.hearsay import Counts

NOW = 100.0


def broken(names: str, *, forced: str = "") -> dict[str, Breaker]:
    """Make breakers that opened one second after the other."""
    made = {}
    for after, name in enumerate(names + forced):
        made[name] = Breaker(Thresholds(), Random(0))
        made[name].count(Counts(0, 5, 0, 5), NOW + after)
        if name in forced:
            made[name].move(Input.FORCE_OPEN, NOW)
    return made


@pytest.mark.parametrize(
    ("names", "members", "percent", "out"),
    [
        ("ab", "abcd", 50, "ab"),
        ("abc", "abcd", 50, "bc"),
        ("abcd", "abcd", 50, "cd"),
        ("abcd", "abcd", 100, "abcd"),
        ("abcd", "abcd", 0, ""),
        ("abcd", "abcd", 10, "d"),  # one at least
        ("a", "a", 50, "a"),
        ("abc", "bcxyz", 50, "bc"),  # who has left is nobody's share
    ],
)
def test_the_share(names: str, members: str, percent: float, out: str) -> None:
    assert blocked(broken(names), frozenset(members), percent, NOW + 9) == frozenset(out)


def test_what_is_forced_open_is_blocked_beside_the_share() -> None:
    breakers = broken("abc", forced="xy")
    assert blocked(breakers, frozenset("abcxyz"), 50, NOW + 9) == frozenset("bcxy")
    assert blocked(breakers, frozenset("abcxyz"), 0, NOW + 9) == frozenset("xy")
    assert blocked(broken("", forced="xyz"), frozenset("xyz"), 10, NOW) == frozenset("xyz")


def test_without_members_all_that_is_open_is_blocked() -> None:
    assert blocked(broken("abc"), None, 10, NOW + 9) == frozenset("abc")


def test_a_half_open_one_is_blocked_while_its_permits_are_out() -> None:
    breakers = broken("a")
    now = breakers["a"].stand.until
    breakers["a"].tick(now)
    assert breakers["a"].state is State.HALF_OPEN
    assert blocked(breakers, None, 100, now) == frozenset()
    for ticket in (2, 3, 4):
        assert breakers["a"].permit(ticket, now)
    assert blocked(breakers, None, 100, now) == frozenset("a")
