"""Who is the first choice, and who comes after that."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance.eligible import Eligible, Tier, is_usable, sorted_out, why_not
from meshtrio.catalog.service import Endpoint, Health
from meshtrio.config.traffic import Settings
from tests.support.endpoints import GOING, ILL, endpoint, endpoints


def told(eligible: Eligible) -> tuple[str, str, list[str]]:
    """Say the tier, the first choice, and the rest, by letters."""
    letters = ["".join(one.id for one in group) for group in (eligible.chosen, *eligible.rest)]
    return eligible.tier.value, letters[0], letters[1:]


def out(
    given_endpoints: tuple[Endpoint, ...], *, zone: str = "", blocked: str = "", **words: object
) -> tuple[str, str, list[str]]:
    settings = msgspec.structs.replace(Settings(), **words)
    return told(sorted_out(given_endpoints, settings, zone=zone, blocked=frozenset(blocked)))


def test_all_that_are_ready_are_the_first_choice() -> None:
    assert out(endpoints("abc")) == ("all", "abc", [])
    assert out(()) == ("none", "", [])


def test_the_rest_comes_in_the_order_in_which_it_still_serves() -> None:
    everybody = (
        *endpoints("a", **ILL, **GOING),
        *endpoints("b", **ILL),
        *endpoints("c", **GOING),
        *endpoints("d", weight=0),
        *endpoints("ef"),
    )
    assert out(everybody) == ("all", "ef", ["d", "c", "b", "a"])


@pytest.mark.parametrize(
    ("ready", "ill", "panic_percent", "expected"),
    [
        ("ab", "cd", 50, ("all", "ab", ["cd"])),
        ("a", "bcd", 50, ("panic", "abcd", [])),
        ("a", "bcd", 25, ("all", "a", ["bcd"])),
        ("a", "bcd", 0, ("all", "a", ["bcd"])),
        ("abc", "d", 100, ("panic", "abcd", [])),
        ("", "ab", 50, ("last", "ab", [])),
    ],
)
def test_panic(ready: str, ill: str, panic_percent: int, expected: tuple[str, str, list[str]]) -> None:
    assert out((*endpoints(ready), *endpoints(ill, **ILL)), panic_percent=panic_percent) == expected


def test_who_drains_does_not_count_for_panic_and_is_not_in_it() -> None:
    draining = endpoints("xyz", **GOING)
    assert out((*endpoints("a"), *draining)) == ("all", "a", ["xyz"])
    assert out((*endpoints("a"), *endpoints("bc", **ILL), *draining), panic_percent=50) == (
        "panic",
        "abc",
        ["xyz"],
    )


def test_who_is_blocked_is_nowhere_and_counts_as_missing() -> None:
    assert out(endpoints("abcd"), blocked="ab") == ("all", "cd", [])
    assert out((*endpoints("abc"), *endpoints("d", **ILL)), blocked="ab", panic_percent=50) == (
        "panic",
        "cd",
        [],
    )
    assert out(endpoints("ab"), blocked="ab") == ("none", "", [])


def test_while_nobody_is_ready_those_that_drain_come_before_the_unhealthy() -> None:
    assert out((*endpoints("a", **ILL), *endpoints("b", **GOING))) == ("last", "b", ["a"])


def test_weight_0_gets_nothing_while_others_are_there() -> None:
    idle, busy = endpoints("ab", weight=0), endpoints("c")
    assert out((*idle, *busy)) == ("all", "c", ["ab"])
    assert out((*idle, *busy), blocked="c") == ("all", "ab", [])
    alone = sorted_out(idle, Settings(), zone="", blocked=())
    assert alone.weightless
    assert not sorted_out(busy, Settings(), zone="", blocked=()).weightless


ZONES = (*endpoints("abcd", zone="x"), *endpoints("efgh", zone="y"))


def share(eligible: Eligible) -> tuple[str, float, str]:
    letters = ["".join(one.id for one in group) for group in (eligible.chosen, eligible.far)]
    return letters[0], round(eligible.share, 6), letters[1]


def test_the_zone_comes_first_and_the_others_after_it() -> None:
    assert out(ZONES, zone="x") == ("zone", "abcd", ["efgh"])
    assert out(ZONES, zone="y") == ("zone", "efgh", ["abcd"])
    assert out(ZONES, zone="elsewhere") == ("all", "abcdefgh", [])
    assert out(ZONES, zone="") == ("all", "abcdefgh", [])
    assert out(ZONES, zone="x", zone_aware=False) == ("all", "abcdefgh", [])
    assert out(endpoints("ab", zone="x"), zone="x") == ("zone", "ab", [])


@pytest.mark.parametrize(
    ("blocked", "expected"),
    [
        ("", ("abcd", 1, "")),
        ("a", ("bcd", 1, "")),
        ("ab", ("cd", 0.714286, "efgh")),
        ("abc", ("d", 0.357143, "efgh")),
        ("abcd", ("efgh", 1, "")),
    ],
)
def test_below_the_threshold_the_missing_share_spills_over(
    blocked: str, expected: tuple[str, float, str]
) -> None:
    eligible = sorted_out(ZONES, Settings(), zone="x", blocked=frozenset(blocked))
    assert share(eligible) == expected


def test_capacity_is_counted_in_weights() -> None:
    zones = (endpoint("a", zone="x", weight=1), endpoint("b", zone="x", weight=9), *endpoints("cd", zone="y"))
    eligible = sorted_out(zones, Settings(), zone="x", blocked={"b"})
    assert (eligible.tier, *share(eligible)) == (Tier.SPILL, "a", 0.142857, "cd")


def test_hints_are_stronger_than_zones_if_all_have_them_and_some_are_for_us() -> None:
    hinted = (
        endpoint("a", zone="x", for_zones=("y",)),
        endpoint("b", zone="y", for_zones=("x", "z")),
        endpoint("c", zone="y", for_zones=("y",)),
    )
    assert out(hinted, zone="x") == ("zone", "b", ["ac"])
    assert out(hinted, zone="z") == ("zone", "b", ["ac"])
    assert out(hinted, zone="w") == ("all", "abc", [])
    some = (*hinted, endpoint("d", zone="x"))
    assert out(some, zone="x") == ("zone", "ad", ["bc"]), "one has no hint: zones count"


def test_why_an_endpoint_is_not_usable_is_said() -> None:
    one = endpoint("a", health=Health.UNHEALTHY, draining=True)
    assert why_not(one, {"a"}) == "its breaker is open, unhealthy, draining"
    assert why_not(endpoint("a"), ()) == ""


some_endpoints = st.lists(
    st.builds(
        endpoint,
        st.sampled_from("abcdefgh"),
        weight=st.integers(0, 3),
        zone=st.sampled_from(["", "x", "y"]),
        health=st.sampled_from(Health),
        draining=st.booleans(),
        for_zones=st.sampled_from([(), ("x",), ("y",)]),
    ),
    unique_by=lambda one: one.id,
    max_size=8,
).map(tuple)


@given(some_endpoints, st.sets(st.sampled_from("abcdefgh")), st.integers(0, 100), st.sampled_from(["", "x"]))
def test_everybody_who_is_not_blocked_is_in_one_group(
    given_endpoints: tuple[Endpoint, ...], blocked: set[str], panic_percent: int, zone: str
) -> None:
    settings = Settings(panic_percent=panic_percent)
    eligible = sorted_out(given_endpoints, settings, zone=zone, blocked=blocked)
    groups = [eligible.chosen, eligible.far, *eligible.rest]
    told_ids = [one.id for group in groups for one in group]
    assert sorted(told_ids) == sorted(one.id for one in given_endpoints if one.id not in blocked)
    assert all(eligible.rest)
    assert bool(eligible.chosen) == bool(told_ids)
    assert 0 < eligible.share <= 1
    assert (eligible.share < 1) == bool(eligible.far)
    usable = [one for one in given_endpoints if is_usable(one, blocked)]
    if usable and eligible.tier is not Tier.PANIC:
        assert all(one in usable for one in (*eligible.chosen, *eligible.far))
    if any(one.weight for one in usable):
        assert all(one.weight for one in eligible.chosen)
