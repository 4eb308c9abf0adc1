"""Section, wishes, rules: who is stronger."""

import pytest

from meshtrio.balance.settings import DEFAULT, SECTION, WISHES, held, traffic_of
from meshtrio.catalog.service import Service
from meshtrio.config.traffic import Breaker, Rule, Settings, Traffic
from meshtrio.config.wishes import BreakerWishes, Wishes

TRAFFIC = Traffic(
    algorithm="weighted",
    panic_percent=10,
    breaker=Breaker(consecutive=9),
    rules=(
        Rule(service="shop/cart", port="http", algorithm="maglev", hash_key="sni"),
        Rule(service="shop/cart", algorithm="random", breaker=BreakerWishes(minimum=2)),
        Rule(service="orders", direct="auto"),
    ),
)


def test_without_a_word_the_section_holds() -> None:
    assert traffic_of(Traffic(), Service("a"), "http") == Settings()
    holds = traffic_of(TRAFFIC, Service("a"), "http")
    assert holds == Settings(algorithm="weighted", panic_percent=10, breaker=Breaker(consecutive=9))
    assert type(holds) is Settings, "rules are nobody's settings"


def test_a_rule_for_the_port_is_stronger_than_one_for_the_service_wherever_it_stands() -> None:
    cart = Service("cart", "shop")
    breaker = Breaker(consecutive=9, minimum=2)
    expected = Settings(algorithm="maglev", hash_key="sni", panic_percent=10, breaker=breaker)
    assert traffic_of(TRAFFIC, cart, "http") == expected
    assert traffic_of(TRAFFIC, cart, "admin") == Settings(
        algorithm="random", panic_percent=10, breaker=breaker
    )


def test_wishes_are_stronger_than_the_section_and_weaker_than_rules() -> None:
    wishes = Wishes(algorithm="peak_ewma", zone_aware=False, breaker=BreakerWishes(enabled=False, minimum=7))
    holds = traffic_of(TRAFFIC, Service("cart", "shop", wishes=wishes), "admin")
    assert (holds.algorithm, holds.zone_aware) == ("random", False)
    assert holds.breaker == Breaker(enabled=False, consecutive=9, minimum=2)
    assert traffic_of(TRAFFIC, Service("b", wishes=wishes), "admin").algorithm == "peak_ewma"


@pytest.mark.parametrize(("namespace", "direct"), [("default", "auto"), ("shop", "off")])
def test_a_short_name_means_namespace_default(namespace: str, direct: str) -> None:
    assert traffic_of(TRAFFIC, Service("orders", namespace), "").direct == direct


def test_of_each_setting_is_said_who_says_it() -> None:
    wishes = Wishes(algorithm="peak_ewma", slow_start_s=7.0, breaker=BreakerWishes(enabled=False))
    cart = Service("cart", "shop", wishes=wishes)
    told = {one.name: (one.value, one.by) for one in held(TRAFFIC, cart, "http")}
    assert told["algorithm"] == ("maglev", "traffic.rules[0]")
    assert told["breaker.minimum"] == (2, "traffic.rules[1]")
    assert told["slow_start_s"] == (7.0, WISHES)
    assert told["breaker.enabled"] == (False, WISHES)
    assert told["breaker.consecutive"] == (9, SECTION)
    assert told["retries.attempts"] == (3, DEFAULT)
    other = {one.name: (one.value, one.by) for one in held(TRAFFIC, cart, "admin")}
    assert (other["algorithm"], other["hash_key"]) == (("random", "traffic.rules[1]"), ("source_ip", DEFAULT))


def test_all_settings_are_told_with_the_values_that_hold() -> None:
    told = {one.name: one.value for one in held(TRAFFIC, Service("cart", "shop"), "http")}
    holds = traffic_of(TRAFFIC, Service("cart", "shop"), "http")
    assert {name.split(".")[0] for name in told} == set(Settings.__struct_fields__)
    for name, value in told.items():
        section, _, leaf = name.rpartition(".")
        assert getattr(getattr(holds, section) if section else holds, leaf) == value
