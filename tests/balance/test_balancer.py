"""Who is picked as endpoints, breakers, time and settings change, and who holds what."""

from collections import Counter
from random import Random
from typing import Any

import msgspec
import pytest

from meshtrio.balance.algorithm import NAMES
from meshtrio.balance.balancer import UNDERFLOW, WEIGHTLESS, Balancer
from meshtrio.balance.breaker import Thresholds
from meshtrio.balance.breakers import PortBreakers
from meshtrio.balance.hashing import key_hash
from meshtrio.balance.verdict import Verdict
from meshtrio.catalog.service import Endpoint, Health
from meshtrio.config.traffic import ServiceLimits, Settings
from tests.support.endpoints import GOING, ILL, Switches, endpoint, endpoints

Endpoints = tuple[Endpoint, ...]


def balancer(switches: Any = None, *, zone: str = "", **words: Any) -> Balancer:
    return Balancer(Settings(**words), switches or Switches(), zone=zone, start=0, luck=Random(1))


def picks(made: Balancer, given: Endpoints, count: int, *, now: float = 0.0, key: int | None = None) -> str:
    return "".join(one.id for _ in range(count) if (one := made.pick(given, now, key)))


def test_nobody_is_there() -> None:
    assert balancer().pick((), 0.0, None) is None


def test_turns_go_on_when_endpoints_come_and_go() -> None:
    made = balancer(slow_start_s=0)
    assert picks(made, endpoints("abc"), 2) + picks(made, endpoints("abcd"), 4) == "abcdab"
    assert picks(made, endpoints("acd"), 3) == "cda"


def test_an_equal_tuple_is_the_same_news() -> None:
    switches = Switches()
    made = balancer(switches)
    one, other = endpoints("abc"), tuple(endpoints("abc"))
    assert one is not other
    assert picks(made, one, 1) + picks(made, other, 1) + picks(made, one, 1) == "abc"
    switches.retained = ()
    picks(made, other, 1)
    picks(made, one, 1)
    assert switches.retained == (), "they were not sorted out again"


def test_breakers_know_who_is_there() -> None:
    switches = Switches()
    picks(balancer(switches), endpoints("ab"), 1)
    assert switches.retained == ("a", "b")


def test_who_is_blocked_is_not_picked_until_he_is_free() -> None:
    switches = Switches()
    made, given = balancer(switches, slow_start_s=0), endpoints("abc")
    assert picks(made, given, 1) == "a"
    switches.block("b")
    assert picks(made, given, 3) == "cac"
    switches.block("abc")
    assert made.pick(given, 0.0, None) is None
    switches.block("")
    assert picks(made, given, 3) == "abc"


def test_a_real_breaker_takes_an_endpoint_out_and_lets_it_in_again() -> None:
    breakers = PortBreakers(Thresholds(consecutive=2, open_s=10), Random(1))
    made, given = balancer(breakers, slow_start_s=0), endpoints("ab")
    assert picks(made, given, 2) == "ab"
    for _ in range(2):
        breakers.record("a", Verdict.FAILURE, 1.0, ticket=breakers.begin("a", 1.0))
    assert picks(made, given, 4, now=2.0) == "bbbb"
    assert "a" in picks(made, given, 4, now=20.0)


def test_further_tries_go_on_to_the_last_one() -> None:
    given = (*endpoints("a", **ILL), *endpoints("b", **GOING), *endpoints("c", weight=0), *endpoints("de"))
    made = balancer(panic_percent=0)
    tried: list[str] = []
    while (one := made.pick(given, 0.0, None, tried)) is not None:
        tried.append(one.id)
    assert "".join(tried) == "decba"
    assert picks(made, given, 2) == "ed"


def test_the_last_resort_takes_turns_too() -> None:
    made, given = balancer(panic_percent=0), (*endpoints("a"), *endpoints("xyz", **ILL))
    order = "".join(one.id for _ in range(6) if (one := made.pick(given, 0.0, None, ["a"])))
    assert order == "xyzxyz"


def test_the_last_resort_is_that_of_now() -> None:
    made = balancer(panic_percent=0)
    assert made.pick((*endpoints("a"), *endpoints("x", **ILL)), 0.0, None, ["a"]) is made.members["x"]
    given = (*endpoints("a"), *endpoints("y", **ILL))
    assert made.pick(given, 0.0, None, ["a"]) is made.members["y"]
    assert made.pick(given, 0.0, None, ["a", "y"]) is None


def test_a_warning_halves_the_share() -> None:
    given = (*endpoints("ab"), endpoint("c", health=Health.WARNING))
    assert Counter(picks(balancer(), given, 50)) == {"a": 20, "b": 20, "c": 10}


def test_round_robin_minds_no_weight_but_0_and_weighted_does() -> None:
    given = (endpoint("a", weight=3), endpoint("b"), endpoint("c", weight=0))
    assert Counter(picks(balancer(), given, 8)) == {"a": 4, "b": 4}
    assert Counter(picks(balancer(algorithm="weighted"), given, 8)) == {"a": 6, "b": 2}


def test_if_all_weigh_0_they_take_turns_and_that_is_remarked() -> None:
    made = balancer(algorithm="weighted")
    assert Counter(picks(made, endpoints("abc", weight=0), 9)) == {"a": 3, "b": 3, "c": 3}
    assert made.remarks == {WEIGHTLESS: 1}


