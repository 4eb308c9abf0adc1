"""What would be picked is what is picked, and asking moves nothing."""

import copy
from random import Random

import msgspec
import pytest

from meshtrio.balance.algorithm import NAMES
from meshtrio.balance.balancer import Balancer
from meshtrio.balance.breaker import Thresholds
from meshtrio.balance.breakers import PortBreakers
from meshtrio.balance.explained import ORDER, explain
from meshtrio.balance.hashing import key_hash
from meshtrio.balance.told import Explanation
from meshtrio.catalog.service import Health
from meshtrio.config.traffic import Settings
from tests.support.endpoints import GOING, ILL, Switches, endpoint, endpoints

KEY = key_hash(b"10.0.0.1")


def balancer(zone: str = "", *, settings: Settings | None = None) -> tuple[Balancer, Switches]:
    switches = Switches()
    luck = Random(3)
    return Balancer(settings or Settings(), switches, zone=zone, start=0, luck=luck), switches


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [3, 40])
def test_it_foretells_each_pick_and_moves_nothing(name: str, size: int) -> None:
    settings = msgspec.structs.replace(Settings(), algorithm=name)
    made, _ = balancer(settings=settings)
    given = tuple(endpoint(f"e{number}", weight=number % 3 + 1) for number in range(size))
    for _ in range(12):
        foretold = [explain(made, given, 5.0, KEY) for _ in range(2)]
        assert foretold[0] == foretold[1]
        picked = made.pick(given, 5.0, KEY)
        assert picked is not None
        assert picked.id == foretold[0].picked
        made.reserve(picked)
    assert made.active == 12


def test_before_the_first_pick_and_after_a_change_it_is_known_as_well() -> None:
    made, switches = balancer(settings=Settings(slow_start_s=0))
    assert explain(made, endpoints("ab"), 0.0, None).picked == "a"
    assert (made.members, switches.retained) == ({}, ())
    made.pick(endpoints("ab"), 0.0, None)
    assert explain(made, endpoints("abc"), 9.0, None).picked == "b"
    assert set(made.members) == {"a", "b"}
    assert switches.retained == ("a", "b")


def told(explanation: Explanation) -> list[tuple[str, str, str, float, int]]:
    return [(one.id, one.group, one.why_not, one.weight, one.position) for one in explanation.endpoints]


def test_it_says_why_of_everybody() -> None:
    made, switches = balancer()
    given = (
        *endpoints("ab", zone="x"),
        endpoint("c", health=Health.WARNING),
        endpoint("d", weight=0),
        *endpoints("e", **ILL),
        *endpoints("f", **GOING),
        *endpoints("g"),
    )
    switches.block("g")
    explanation = explain(made, given, 0.0, None)
    assert told(explanation) == [
        ("a", "first", "", 1, 1),
        ("b", "first", "", 1, explanation.endpoints[1].position),
        ("c", "first", "", 0.5, explanation.endpoints[2].position),
        ("d", "rest", "", 1, 4),
        ("e", "rest", "unhealthy", 1, 6),
        ("f", "rest", "draining", 1, 5),
        ("g", "never", "its breaker is open", 1, 0),
    ]
    assert {one.position for one in explanation.endpoints} == {0, 1, 2, 3, 4, 5, 6}
    assert (explanation.algorithm, explanation.hash_key, explanation.tier) == ("round_robin", "", "all")


def test_it_says_what_is_held_and_how_long_it_took() -> None:
    made, _ = balancer()
    one = made.pick(endpoints("a"), 0.0, None)
    assert one is not None
    made.reserve(one)
    made.measured(one, 0.25, 1.0)
    (said,) = explain(made, endpoints("a"), 1.0, None).endpoints
    assert (said.active, said.latency_s, said.address) == (1, 0.25, "10.0.0.1:80")


def test_it_says_what_spills_over() -> None:
    made, switches = balancer("x")
    given = (*endpoints("abcd", zone="x"), *endpoints("efgh", zone="y"))
    switches.block("abc")
    explanation = explain(made, given, 0.0, None)
    assert (explanation.tier, explanation.share) == ("spill", 25 / 70)
    assert [one.group for one in explanation.endpoints] == ["never"] * 3 + ["first"] + ["far"] * 4


def test_a_key_that_is_wanted_and_missing_is_said() -> None:
    made, _ = balancer(settings=Settings(algorithm="maglev", hash_key="header:x-user"))
    made.pick(endpoints("ab"), 0.0, None)
    explanation = explain(made, endpoints("ab"), 0.0, None)
    assert (explanation.hash_key, explanation.has_key) == ("header:x-user", False)
    assert explanation.remarks == {"no_key": 1}
    assert explain(made, endpoints("ab"), 0.0, KEY).has_key


def test_nobody_may_be_called() -> None:
    made, switches = balancer()
    switches.block("ab")
    assert explain(made, endpoints("ab"), 0.0, None).picked == ""
    assert explain(made, (), 0.0, None) == Explanation("round_robin", "", False, "none", 1.0, "", {}, ())


def test_only_the_first_places_are_named() -> None:
    made, _ = balancer()
    given = tuple(endpoint(f"{number:03}") for number in range(100))
    positions = [one.position for one in explain(made, given, 0.0, None).endpoints]
    assert positions == [*range(1, ORDER + 1), *[0] * (100 - ORDER)]


def test_real_breakers_are_asked_and_not_told() -> None:
    breakers = PortBreakers(Thresholds(), Random(1))
    made = Balancer(Settings(), breakers, zone="", start=0, luck=Random(1))
    version = copy.copy(breakers.version)
    assert explain(made, endpoints("ab"), 0.0, None).picked == "a"
    assert breakers.version == version
