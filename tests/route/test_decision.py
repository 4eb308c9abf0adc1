"""Every kind of destination under every policy."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Found, Service, ServicePort
from meshtrio.outcome import Outcome
from meshtrio.route.decision import Kind, Policy, Route, decide
from meshtrio.route.doors import Doors

VIP = Address.parse("10.96.0.10:80")
DOOR = Address.parse("127.0.0.1:15002")
DOORS = Doors([DOOR])
ONE, TWO = (Endpoint(text, Address.parse(text)) for text in ("10.0.0.1:8080", "[fd00::1]:8080"))
BACK = Endpoint(str(DOOR), DOOR)


def found(*endpoints: Endpoint, endpoint: Endpoint | None = None) -> Found:
    port = ServicePort("http", 80, endpoints)
    return Found(Service("web", "shop", ports=(port,)), port, endpoint)


@pytest.mark.parametrize("policy", ["allow", "deny"])
def test_a_virtual_ip_leads_to_any_endpoint_under_any_policy(policy: Policy) -> None:
    claim = found(ONE, TWO)
    route = decide(claim, VIP, policy=policy, doors=DOORS)
    assert route == Route(Kind.SERVICE, VIP, "shop/web", "http", (ONE, TWO))
    assert route.candidates is claim.port.endpoints


def test_a_dialled_endpoint_is_the_only_one() -> None:
    route = decide(found(ONE, TWO, endpoint=TWO), TWO.address, policy="deny", doors=DOORS)
    assert route == Route(Kind.ENDPOINT, TWO.address, "shop/web", "http", (TWO,))


def test_a_dialled_endpoint_is_not_replaced_when_it_is_not_ready() -> None:
    ill = msgspec.structs.replace(TWO, draining=True)
    assert decide(found(ONE, ill, endpoint=ill), ill.address, policy="allow", doors=DOORS).candidates == (
        ill,
    )


def test_what_is_no_service_passes_or_not() -> None:
    route = decide(None, VIP, policy="allow", doors=DOORS)
    assert route == Route(Kind.PASSTHROUGH, VIP, candidates=(Endpoint("10.96.0.10:80", VIP),))
    assert decide(None, VIP, policy="deny", doors=DOORS) == Route(Kind.REFUSED, VIP, refusal=Outcome.NO_ROUTE)


def test_a_service_without_endpoints_is_refused_and_never_passed_through() -> None:
    route = decide(found(), VIP, policy="allow", doors=DOORS)
    assert route == Route(Kind.REFUSED, VIP, "shop/web", "http", refusal=Outcome.NO_ENDPOINT)


@pytest.mark.parametrize("claim", [None, found(ONE), found(BACK, endpoint=BACK)])
def test_a_door_is_a_loop_whatever_the_catalog_says(claim: Found | None) -> None:
    assert decide(claim, DOOR, policy="allow", doors=DOORS) == Route(Kind.REFUSED, DOOR, refusal=Outcome.LOOP)


def test_endpoints_that_are_doors_are_left_out() -> None:
    assert decide(found(BACK, ONE), VIP, policy="allow", doors=DOORS).candidates == (ONE,)
    route = decide(found(BACK), VIP, policy="allow", doors=DOORS)
    assert route == Route(Kind.REFUSED, VIP, "shop/web", "http", refusal=Outcome.LOOP)


@given(
    endpoints=st.lists(st.sampled_from([ONE, TWO, BACK]), unique=True),
    fixed=st.sampled_from([None, ONE, BACK]),
    known=st.booleans(),
    destination=st.sampled_from([VIP, ONE.address, DOOR]),
    policy=st.sampled_from(["allow", "deny"]),
)
def test_a_route_is_a_refusal_or_has_candidates_and_never_a_door(
    endpoints: list[Endpoint], fixed: Endpoint | None, known: bool, destination: Address, policy: Policy
) -> None:
    claim = found(*endpoints, endpoint=fixed) if known else None
    route = decide(claim, destination, policy=policy, doors=DOORS)
    assert (route.kind is Kind.REFUSED) == (route.refusal is not None) == (not route.candidates)
    assert all(candidate.address not in DOORS for candidate in route.candidates)
