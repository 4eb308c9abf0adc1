"""What is decided once is remembered, and no longer than it is true."""

import msgspec

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.outcome import Outcome
from meshtrio.route.decision import Kind
from meshtrio.route.doors import Doors
from meshtrio.route.table import ROUTES_BOUND, RouteTable

VIP = Address.parse("10.96.0.10:80")
ONE, TWO = (Endpoint(text, Address.parse(text)) for text in ("10.0.0.1:8080", "10.0.0.2:8080"))
WEB = Service("web", vips=(VIP.ip,), ports=(ServicePort("http", 80, (ONE, TWO)),))
SNAPSHOT = Snapshot().with_services([WEB])


def test_the_same_destination_has_the_same_route_while_nothing_changes() -> None:
    table = RouteTable()
    first = table.route(VIP, SNAPSHOT.lookup(VIP))
    other = SNAPSHOT.with_services([Service("db", ports=(ServicePort("", 5432),))])
    assert first.kind is Kind.SERVICE
    assert table.route(VIP, other.lookup(VIP)) is first


def test_a_changed_service_has_another_route() -> None:
    table = RouteTable()
    table.route(VIP, SNAPSHOT.lookup(VIP))
    fewer = msgspec.structs.replace(WEB, ports=(ServicePort("http", 80, (TWO,)),))
    assert table.route(VIP, SNAPSHOT.with_services([fewer]).lookup(VIP)).candidates == (TWO,)


def test_an_endpoint_that_becomes_dialled_by_itself_has_another_route() -> None:
    table = RouteTable()
    by_vip = Service("web", vips=(ONE.address.ip,), ports=(ServicePort("http", 8080, (ONE, TWO)),))
    both = Snapshot().with_services([by_vip])
    assert table.route(ONE.address, both.lookup(ONE.address)).kind is Kind.SERVICE
    headless = both.with_services([msgspec.structs.replace(by_vip, vips=())])
    assert table.route(ONE.address, headless.lookup(ONE.address)).candidates == (ONE,)


def test_policy_and_doors_hold() -> None:
    table = RouteTable(policy="deny", doors=Doors([VIP]))
    assert table.route(ONE.address, None).refusal is Outcome.NO_ROUTE
    assert table.route(VIP, SNAPSHOT.lookup(VIP)).refusal is Outcome.LOOP
    assert RouteTable().route(ONE.address, None).kind is Kind.PASSTHROUGH


def test_what_is_remembered_has_a_bound() -> None:
    table = RouteTable()
    found = SNAPSHOT.lookup(VIP)
    first = table.route(VIP, found)
    for port in range(1, ROUTES_BOUND):
        table.route(Address(VIP.ip, 1000 + port), found)
    assert table.route(VIP, found) is first
    table.route(Address(VIP.ip, 999), found)
    assert len(table._routes) == 1
    assert table.route(VIP, found) == first
