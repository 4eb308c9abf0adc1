"""Whom the kernel picks for datagrams, and what is said where it picks nobody."""

from typing import Any, get_args

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.balance.slots import MEMBERS_BOUND, PICKS
from meshtrio.catalog.service import Endpoint, Health
from meshtrio.config.schema import Config
from meshtrio.config.wishes import Algorithm
from meshtrio.route.datagrams import Unpicked, choice_of, is_strict, members, udp_way
from meshtrio.route.directness import Way


def endpoint(host: str, **how: Any) -> Endpoint:
    return Endpoint(id=host, address=Address.of(host, 53), **how)


ONE, SIX = endpoint("10.1.0.1"), endpoint("fd00:1::6")
SICK = endpoint("10.1.0.2", health=Health.UNHEALTHY)
MESHED = endpoint("10.1.0.3", meshed=True)


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_every_algorithm_has_one_that_stands_for_it_and_says_so(algorithm: str) -> None:
    choice = choice_of(algorithm, "source_ip")
    assert choice.algorithm in PICKS
    assert choice.algorithm != "least_connections", "nobody knows when a flow ends"
    assert (choice.note == "") == (choice.algorithm == algorithm)


def test_maglev_knows_the_caller_alone() -> None:
    assert choice_of("maglev", "header:x").note == (
        "maglev by the caller instead of header:x, which the kernel does not see"
    )
    assert choice_of("consistent_hash", "source_ip").algorithm == "maglev"


@pytest.mark.parametrize(
    ("usable", "strict", "found"),
    [
        ((ONE, SIX, SICK), False, (ONE,)),
        ((ONE, MESHED), False, (ONE, MESHED)),
        ((ONE, MESHED), True, Unpicked.STRICT),
        ((ONE, SICK), True, (ONE,)),
        ((SICK,), False, Unpicked.NO_ENDPOINT),
        ((), True, Unpicked.NO_ENDPOINT),
        ((SIX, SICK), False, Unpicked.FAMILY),
        ((ONE,) * (MEMBERS_BOUND + 1), False, Unpicked.TOO_MANY),
    ],
)
def test_who_may_serve(usable: tuple[Endpoint, ...], strict: bool, found: object) -> None:
    assert members(usable, v4=True, strict=strict) == found


@pytest.mark.parametrize(
    ("mtls", "strict"),
    [
        ({"mode": "permissive"}, False),
        ({"mode": "strict"}, True),
        ({"mode": "disable", "rules": [{"mode": "strict", "workload": "a"}]}, True),
    ],
)
def test_when_mutual_tls_is_demanded(mtls: dict[str, Any], strict: bool) -> None:
    assert is_strict(msgspec.convert({"mtls": mtls}, Config)) == strict


@pytest.mark.parametrize(
    ("judged", "way"),
    [
        ([None, None], Way("direct", "udp")),
        ([None, Unpicked.FAMILY], Way("both", f"udp; {Unpicked.FAMILY.value}")),
        ([Unpicked.NO_ENDPOINT] * 2, Way("refuse", f"udp; {Unpicked.NO_ENDPOINT.value}")),
        ([Unpicked.STRICT], Way("refuse", f"udp; {Unpicked.STRICT.value}")),
        ([Unpicked.NO_HOOKS], Way("pass", f"udp; {Unpicked.NO_HOOKS.value}")),
        ([Unpicked.OFF] * 2, Way("pass", Unpicked.OFF.value)),
        ([], Way("pass", f"udp; {Unpicked.NO_ADDRESS.value}")),
    ],
)
def test_what_is_said(judged: list[Unpicked | None], way: Way) -> None:
    assert udp_way(judged) == way


def test_a_note_is_for_what_is_picked() -> None:
    assert udp_way([None], "by luck") == Way("direct", "udp; by luck")
    assert "luck" not in udp_way([Unpicked.NO_ENDPOINT], "by luck").why