def test_a_new_endpoint_starts_slowly() -> None:
    made = balancer(slow_start_s=10)
    picks(made, endpoints("ab"), 1, now=100.0)
    given = endpoints("abc")
    shares = [Counter(picks(made, given, 210, now=now))["c"] for now in (105.0, 110.0, 115.0, 130.0)]
    # 0.1 of 2.1 weights, 0.55 of 2.55, and 1 of 3 from then on
    assert shares == [10, pytest.approx(45, abs=1), 70, 70]


def test_algorithms_that_hash_know_no_slow_start() -> None:
    made, given = balancer(algorithm="maglev"), endpoints("abcd")
    picks(made, endpoints("ab"), 1, now=100.0, key=1)
    keys = [key_hash(b"%d" % number) for number in range(100)]
    picks(made, given, 200, now=100.0, key=1)  # a table is filled while picks go on
    first = [picks(made, given, 1, now=100.0, key=key) for key in keys]
    assert [picks(made, given, 1, now=120.0, key=key) for key in keys] == first


ZONES = (*endpoints("abcd", zone="x"), *endpoints("efgh", zone="y"))


@pytest.mark.parametrize("algorithm", NAMES)
def test_a_zone_that_has_lost_capacity_spills_its_part(algorithm: str) -> None:
    switches = Switches()
    made = balancer(switches, zone="x", algorithm=algorithm, slow_start_s=0)
    assert set(picks(made, ZONES, 40, key=key_hash(b"k"))) <= set("abcd")
    switches.block("abc")
    keys = [key_hash(b"%d" % number) for number in range(1000)]
    where = {key: picks(made, ZONES, 1, key=key) for key in keys}
    at_home = Counter(where.values())["d"]
    assert at_home == pytest.approx(1000 * 25 / 70, abs=60)
    if algorithm in ("consistent_hash", "maglev"):
        assert {key: picks(made, ZONES, 1, key=key) for key in keys} == where


def test_what_spills_is_its_exact_part() -> None:
    given = (endpoint("a", zone="x", weight=2), endpoint("b", zone="x", weight=3), *endpoints("cd", zone="y"))
    switches = Switches()
    made = balancer(switches, zone="x")
    picks(made, given, 1)
    switches.block("b")
    # 2 of 5 weights are left, and at 70 % of them nothing would spill yet.
    assert Counter(picks(made, given, 700))["a"] == pytest.approx(400, abs=1)


def test_a_retry_while_spilling_reaches_everybody_once() -> None:
    switches = Switches()
    made = balancer(switches, zone="x")
    switches.block("abc")
    tried: list[str] = []
    while (one := made.pick(ZONES, 0.0, None, tried)) is not None:
        tried.append(one.id)
    assert sorted(tried) == list("defgh")


def test_what_is_reserved_is_given_back_once() -> None:
    made = balancer()
    one = made.pick(endpoints("a"), 0.0, None)
    assert one is not None
    made.reserve(one)
    assert (one.active, made.active) == (1, 1)
    made.release(one)
    made.release(one)
    assert (one.active, made.active, made.remarks[UNDERFLOW]) == (0, 0, 1)


def test_who_goes_and_comes_back_still_holds_his_connections() -> None:
    made = balancer(slow_start_s=0)
    picks(made, endpoints("ab"), 1)
    first = made.members["a"]
    made.reserve(first)
    picks(made, endpoints("b"), 1)
    assert made.members["a"] is first
    picks(made, endpoints("ab"), 1)
    assert made.members["a"] is first
    picks(made, endpoints("b"), 1)
    made.release(first)
    assert set(made.members) == {"b"}, "gone, and holds nothing"


def test_full_endpoints_are_passed_over() -> None:
    made, given = balancer(limits=ServiceLimits(per_endpoint=2)), endpoints("abc")
    held = []
    while (one := made.pick(given, 0.0, None)) is not None:
        made.reserve(one)
        held.append(one)
    assert Counter(one.id for one in held) == {"a": 2, "b": 2, "c": 2}
    made.release(held[4])
    assert made.pick(given, 0.0, None, [held[4].id]) is None
    again = made.pick(given, 0.0, None)
    assert again is held[4]


def test_settings_are_switched_and_members_stay() -> None:
    made, given = balancer(algorithm="least_connections"), endpoints("abc")
    for one in (made.pick(given, 0.0, None), made.pick(given, 0.0, None)):
        assert one is not None
        made.reserve(one)
        made.measured(one, 0.5, 1.0)
    before = {name: (id(one), one.active, one.ewma_s) for name, one in made.members.items()}
    for name in NAMES:
        made.settle(msgspec.structs.replace(made.settings, algorithm=name), "")
        assert made.pick(given, 2.0, 7) is not None
        assert {key: (id(one), one.active, one.ewma_s) for key, one in made.members.items()} == before


def test_a_change_beside_the_algorithm_moves_no_turn() -> None:
    made, given = balancer(), endpoints("abc")
    assert picks(made, given, 2) == "ab"
    made.settle(Settings(panic_percent=10, hash_key="sni"), "x")
    assert picks(made, given, 2) == "ca"
    made.settle(Settings(algorithm="weighted"), "x")
    assert sorted(picks(made, given, 3)) == list("abc")


def test_a_zone_that_becomes_known_holds_at_once() -> None:
    made = balancer()
    assert set(picks(made, ZONES, 8)) == set("abcdefgh")
    made.settle(made.settings, "y")
    assert set(picks(made, ZONES, 8)) == set("efgh")
