"""Instances as Consul tells them, and the endpoints that they become."""

import re
from typing import Any

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.catalog.consul import LABEL_BYTES, LABELS, read_names, read_service, with_elsewhere
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.config.wishes import NO_WISHES, WORDS, Wishes


def instance(id_: str = "web-1", *, checks: Any = ("passing",), node: Any = None, **service: Any) -> Any:
    """Make an instance as /v1/health/service tells it."""
    return {
        "Node": {"Node": "node-1", "Datacenter": "dc1", "Address": "10.0.0.1", "Meta": {}, **(node or {})},
        "Service": {"ID": id_, "Service": "web", "Address": "10.0.0.2", "Port": 80, "Meta": {}, **service},
        "Checks": [{"CheckID": str(at), "Status": status} for at, status in enumerate(checks)],
    }


def read(*instances: Any, before: Service | None = None, wan: bool = False) -> Service:
    reading = read_service("web", list(instances), before, wan=wan)
    assert reading.skips == ()
    assert reading.service is not None
    return reading.service


def endpoint(**words: Any) -> Endpoint:
    return read(instance(**words)).endpoints[0]


def test_an_instance_is_an_endpoint() -> None:
    meta = {
        "zone": "b", "version": "1.2", "port_name": "http", "protocol": "http2",
        "meshtrio-mesh": "enabled", "meshtrio-identity": "spiffe://x/web",
    }  # fmt: skip
    service = read(instance(Meta=meta, Tags=["canary", "team=a"], Weights={"Passing": 7, "Warning": 2}))
    assert (service.key, service.vips) == ("default/web", ())
    assert service.ports == (ServicePort("http", 80, service.endpoints, "http2"),)
    assert service.endpoints == (
        Endpoint(
            "node-1/web-1", Address.of("10.0.0.2", 80), 7, "b", node="node-1", version="1.2", meshed=True,
            identity="spiffe://x/web", labels=tuple(sorted({**meta, "canary": "", "team": "a"}.items())),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("checks", "health"),
    [
        ((), Health.UNKNOWN),
        (("passing",), Health.HEALTHY),
        (("passing", "passing"), Health.HEALTHY),
        (("passing", "warning"), Health.WARNING),
        (("warning", "critical"), Health.UNHEALTHY),
        (("passing", "critical"), Health.UNHEALTHY),
        (("passing", "maintenance of a later version"), Health.UNKNOWN),
    ],
)
def test_health_is_that_of_the_worst_check(checks: tuple[str, ...], health: Health) -> None:
    assert endpoint(checks=checks).health is health


@pytest.mark.parametrize(
    ("checks", "weights", "weight"),
    [
        (("passing",), {"Passing": 10, "Warning": 3}, 10),
        (("warning",), {"Passing": 10, "Warning": 3}, 3),
        (("warning",), {"Passing": 10, "Warning": 0}, 0),
        (("critical",), {"Passing": 10}, 10),
        (("passing",), {}, 1),
        (("passing",), None, 1),
    ],
)
def test_the_weight_is_that_of_its_health(checks: tuple[str, ...], weights: Any, weight: int) -> None:
    assert endpoint(checks=checks, Weights=weights).weight == weight


LAN = {"lan": {"Address": "10.1.0.1", "Port": 81}, "wan": {"Address": "192.0.2.1", "Port": 8000}}
NODE = {"TaggedAddresses": {"lan": "10.2.0.1", "wan": "192.0.2.2"}}


@pytest.mark.parametrize(
    ("node", "service", "here", "there"),
    [
        ({}, {}, "10.0.0.2:80", "10.0.0.2:80"),
        ({}, {"Address": ""}, "10.0.0.1:80", "10.0.0.1:80"),
        (NODE, {"Address": ""}, "10.2.0.1:80", "192.0.2.2:80"),
        (NODE, {}, "10.0.0.2:80", "10.0.0.2:80"),
        (NODE, {"TaggedAddresses": LAN}, "10.1.0.1:81", "192.0.2.1:8000"),
        ({}, {"TaggedAddresses": {"lan": {"Address": "10.1.0.1", "Port": 0}}}, "10.1.0.1:80", "10.0.0.2:80"),
        ({"Address": "fd00::1"}, {"Address": None}, "[fd00::1]:80", "[fd00::1]:80"),
    ],
)
def test_the_address_is_the_one_for_where_we_are(node: Any, service: Any, here: str, there: str) -> None:
    raw = instance(node=node, **service)
    assert str(read(raw).endpoints[0].address) == here
    assert str(read(raw, wan=True).endpoints[0].address) == there


def test_the_zone_may_be_the_nodes() -> None:
    assert endpoint(node={"Meta": {"zone": "a"}}).zone == "a"
    assert endpoint(node={"Meta": {"zone": "a"}}, Meta={"zone": "b"}).zone == "b"


def test_the_port_is_that_of_most_and_the_lowest_of_equals() -> None:
    ports = [instance(str(at), Port=port) for at, port in enumerate((90, 80, 90, 70))]
    assert [port.port for port in read(*ports).ports] == [90]
    assert [port.port for port in read(*ports[:2]).ports] == [80]
    assert len(read(*ports).endpoints) == 4


@pytest.mark.parametrize("value", ["No Name", "x" * 64])
def test_words_that_are_none_of_ours_are_none(value: str) -> None:
    port = read(instance(Meta={"port_name": value, "protocol": value})).ports[0]
    assert (port.name, port.protocol) == ("", "")


def test_labels_are_bounded_and_meta_counts_more_than_tags() -> None:
    assert len(endpoint(Tags=[f"tag-{at}" for at in range(1000)], Meta={"z": "1"}).labels) == LABELS
    assert ("z", "1") in endpoint(Tags=[f"tag-{at}" for at in range(1000)], Meta={"z": "1"}).labels
    assert dict(endpoint(Tags=["a=tag"], Meta={"a": "meta"}).labels) == {"a": "meta"}
    large = endpoint(Tags=["x" * LABEL_BYTES, "y" * 10], Meta={}).labels
    assert large == (("x" * LABEL_BYTES, ""),)
    # 1 MB of meta becomes nothing at all.
    assert endpoint(Meta={"a": "x" * 1_000_000, "b": "1"}).labels == (("b", "1"),)


def test_equal_labels_are_shared() -> None:
    one, two = read(instance("1", Tags=["a"]), instance("2", Tags=["a"])).endpoints
    assert one.labels is two.labels


def test_proxies_and_instances_without_a_port_are_no_endpoints() -> None:
    reading = read_service("web", [instance("p", Kind="connect-proxy"), instance("q", Port=0)])
    assert (reading.service, reading.skips) == (None, ())
    assert [one.id for one in read(instance(), instance("p", Kind="mesh-gateway")).endpoints] == [
        "node-1/web-1"
    ]


def test_ids_are_unique_over_nodes_and_datacenters() -> None:
    raws = [instance(), instance(node={"Node": "node-2"})]
    assert [one.id for one in read(*raws).endpoints] == ["node-1/web-1", "node-2/web-1"]
    assert [one.id for one in read(*raws, wan=True).endpoints] == ["dc1/node-1/web-1", "dc1/node-2/web-1"]


POISON: list[tuple[Any, str]] = [
    (instance(Address="web.example.com"), "'web.example.com' does not appear to be an IPv4 or IPv6 address"),
    (instance(Address="0.0.0.0"), "its address is 0.0.0.0:80, which is nobody's"),
    (instance(Address="240.240.0.1"), "which is a virtual IP of ours"),
    (instance(Meta={"meshtrio-identity": "x" * 3000}), "is no name"),
    (instance(Address=7), "'7' is no name"),
    (instance(Port="80"), "the port '80' is no number"),
    (instance(Port=70_000), "port 70000 is not in 0 to 65535"),
    (instance(Meta=[1]), "its meta values are no texts"),
    (instance(Meta={"a": 1}), "its meta values are no texts"),
    (instance(Tags=[1]), ""),
    (instance(Tags=7), ""),
    (instance(Weights={"Passing": -1}), "the weight -1 is not in 0 to 65535"),
    (instance(Weights={"Passing": "9"}), "the weight 9 is not in 0 to 65535"),
    (instance(Weights=[9]), ""),
    (instance(node={"TaggedAddresses": 9}, Address=""), ""),
    ({**instance(), "Checks": 7}, ""),
    ({**instance(), "Checks": [{"no": "status"}]}, "it has no 'Status'"),
]


@pytest.mark.parametrize(("raw", "why"), POISON)
def test_what_cannot_be_understood_stays_as_it_was(raw: Any, why: str) -> None:
    good = instance("web-2")
    before = read(instance(Address="10.9.9.9"), good)
    reading = read_service("web", [raw, good], before)
    assert reading.service == before
    assert len(reading.skips) == 1
    assert reading.skips[0].startswith("instance node-1/web-1 of web: ")
    assert why in reading.skips[0]
    fresh = read_service("web", [raw, good])
    assert fresh.service is not None
    assert [one.id for one in fresh.service.endpoints] == ["node-1/web-2"]


@pytest.mark.parametrize("raw", POISON[:3])
def test_a_service_of_which_nothing_is_understood_stays_as_it_was(raw: Any) -> None:
    before = read(instance(Meta={"port_name": "http", "protocol": "http"}, Port=99))
    assert read_service("web", [raw[0]], before).service == before
    assert read_service("web", [raw[0]]).service is None


@pytest.mark.parametrize(
    "raw", [None, 1, [], {}, {"Service": {}}, {"Service": {"Port": 1}, "Node": 7}, instance(id_="x" * 301)]
)
def test_what_has_no_name_is_skipped(raw: Any) -> None:
    reading = read_service("web", [raw, instance()])
    assert reading.service == read(instance())
    # Without a port it is not for us, whatever else it lacks.
    assert [skip.startswith("instance ? of web: ") for skip in reading.skips] in ([True], [])


def test_an_instance_that_is_there_twice_counts_once() -> None:
    reading = read_service("web", [instance(), instance(Address="10.0.0.9")])
    assert reading.service == read(instance())
    assert reading.skips == ("instance node-1/web-1 of web: it is there twice",)


@pytest.mark.parametrize("body", [None, {}, "", 7, {"web": []}])
def test_an_answer_that_is_no_list_is_none(body: Any) -> None:
    with pytest.raises(ValueError, match="is no list"):
        read_service("web", body)


def test_names_that_are_no_labels_are_told() -> None:
    names, skips = read_names({"web": [], "a-1": None, "Web": [], "a_b": [], "x" * 64: [], "": [], "a.b": []})
    assert names == {"web", "a-1"}
    assert len(skips) == 5
    assert "service 'Web': the name is no DNS label" in skips


@pytest.mark.parametrize("body", [None, [], "", 7])
def test_a_list_of_services_that_is_none_is_told(body: Any) -> None:
    with pytest.raises(ValueError, match="is no object"):
        read_names(body)


def test_instances_elsewhere_stand_behind_our_own_port() -> None:
    local, other = read(instance(Port=80)), read(instance(Port=8080), wan=True)
    both = with_elsewhere(local, other)
    assert both is not None
    assert [port.port for port in both.ports] == [80]
    assert both.endpoints == local.endpoints + other.endpoints
    assert with_elsewhere(None, other) is other
    assert with_elsewhere(local, None) is local
    assert with_elsewhere(None, None) is None


def test_what_most_instances_wish_for_holds() -> None:
    old, new = {"meshtrio-balancing": "maglev"}, {"meshtrio-balancing": "random", "meshtrio-direct": "auto"}
    instances = [instance(str(at), Meta=meta) for at, meta in enumerate((old, new, new))]
    assert read(*instances).wishes == Wishes("random", direct="auto")
    assert read(*reversed(instances)).wishes == Wishes("random", direct="auto")
    assert read(instance("1", Meta={"zone": "b"})).wishes is NO_WISHES


def test_a_wish_that_is_wrong_is_named_and_the_instance_is_there() -> None:
    service = read(instance(Meta={"meshtrio-balancing": "robin", "meshtrio-retries": "1"}))
    assert [one.partition(" (want ")[0] for one in service.unheeded] == ['meshtrio-balancing is "robin"']
    assert service.wishes.retries.attempts == 1
    assert len(service.endpoints) == 1


def test_consul_takes_the_names_of_wishes() -> None:
    assert all(re.fullmatch("[A-Za-z0-9_-]{1,128}", f"meshtrio-{word}") for word in WORDS)


def test_wishes_stay_while_nothing_can_be_understood() -> None:
    before = read(instance(Meta={"meshtrio-balancing": "robin", "meshtrio-direct": "auto"}))
    bad = instance(Meta={"meshtrio-direct": "auto"}, Port="x")
    assert read_service("web", [bad], before).service == before


def test_a_service_that_most_say_speaks_udp_has_a_udp_port() -> None:
    udp = {"protocol": "udp", "port_name": "dns"}
    made = read(instance("1", Meta=udp, Port=53), instance("2", Meta=udp, Port=53), instance("3", Port=53))
    assert made.ports == ()
    (port,) = made.datagrams
    assert (port.name, port.port, port.protocol, len(port.endpoints)) == ("dns", 53, "udp", 3)
    broken = {"Node": {"Node": "node-1"}, "Service": {"ID": "1", "Port": 1, "Meta": [1]}}
    again = read_service("web", [broken], made).service
    assert again is not None
    assert again.datagrams == (msgspec.structs.replace(port, endpoints=port.endpoints[:1]),)
    elsewhere = read(instance("4", Meta=udp, Port=54))
    both = with_elsewhere(made, elsewhere)
    assert both is not None
    assert (both.ports, [len(one.endpoints) for one in both.datagrams]) == ((), [4])
