"""The balancers of a worker: one for each port, with the settings that hold now."""

from random import Random

import pytest

from meshtrio.balance import balancers as module
from meshtrio.balance.balancers import Balancers, thresholds_of
from meshtrio.balance.breaker import Thresholds
from meshtrio.balance.verdict import Verdict
from meshtrio.catalog.service import Service
from meshtrio.config.traffic import Breaker, Rule, Settings, Traffic
from meshtrio.config.wishes import BreakerWishes, Wishes
from tests.support.endpoints import endpoints

SHOP = Service("cart", "shop")


def balancers(traffic: Traffic = Traffic()) -> Balancers:  # noqa: B008 - frozen
    return Balancers(traffic, "x", start=1, luck=Random(1))


def test_each_port_has_its_own() -> None:
    made = balancers()
    first = made.of(SHOP, "http")
    assert made.of(Service("cart", "shop"), "http") is first
    assert made.of(SHOP, "admin") is not first
    assert (made.known("shop/cart:http"), made.known("shop/cart:"), len(made)) == (first, None, 2)
    assert [name for name, _ in made.breakers()] == ["shop/cart:http", "shop/cart:admin"]
    made.forget("shop/cart:http")
    made.forget("never asked for")
    assert made.of(SHOP, "http") is not first


def test_turns_begin_where_the_worker_says_and_the_zone_is_the_nodes() -> None:
    made = balancers().of(SHOP, "http")
    picked = made.pick(endpoints("abc"), 0.0, None)
    assert picked is not None
    assert (picked.id, made.zone) == ("b", "x")


def test_a_new_configuration_reaches_the_same_balancer() -> None:
    made = balancers()
    one = made.of(SHOP, "http")
    member = one.pick(endpoints("ab"), 0.0, None)
    assert member is not None
    one.reserve(member)
    rule = Rule(service="shop/cart", algorithm="maglev", breaker=BreakerWishes(consecutive=2))
    made.settle(Traffic(rules=(rule,)), "y")
    assert made.of(SHOP, "http") is one
    assert (one.settings.algorithm, one.zone, one.active) == ("maglev", "y", 1)
    ((_, breakers),) = made.breakers()
    assert breakers.thresholds == Thresholds(consecutive=2)
    assert one.breakers is breakers


def test_a_service_that_wishes_for_something_else_gets_it() -> None:
    made = balancers()
    one = made.of(SHOP, "http")
    assert made.of(Service("cart", "shop", wishes=Wishes("random")), "http") is one
    assert one.settings == Settings(algorithm="random")
    made.of(SHOP, "http")
    assert one.settings == Settings()


def test_a_balancer_asks_its_own_breakers() -> None:
    made = balancers(Traffic(breaker=Breaker(consecutive=1)))
    one, given = made.of(SHOP, "http"), endpoints("ab")
    assert one.pick(given, 0.0, None) is not None
    ((_, breakers),) = made.breakers()
    breakers.record("a", Verdict.FAILURE, 0.0, ticket=breakers.begin("a", 0.0))
    assert {got.id for _ in range(4) if (got := made.of(SHOP, "http").pick(given, 1.0, None))} == {"b"}


def test_there_is_a_bound_and_who_holds_something_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOUND", 2)
    made = balancers()
    busy, idle = made.of(SHOP, "busy"), made.of(SHOP, "idle")
    member = busy.pick(endpoints("a"), 0.0, None)
    assert member is not None
    busy.reserve(member)
    third = made.of(SHOP, "third")
    assert (made.known("shop/cart:busy"), made.known("shop/cart:idle")) == (busy, None)
    assert idle is not third
    third.reserve(member)
    made.of(SHOP, "fourth")
    assert len(made) == 1, "all were busy"


def test_thresholds_are_those_of_the_configuration() -> None:
    assert thresholds_of(Breaker()) == Thresholds()
    breaker = Breaker(enabled=False, slow_s=2, ejected_percent=10)
    assert thresholds_of(breaker) == Thresholds(enabled=False, slow_s=2, ejected_percent=10)
    assert Thresholds.__struct_fields__ == Breaker.__struct_fields__
