"""What can be said of traffic, and what is refused with a path and words."""

from collections.abc import Callable

import pytest

from meshtrio.config.load import ConfigFaults, dump, load
from meshtrio.config.schema import Config
from meshtrio.config.traffic import Breaker, Retries, Rule, ServiceLimits
from meshtrio.config.wishes import BreakerWishes, LimitWishes, RetryWishes

GOOD = """
zone: eu-west-1a
traffic:
  algorithm: least_connections
  bounded_load: 1.25
  direct: off
  limits: {per_endpoint: 100}
  breaker: {enabled: false, slow_s: 0.5}
  retries: {attempts: 0}
  rules:
  - {service: orders, algorithm: maglev, hash_key: "header:X-User"}
  - {service: shop/cart, port: http, breaker: {consecutive: 3}, limits: {pending: 5}, retries: {max_s: 1}}
"""

FAULTY = """
zone: a b
traffic:
  algorithm: robin
  hash_key: cookie
  bounded_load: 1.01
  panic_percent: 101
  slow_start_s: -1
  direct: yes
  limits: {connections: -1, per_endpont: 2}
  breaker: {open_s: 400, window_s: 0, rate_percent: 101, enabled: maybe}
  retries: {base_s: 2, attempts: 11, hedge_after_s: 61}
  rules:
  - {service: orders, retries: {base_s: 0.3, max_s: 0.2}}
  - {service: default/orders, breaker: {open_s: 500}}
  - {service: orders, port: http}
  - {service: Orders, algorithm: maglv}
  - {servic: x, hash_key: 5, breaker: off}
"""


def test_a_rule_says_only_what_it_names() -> None:
    config = load(GOOD, {}, {})
    traffic = config.traffic
    assert (config.zone, traffic.algorithm, traffic.bounded_load) == ("eu-west-1a", "least_connections", 1.25)
    assert traffic.limits == ServiceLimits(per_endpoint=100)
    assert traffic.breaker == Breaker(enabled=False, slow_s=0.5)
    assert traffic.retries == Retries(attempts=0)
    assert traffic.rules == (
        Rule(service="orders", algorithm="maglev", hash_key="header:X-User"),
        Rule(
            service="shop/cart",
            port="http",
            limits=LimitWishes(pending=5),
            breaker=BreakerWishes(consecutive=3),
            retries=RetryWishes(max_s=1),
        ),
    )
    assert [rule.key for rule in traffic.rules] == ["default/orders", "shop/cart"]
    assert load(dump(config), {}, {}) == config


def test_a_variable_reaches_into_the_sections() -> None:
    environ = {"MESHTRIO_TRAFFIC__BREAKER__OPEN_S": "7", "MESHTRIO_ZONE": "b"}
    config = load("traffic: {breaker: {enabled: false}}", environ, {"traffic.direct": "auto"})
    assert (config.zone, config.traffic.direct) == ("b", "auto")
    assert config.traffic.breaker == Breaker(enabled=False, open_s=7)


def test_faults_are_told_all_at_once(golden: Callable[[str, str], None]) -> None:
    with pytest.raises(ConfigFaults) as caught:
        load(FAULTY, {}, {})
    golden("config_faults_traffic.txt", f"{caught.value}\n")


def test_by_default_nothing_is_ruled() -> None:
    assert Config().traffic.rules == ()
