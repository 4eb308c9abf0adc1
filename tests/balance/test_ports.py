"""The ports of a worker: each with the settings that hold now."""

from random import Random

import pytest

from meshtrio.balance import ports as module
from meshtrio.balance.breaker import Thresholds
from meshtrio.balance.ports import Ports, thresholds_of
from meshtrio.breaker_share import BreakerShare
from meshtrio.catalog.service import Service
from meshtrio.config.traffic import Breaker, Rule, Settings, Traffic
from meshtrio.config.wishes import BreakerWishes, Wishes
from meshtrio.outcome import Outcome
from tests.support.endpoints import endpoints

SHOP = Service("cart", "shop")


def ports(traffic: Traffic = Traffic()) -> Ports:  # noqa: B008 - frozen
    made = Ports(BreakerShare(Random(1)).of, start=1, luck=Random(1))
    made.settle(traffic, "x")
    return made


def test_each_port_has_its_own() -> None:
    made = ports()
    first = made.of(SHOP, "http")
    assert made.of(Service("cart", "shop"), "http") is first
    assert made.of(SHOP, "admin") is not first
    assert (made.known("shop/cart:http"), made.known("shop/cart:"), len(made)) == (first, None, 2)
    assert [port.name for port in made] == ["shop/cart:http", "shop/cart:admin"]


def test_turns_begin_where_the_worker_says_and_the_zone_is_the_nodes() -> None:
    made = ports().of(SHOP, "http").balancer
    picked = made.pick(endpoints("abc"), 0.0, None)
    assert picked is not None
    assert (picked.id, made.zone) == ("b", "x")


def test_a_new_configuration_reaches_the_same_balancer() -> None:
    made = ports()
    one = made.of(SHOP, "http")
    hold = one.hold(endpoints("ab"), 0.0, None, ())
    assert hold is not None
    rule = Rule(service="shop/cart", algorithm="maglev", breaker=BreakerWishes(consecutive=2))
    made.settle(Traffic(rules=(rule,)), "y")
    assert made.of(SHOP, "http") is one
    balancer = one.balancer
    assert (one.settings.algorithm, balancer.zone, balancer.active) == ("maglev", "y", 1)
    assert one.breakers.thresholds == Thresholds(consecutive=2)
    hold.ended(Outcome.CARRIED, 1.0)
    assert balancer.active == 0


def test_a_service_that_wishes_for_something_else_gets_it() -> None:
    made = ports()
    one = made.of(SHOP, "http")
    assert made.of(Service("cart", "shop", wishes=Wishes("random")), "http") is one
    assert one.settings == Settings(algorithm="random")
    made.of(SHOP, "http")
    assert one.settings == Settings()


def test_there_is_a_bound_and_who_holds_something_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOUND", 2)
    made = ports()
    busy, idle = made.of(SHOP, "busy"), made.of(SHOP, "idle")
    assert busy.hold(endpoints("a"), 0.0, None, ()) is not None
    third = made.of(SHOP, "third")
    assert (made.known("shop/cart:busy"), made.known("shop/cart:idle")) == (busy, None)
    assert idle is not third
    assert third.hold(endpoints("a"), 0.0, None, ()) is not None
    made.of(SHOP, "fourth")
    assert len(made) == 1, "all were busy"


def test_what_is_forgotten_begins_anew() -> None:
    made = ports()
    one = made.of(SHOP, "http")
    made.forget("shop/cart:http")
    made.forget("shop/cart:never")
    assert made.known("shop/cart:http") is None
    assert made.of(SHOP, "http") is not one


def test_thresholds_are_those_of_the_configuration() -> None:
    assert thresholds_of(Breaker()) == Thresholds()
    breaker = Breaker(enabled=False, slow_s=2, ejected_percent=10)
    assert thresholds_of(breaker) == Thresholds(enabled=False, slow_s=2, ejected_percent=10)
    assert Thresholds.__struct_fields__ == Breaker.__struct_fields__


def test_a_look_at_a_port_does_not_begin_it() -> None:
    made = ports(Traffic(algorithm="maglev"))
    looked = made.fresh(SHOP, "http")
    assert (looked.name, looked.settings.algorithm, looked.balancer.zone) == ("shop/cart:http", "maglev", "x")
    assert (len(made), made.known("shop/cart:http")) == (0, None)
    assert made.of(SHOP, "http") is not looked
