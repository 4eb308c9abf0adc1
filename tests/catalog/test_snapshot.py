"""Looking up, replacing, sharing."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Found, Health, Service, ServicePort
from meshtrio.catalog.snapshot import Changes, Snapshot, changed_services, changes


def endpoint(text: str) -> Endpoint:
    return Endpoint(text, Address.parse(text))


def service(
    name: str, vips: tuple[str, ...] = (), *, port: int = 80, endpoints: tuple[str, ...] = ()
) -> Service:
    packed = tuple(Address.of(vip, 0).ip for vip in vips)
    return Service(name, vips=packed, ports=(ServicePort("http", port, tuple(map(endpoint, endpoints))),))


def at(text: str) -> Address:
    return Address.parse(text)


WEB = service("web", ("10.96.0.10", "fd00:96::10"), endpoints=("10.0.0.1:8080", "[fd00::1]:8080"))
DB = service("db", ("10.96.0.11",), port=5432, endpoints=("10.0.0.2:5432",))
BOTH = Snapshot().with_services([WEB, DB])


@pytest.mark.parametrize("vip", ["10.96.0.10:80", "[fd00:96::10]:80", "[::ffff:10.96.0.10]:80"])
def test_a_virtual_ip_leads_to_the_port_and_any_endpoint(vip: str) -> None:
    assert BOTH.lookup(at(vip)) == Found(WEB, WEB.ports[0])


def test_an_endpoint_address_leads_to_that_very_endpoint() -> None:
    assert BOTH.lookup(at("[fd00::1]:8080")) == Found(WEB, WEB.ports[0], endpoint("[fd00::1]:8080"))


@pytest.mark.parametrize("stranger", ["10.96.0.10:81", "10.0.0.1:80", "10.96.0.12:80", "[::]:80"])
def test_other_addresses_lead_nowhere(stranger: str) -> None:
    assert BOTH.lookup(at(stranger)) is None


def test_a_virtual_ip_wins_over_an_endpoint() -> None:
    for services in (
        [WEB, service("a", endpoints=("10.96.0.10:80",))],
        [service("a", ("10.0.0.1",), port=8080), WEB],
    ):
        snapshot = Snapshot().with_services(services)
        found = snapshot.lookup(at("10.96.0.10:80"))
        assert found is not None
        assert found.service == WEB
        clash = snapshot.lookup(at("10.0.0.1:8080"))
        assert clash is not None
        assert clash.service == services[0]


def test_of_two_claims_the_lesser_name_wins_in_any_order_and_the_other_takes_over() -> None:
    first, second = service("a", ("10.96.0.1",)), service("b", ("10.96.0.1",))
    for order in ([first, second], [second, first]):
        snapshot = Snapshot().with_services(order[:1]).with_services(order[1:])
        assert snapshot.lookup(at("10.96.0.1:80")) == Found(first, first.ports[0])
        left = snapshot.with_services([], removed=["default/a"])
        assert left.lookup(at("10.96.0.1:80")) == Found(second, second.ports[0])
        assert changes(snapshot, left) == Changes(frozenset({"default/a"}), frozenset({at("10.96.0.1:80")}))


def test_services_are_found_by_key_and_come_in_order() -> None:
    assert BOTH.service("default/web") == WEB
    assert BOTH.service("default/none") is None
    assert list(BOTH) == [DB, WEB]
    assert len(BOTH) == 2


def test_nothing_changed_is_the_same_object() -> None:
    twin = msgspec.msgpack.decode(msgspec.msgpack.encode(WEB), type=Service)
    assert BOTH.with_services([twin], removed=["default/none"]) is BOTH
    assert BOTH.with_only([DB, twin]) is BOTH
    assert BOTH.with_services([]) is BOTH


def test_a_change_makes_a_new_version_and_leaves_the_old_one_alone() -> None:
    more = service("web", ("10.96.0.10",), endpoints=("10.0.0.1:8080", "10.0.0.3:8080"))
    new = BOTH.with_services([more])
    assert (BOTH.version, new.version) == (1, 2)
    assert BOTH.lookup(at("10.96.0.10:80")) == Found(WEB, WEB.ports[0])
    assert new.lookup(at("10.96.0.10:80")) == Found(more, more.ports[0])
    assert new.lookup(at("[fd00:96::10]:80")) is None
    gone_and_new = {at("[fd00:96::10]:80"), at("[fd00::1]:8080"), at("10.0.0.3:8080")}
    assert changes(BOTH, new) == Changes(frozenset({"default/web"}), frozenset(gone_and_new))
    assert changes(BOTH, BOTH) == Changes(frozenset(), frozenset())


def test_several_steps_are_one_version_and_tell_what_differs_in_the_end() -> None:
    other = service("web", ("10.96.0.10", "fd00:96::10"), endpoints=("10.0.0.7:8080",))
    new = BOTH
    for step in (other, service("new"), WEB):
        new = new.with_services([step], since=BOTH)
        assert new.version == 2
    assert changes(BOTH, new) == Changes(frozenset({"default/new"}), frozenset())
    left = new.with_services([], removed=["default/db"], since=BOTH)
    assert left.moved == 2
    assert changed_services(BOTH, left) == {"default/new", "default/db"}
    assert changes(BOTH, left).addresses == {at("10.96.0.11:5432"), at("10.0.0.2:5432")}


def test_an_endpoint_that_only_changes_its_health_is_told() -> None:
    ill = msgspec.structs.replace(WEB.ports[0].endpoints[0], health=Health.UNHEALTHY)
    port = msgspec.structs.replace(WEB.ports[0], endpoints=(ill, WEB.ports[0].endpoints[1]))
    new = BOTH.with_services([msgspec.structs.replace(WEB, ports=(port,))])
    found = new.lookup(at("10.0.0.1:8080"))
    assert found is not None
    assert found.endpoint is ill
    assert changes(BOTH, new) == Changes(frozenset({"default/web"}), frozenset({at("10.0.0.1:8080")}))


def test_what_did_not_change_is_shared_between_lookups() -> None:
    before, after = (
        BOTH.lookup(at("10.96.0.10:80")),
        BOTH.with_services([], removed=["default/db"]).lookup(at("10.96.0.10:80")),
    )
    assert before is not None
    assert after is not None
    assert before.port is after.port


def test_exactly_these_are_left() -> None:
    assert list(BOTH.with_only([DB])) == [DB]
    assert len(BOTH.with_only([])) == 0


def shared(one: Service, kept: dict[Endpoint, Endpoint]) -> Service:
    """Give the service with endpoints that are the same objects as equal ones before."""
    ends = tuple(kept.setdefault(end, end) for end in one.endpoints)
    return msgspec.structs.replace(one, ports=(msgspec.structs.replace(one.ports[0], endpoints=ends),))


ADDRESSES = st.lists(st.integers(1, 4).map(lambda n: f"10.0.0.{n}:80"), max_size=3, unique=True).map(tuple)
VIPS = st.lists(st.integers(1, 4).map(lambda n: f"10.0.0.{n}"), max_size=2, unique=True).map(tuple)
SERVICES = st.builds(
    lambda name, vips, ends: service(name, vips, endpoints=ends), st.sampled_from("abc"), VIPS, ADDRESSES
)


@given(
    steps=st.lists(
        st.tuples(
            st.lists(SERVICES, max_size=2),
            st.lists(st.sampled_from("abc").map("default/".__add__), max_size=1),
        ),
        max_size=6,
    ),
    thrifty=st.booleans(),
)
def test_any_way_leads_to_the_same_catalog(
    steps: list[tuple[list[Service], list[str]]], thrifty: bool
) -> None:
    """Step by step or at once, who is found at an address depends on what is there and not on how it came.

    Nor on whether equal endpoints are one object.
    """
    snapshot, kept = Snapshot(), dict[Endpoint, Endpoint]()
    model: dict[str, Service] = {}
    for drawn, removed in steps:
        changed = [shared(one, kept) for one in drawn] if thrifty else drawn
        snapshot = snapshot.with_services(changed, removed=removed)
        model.update({one.key: one for one in changed})
        for key in removed:
            model.pop(key, None)
    at_once = Snapshot().with_services(model.values())
    assert list(snapshot) == list(at_once) == [model[key] for key in sorted(model)]
    difference = changes(snapshot, at_once)
    assert difference == Changes(frozenset(), frozenset())
    for number in range(1, 5):
        address = at(f"10.0.0.{number}:80")
        assert snapshot.lookup(address) == at_once.lookup(address)


def test_one_change_in_a_large_catalog_does_not_cost_the_catalog() -> None:
    def large(number: int, first: int = 1) -> Service:
        ends = tuple(f"10.{number // 200}.{number % 200}.{host}:80" for host in range(first, first + 10))
        return service(f"s{number}", endpoints=ends)

    snapshot = Snapshot().with_services([large(number) for number in range(2000)])
    began_s = time.process_time()
    for number in range(100):
        snapshot = snapshot.with_services([large(number, first=2)])
    # Copying 20,000 entries each time would be 100 times 1 ms, and building them anew 100 times 60 ms.
    assert time.process_time() - began_s < 1
