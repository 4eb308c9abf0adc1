"""What is answered of services and endpoints, by a real hub."""

import time
from typing import Any

import pytest

from meshtrio.address import Address
from meshtrio.catalog.question import EndpointsWanted, NoSuchService, ServicesWanted, WhichNamespace
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.catalog_answers import CatalogAnswers
from meshtrio.route.directness import Way
from meshtrio.web.message import encode
from tests.support.catalog_desk import NOW, Desk, endpoint, service, shop

HOST = Address.of("10.0.0.1", 8080)


def only(desk: Desk) -> Any:
    told: Any = desk.catalog.endpoints(EndpointsWanted())
    assert told["total"] == 1
    return told["endpoints"][0]


def test_a_page_of_services_says_where_the_next_begins() -> None:
    desk = shop()
    first: Any = desk.catalog.services(ServicesWanted(limit=2))
    assert [one["name"] for one in first["services"]] == ["printer", "web"]
    assert (first["total"], first["after"]) == (5, "default/web")
    last: Any = desk.catalog.services(ServicesWanted(limit=3, after=first["after"]))
    assert [one["name"] for one in last["services"]] == ["legacy", "orders", "web"]
    assert (last["total"], last["after"]) == (5, "")


def test_how_good_what_we_know_is() -> None:
    told: Any = shop().catalog.services(ServicesWanted())
    assert {
        f"{one['namespace']}/{one['name']}": (one["level"], one["stale_since"]) for one in told["services"]
    } == {
        "shop/orders": ("live", 0.0),
        "shop/web": ("live", 0.0),
        "shop/legacy": ("live", 0.0),
        "default/web": ("last_known", NOW - 245),
        "default/printer": ("static", 0.0),
    }


def test_a_service_that_has_just_gone_is_still_answered() -> None:
    desk = Desk()
    desk.say("dns", service("web", endpoint("10.0.0.1")))
    desk.hub.sink("dns").say({}, complete=True)
    told: Any = desk.catalog.services(ServicesWanted())
    assert [one["level"] for one in told["services"]] == ["live"]
    assert only(desk)["source"] == "dns"


def test_all_of_one_service() -> None:
    desk = shop()
    told: Any = desk.catalog.service("shop", "orders")
    assert told["name"] == "orders"
    assert told["labels"] == {}
    assert [one["id"] for one in told["serving"]["endpoints"]] == [
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "10.0.0.10",
    ]
    with pytest.raises(NoSuchService):
        desk.catalog.service("default", "orders")


def test_endpoints_by_name_namespace_and_all() -> None:
    desk = shop()
    totals = {
        wanted: desk.catalog.endpoints(wanted)["total"]
        for wanted in (
            EndpointsWanted(),
            EndpointsWanted(namespace="default"),
            EndpointsWanted(service="orders"),
            EndpointsWanted(service="web", namespace="default"),
            EndpointsWanted(service="default/web"),
        )
    }
    assert list(totals.values()) == [6, 2, 4, 1, 1]
    with pytest.raises(WhichNamespace):
        desk.catalog.endpoints(EndpointsWanted(service="web"))


@pytest.mark.parametrize(
    ("said", "probed", "lost", "health", "why"),
    [
        (Health.HEALTHY, None, False, "healthy", "consul"),
        (Health.WARNING, None, False, "warning", "consul"),
        (Health.HEALTHY, Health.HEALTHY, False, "healthy", "consul+probe"),
        (Health.HEALTHY, Health.UNHEALTHY, False, "unhealthy", "probe"),
        (Health.UNHEALTHY, Health.HEALTHY, False, "unhealthy", "consul"),
        (Health.UNHEALTHY, Health.UNHEALTHY, False, "unhealthy", "consul+probe"),
        (Health.UNKNOWN, Health.HEALTHY, False, "healthy", "probe"),
        (Health.UNKNOWN, Health.UNKNOWN, False, "unknown", "consul"),
        (Health.HEALTHY, Health.UNKNOWN, False, "healthy", "consul"),
        # A registry that is lost is believed less than a probe.
        (Health.UNHEALTHY, Health.HEALTHY, True, "healthy", "probe"),
        (Health.UNHEALTHY, None, True, "unhealthy", "consul"),
    ],
)
def test_whose_word_the_health_is(
    said: Health, probed: Health | None, lost: bool, health: str, why: str
) -> None:
    desk = Desk()
    desk.say("consul", service("web", endpoint("10.0.0.1", health=said)))
    if lost:
        desk.lose("consul", NOW)
    if probed is not None:
        desk.probes("default/web", HOST, probed, "words")
    one = only(desk)
    assert (one["health"], one["said"], one["why"], one["stale"]) == (health, said.value, why, lost)
    assert one["probe"] is None if probed is None else one["probe"]["health"] == probed.value


