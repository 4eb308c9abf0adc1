"""Core. May callers go to the endpoints of a service themselves, and why not."""

from typing import Any

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.balance.slots import MEMBERS_BOUND, PICKS
from meshtrio.catalog.service import Endpoint
from meshtrio.config.identity import Identity, ModeRule, Mtls
from meshtrio.config.schema import Config
from meshtrio.config.traffic import Breaker, Retries, ServiceLimits, Settings
from meshtrio.route.directness import (
    Asked,
    Relayed,
    Way,
    asked_of,
    members,
    speaks_tls,
    wanted_otherwise,
    way_of,
)

ASKED = Asked(direct=True)


def endpoint(host: str, **how: Any) -> Endpoint:
    return Endpoint(id=host, address=Address.of(host, 80), **how)


def test_it_is_off_until_it_is_asked_for() -> None:
    assert wanted_otherwise(Asked()) is Relayed.OFF


@pytest.mark.parametrize("algorithm", sorted(PICKS))
def test_with_what_the_kernel_can_do_nothing_stands_against_it(algorithm: str) -> None:
    assert wanted_otherwise(Asked(direct=True, algorithm=algorithm)) is None


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ({"direct": False}, Relayed.OFF),
        ({"algorithm": "peak_ewma"}, Relayed.ALGORITHM),
        ({"algorithm": "consistent_hash"}, Relayed.ALGORITHM),
        ({"algorithm": "maglev", "hash_key": "header:user"}, Relayed.HASH_KEY),
        ({"attempts": 1}, Relayed.RETRIES),
        ({"limited": True}, Relayed.LIMITS),
        ({"slow_s": 1.0}, Relayed.SLOW_CALLS),
        ({"proving": True}, Relayed.PROVING),
        ({"allowed": False, "algorithm": "peak_ewma"}, Relayed.RUNG_MAX),
    ],
)
def test_each_wish_that_needs_a_worker_is_named(wish: dict[str, Any], why: Relayed) -> None:
    assert wanted_otherwise(msgspec.structs.replace(ASKED, **wish)) is why


def test_a_hash_key_matters_only_to_who_hashes() -> None:
    assert wanted_otherwise(Asked(direct=True, hash_key="path")) is None


def nobody(endpoint: Endpoint) -> bool:
    return False


def test_members_are_those_of_the_family() -> None:
    four, six = endpoint("10.0.0.1"), endpoint("fd00::1")
    assert members([four, six], v4=True, secured=nobody) == (four,)
    assert members([four, six], v4=False, secured=nobody) == (six,)
    assert members([six], v4=True, secured=nobody) is Relayed.FAMILY
    assert members([], v4=True, secured=nobody) is Relayed.NO_ENDPOINT


def test_one_that_is_called_with_tls_is_enough_for_all_even_of_the_other_family() -> None:
    both = [endpoint("10.0.0.1"), endpoint("fd00::1", meshed=True)]
    assert members(both, v4=True, secured=lambda one: one.meshed) is Relayed.TLS


def test_there_is_a_most() -> None:
    many = [endpoint(f"10.0.{at // 250}.{at % 250}") for at in range(MEMBERS_BOUND + 1)]
    assert members(many, v4=True, secured=nobody) is Relayed.TOO_MANY
    assert members(many[1:], v4=True, secured=nobody) == tuple(many[1:])


@pytest.mark.parametrize(
    ("source", "mode", "rule", "speaks"),
    [
        ("embedded", "permissive", None, True),
        ("embedded", "strict", None, True),
        ("embedded", "disable", None, False),
        ("embedded", "disable", "permissive", True),
        ("off", "permissive", None, False),
        ("off", "strict", None, True),
        ("off", "disable", "strict", True),
        ("off", "permissive", "disable", False),
    ],
)
def test_tls_is_spoken_if_any_workload_may(source: str, mode: str, rule: str | None, speaks: bool) -> None:
    rules = (ModeRule(workload="shop", mode=rule),) if rule else ()  # type: ignore[arg-type]
    config = Config(identity=Identity(source=source), mtls=Mtls(mode=mode, rules=rules))  # type: ignore[arg-type]
    assert speaks_tls(config) is speaks


def test_what_matters_of_the_settings() -> None:
    assert asked_of(Settings()) == Asked(attempts=3)
    plain = Settings(direct="auto", retries=Retries(attempts=0), algorithm="maglev")
    assert wanted_otherwise(asked_of(plain)) is None
    for more, why in (
        ({"limits": ServiceLimits(per_endpoint=1)}, Relayed.LIMITS),
        ({"limits": ServiceLimits(pending=1)}, Relayed.LIMITS),
        ({"breaker": Breaker(slow_s=0.5)}, Relayed.SLOW_CALLS),
        ({"breaker": Breaker(slow_s=0.5, enabled=False)}, None),
        ({"hash_key": "sni"}, Relayed.HASH_KEY),
        ({"retries": Retries(attempts=1, hedge_after_s=0.5)}, Relayed.RETRIES),
        ({"retries": Retries(attempts=0, hedge_after_s=0.5)}, None),  # without retries there are no hedges
    ):
        assert wanted_otherwise(asked_of(msgspec.structs.replace(plain, **more))) is why


def test_a_port_goes_as_its_addresses_go() -> None:
    assert way_of([]) == Way("relay", Relayed.NO_ADDRESS.value)
    assert way_of(["table", "table"]) == Way("direct")
    assert way_of(["table", Relayed.FAMILY]) == Way("both", Relayed.FAMILY.value)
    assert way_of([Relayed.FULL] * 2) == Way("relay", Relayed.FULL.value)
    both = way_of([Relayed.FULL, Relayed.FAMILY])
    assert both == Way("relay", f"{Relayed.FULL.value}; {Relayed.FAMILY.value}")


@pytest.mark.parametrize(
    ("callers", "whose"), [(1, "1 workload of this node goes"), (2, "2 workloads of this node go ")]
)
def test_a_port_for_those_who_have_a_grant_says_how_many(callers: int, whose: str) -> None:
    way = way_of(["table", "table"], callers=callers)
    assert way.path == "granted"
    assert way.why.startswith(whose)


def test_what_is_relayed_is_so_whoever_may_go_elsewhere() -> None:
    assert way_of([], callers=3) == Way("relay", Relayed.NO_ADDRESS.value)
    assert way_of([Relayed.UNGRANTED], callers=3) == Way("relay", Relayed.UNGRANTED.value)
    assert way_of(["table", Relayed.FAMILY], callers=3) == Way("both", Relayed.FAMILY.value)
