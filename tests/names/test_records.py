"""Core. The records of each kind of service."""

import random

import dns.message
import pytest

from meshtrio.catalog.service import Service, ServicePort
from meshtrio.names import wire
from meshtrio.names.names import Named
from meshtrio.names.question import read
from meshtrio.names.records import NOTHING, Records
from meshtrio.names.wire import Sections
from tests.support.dnswords import lines, query
from tests.support.shop import SHOP, endpoints

RECORDS = Records(30, ("cluster", "local"), random.Random(3).shuffle)


def said(meant: Named, kind: int) -> list[str]:
    asked = query("Name.")
    answers, additional = RECORDS.of(meant, kind, wire.ASKED, wire.name("own.name"))
    return lines(wire.message(asked, read(asked), Sections(answers, b"", additional), 65_535))[1:]


def service(key: str) -> Service:
    found = SHOP.service(key)
    assert found is not None
    return found


ORDERS, DB, CART = service("shop/orders"), service("shop/db"), service("default/cart")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (wire.A, ["Name. 30 A 240.240.1.2"]),
        (wire.AAAA, ["Name. 30 AAAA fd6d:6573:68::102"]),
        (wire.ANY, ["Name. 30 A 240.240.1.2", "Name. 30 AAAA fd6d:6573:68::102"]),
        (wire.HTTPS, []),
        (wire.SOA, []),
        (16, []),
    ],
)
def test_a_service_with_virtual_ips(kind: int, expected: list[str]) -> None:
    assert said(Named(ORDERS), kind) == expected


def test_a_headless_service_is_its_ready_endpoints_each_address_once() -> None:
    twice = (*DB.ports, ServicePort("again", 1, DB.ports[0].endpoints))
    meant = Named(Service("db", headless=True, ports=twice))
    assert sorted(said(meant, wire.A)) == ["Name. 30 A 10.0.1.1", "Name. 30 A 10.0.1.2"]
    assert said(meant, wire.AAAA) == ["Name. 30 AAAA fd00::1"]


def test_endpoints_come_in_random_order() -> None:
    assert {tuple(said(Named(DB), wire.A)) for _ in range(50)} == {
        ("Name. 30 A 10.0.1.1", "Name. 30 A 10.0.1.2"),
        ("Name. 30 A 10.0.1.2", "Name. 30 A 10.0.1.1"),
    }


def test_where_a_port_is() -> None:
    own = ["+ own.name. 30 A 240.240.1.2", "+ own.name. 30 AAAA fd6d:6573:68::102"]
    assert said(Named(ORDERS, port=ORDERS.ports[0]), wire.SRV) == ["Name. 30 SRV 0 100 80 own.name.", *own]
    assert said(Named(ORDERS), wire.SRV) == [
        "Name. 30 SRV 0 100 80 own.name.",
        "Name. 30 SRV 0 100 81 own.name.",
        *own,
    ]
    assert said(Named(ORDERS, port=ORDERS.ports[0]), wire.A) == []


def test_where_the_endpoints_of_a_headless_service_are() -> None:
    assert sorted(said(Named(DB, port=DB.ports[0]), wire.SRV)) == [
        "+ 10-0-1-1.db.shop.mesh. 30 A 10.0.1.1",
        "+ 10-0-1-2.db.shop.mesh. 30 A 10.0.1.2",
        "+ fd00-0-0-0-0-0-0-1.db.shop.mesh. 30 AAAA fd00::1",
        "Name. 30 SRV 0 1 15432 10-0-1-1.db.shop.mesh.",
        "Name. 30 SRV 0 1 5432 10-0-1-2.db.shop.mesh.",
        "Name. 30 SRV 0 1 5432 fd00-0-0-0-0-0-0-1.db.shop.mesh.",
    ]


def test_a_tag_gives_its_endpoints_and_not_the_virtual_ips() -> None:
    assert said(Named(CART, tag="blue"), wire.A) == ["Name. 30 A 10.2.0.1"]
    assert said(Named(CART, tag="v2"), wire.SRV)[0] == "Name. 30 SRV 0 1 80 10-2-0-2.cart.default.mesh."


def test_an_instance_is_its_address() -> None:
    meant = Named(DB, ip=DB.endpoints[0].address.ip)
    assert said(meant, wire.A) == ["Name. 30 A 10.0.1.1"]
    assert said(meant, wire.AAAA) == []
    assert said(meant, wire.SRV) == []


def test_a_virtual_ip_is_called_as_its_source_would_call_it() -> None:
    assert said(Named(ORDERS, reverse=True), wire.PTR) == ["Name. 30 PTR orders.shop.mesh."]
    web = service("default/web")
    assert said(Named(web, reverse=True), wire.PTR) == ["Name. 30 PTR web.default.svc.cluster.local."]
    assert RECORDS.of(Named(web, reverse=True), wire.A, wire.ASKED, b"") == NOTHING


def test_a_service_whose_name_is_no_label_is_left_out() -> None:
    odd = Service("a" * 70, headless=True, ports=(ServicePort("x", 1, endpoints("10.0.0.1:1")),))
    assert RECORDS.of(Named(odd), wire.SRV, wire.ASKED, b"") == ([], [])
    assert RECORDS.of(Named(odd, reverse=True), wire.PTR, wire.ASKED, b"") == ((), ())


def test_a_name_for_another_name() -> None:
    record, name = RECORDS.alias(wire.ASKED, "api.Example.com.")
    assert name == b"\x03api\x07Example\x03com\0"
    asked = query("Name.")
    whole = wire.message(asked, read(asked), Sections((record,)), 512)
    assert str(dns.message.from_wire(whole).answer[0]) == "Name. 30 IN CNAME api.Example.com."