def test_registered_endpoints_keep_their_own_source() -> None:
    desk = Desk()
    desk.say("kubernetes", service("web", endpoint("10.0.0.1")))
    desk.say("registered", service("web", endpoint("10.0.0.2", health=Health.UNHEALTHY)))
    desk.lose("registered", NOW)
    desk.probes("default/web", Address.of("10.0.0.2", 8080), Health.HEALTHY)
    told: Any = desk.catalog.endpoints(EndpointsWanted())["endpoints"]
    assert [(one["source"], one["stale"], one["said"]) for one in told] == [
        ("kubernetes", False, "healthy"),
        ("registered", True, "unhealthy"),
    ]
    services: Any = desk.catalog.services(ServicesWanted(source="registered"))
    assert [(one["level"], one["stale_since"]) for one in services["services"]] == [("live", NOW)]


def test_nobody_probes() -> None:
    desk = shop()
    told: Any = CatalogAnswers(desk.hub).endpoints(EndpointsWanted())
    assert {one["probe"] for one in told["endpoints"]} == {None}


def test_all_of_it_is_json() -> None:
    answers = shop().catalog
    for one in (
        answers.services(ServicesWanted()),
        answers.service("shop", "orders"),
        answers.endpoints(EndpointsWanted()),
        answers.discovery(),
    ):
        assert b"Address" not in encode(one)
        assert b"<" not in encode(one)


def test_a_page_costs_little_among_many() -> None:
    desk = Desk()
    many = (
        service(f"s{at}", *(endpoint(f"10.{at >> 8}.{at & 255}.{low}") for low in range(5)))
        for at in range(4000)
    )
    desk.say("kubernetes", *many)
    began = time.process_time()
    for _ in range(5):
        desk.catalog.services(ServicesWanted(after="default/s2"))
        desk.catalog.endpoints(EndpointsWanted(after='["default/s2","http","10.0.2.1:8080","x"]'))
    assert (time.process_time() - began) / 10 < 0.1  # 0.01 s on a quiet machine


class Udp:
    """What a keeper of UDP services would say."""

    def way(self, service: Service, port: ServicePort) -> Way:
        return Way("direct", f"udp of {service.key}:{port.name}")

    def flows_of(self, service: Service, port: ServicePort, endpoint: Endpoint) -> int:
        assert (port.protocol, endpoint.address) == ("udp", HOST)
        return 7


def test_udp_ports_are_listed_with_their_own_words_and_flows() -> None:
    desk = Desk()
    vips = tuple(Address.of(vip, 0).ip for vip in ("10.96.0.1", "10.96.0.2"))
    ends = (Endpoint("a", HOST),)
    ports, datagrams = (ServicePort("dns", 53, ends),), (ServicePort("dns", 53, ends, "udp"),)
    desk.say("file", Service("dns", vips=vips, ports=ports, datagrams=datagrams))
    answers = CatalogAnswers(desk.hub, datagrams=Udp())
    told: Any = answers.services(ServicesWanted())
    (one,) = told["services"]
    assert [(port["protocol"], port["path"], port["why"]) for port in one["ports"]] == [
        ("", "relay", ""),
        ("udp", "direct", "udp of default/dns:dns"),
    ]
    assert (one["endpoints"], one["ready"]) == (2, 2)
    listed: Any = answers.endpoints(EndpointsWanted())
    assert sorted(str(row["flows"]) for row in listed["endpoints"]) == ["7", "None"]
    assert listed["total"] == 2
