"""The file of services: what it can say, and what it is told when it is wrong."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.document import CatalogFaults, read_services
from meshtrio.catalog.service import Endpoint, Service, ServicePort
from meshtrio.config.wishes import BreakerWishes, Wishes

SHORT = """
services:
  - name: web            # DNS label; namespace: default
    vips: [10.96.0.10, "fd00:96::10"]
    ports: [{name: http, port: 80}]
    endpoints:
      - 127.0.0.1:8081
      - {address: "[::1]:8083", weight: 2, zone: a, draining: true}
"""

LONG = """
services:
  - name: web
    namespace: shop
    ports: [{name: http, port: 80}, {name: admin, port: 81}]
    endpoints:
      - {ip: 10.0.0.1, ports: {http: 8080, admin: 8081}}
      - {ip: "fd00::1", ports: {http: 8080}, weight: 0}
"""


def test_an_endpoint_may_be_in_the_mesh_and_have_an_identity() -> None:
    text = """
services:
- name: web
  ports: [{port: 80}]
  endpoints:
  - {address: "10.0.0.1:80", meshed: true}
  - {address: "10.0.0.2:80", identity: spiffe://cluster.local/ns/shop/sa/web}
  - "10.0.0.3:80"
"""
    (service,) = read_services(text)
    told = [(one.meshed, one.identity) for one in service.endpoints]
    assert told == [(True, ""), (True, "spiffe://cluster.local/ns/shop/sa/web"), (False, "")]
    with pytest.raises(CatalogFaults, match=r"endpoints\[1\].identity.*want a SPIFFE ID"):
        read_services(text.replace("/ns/shop/sa/web", ""))


def test_a_service_may_wish_for_what_a_rule_may_say() -> None:
    text = """
services:
- name: web
  ports: [{port: 80}]
  traffic: {algorithm: maglev, hash_key: sni, breaker: {consecutive: 3}}
"""
    (service,) = read_services(text)
    assert service.wishes == Wishes("maglev", "sni", breaker=BreakerWishes(consecutive=3))
    with pytest.raises(CatalogFaults) as caught:
        read_services(text.replace("maglev", "magic").replace("consecutive: 3", "consecutive: -1, x: 1"))
    assert [fault.path for fault in caught.value.faults] == [
        "services[0].traffic.algorithm",
        "services[0].traffic.breaker.x",
        "services[0].traffic.breaker.consecutive",
    ]


def test_the_short_form() -> None:
    first, second = Address.parse("127.0.0.1:8081"), Address.parse("[::1]:8083")
    ends = (Endpoint(str(first), first), Endpoint(str(second), second, weight=2, zone="a", draining=True))
    vips = (Address.of("10.96.0.10", 0).ip, Address.of("fd00:96::10", 0).ip)
    assert read_services(SHORT) == (Service("web", vips=vips, ports=(ServicePort("http", 80, ends),)),)


def test_the_long_form() -> None:
    (web,) = read_services(LONG)
    assert web.key == "shop/web"
    assert [str(end.address) for end in web.port_named("http").endpoints] == [
        "10.0.0.1:8080",
        "[fd00::1]:8080",
    ]
    assert [str(end.address) for end in web.port_named("admin").endpoints] == ["10.0.0.1:8081"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "services:\n", "services: []\n", "{}"])
def test_no_services_is_no_fault(text: str) -> None:
    assert read_services(text) == ()


def test_one_address_may_serve_two_services_and_vips_may_differ_by_port() -> None:
    text = """
services:
  - {name: a, vips: [10.96.0.1], ports: [{port: 80}], endpoints: ["10.0.0.1:80"]}
  - {name: b, vips: [10.96.0.1], ports: [{port: 81}], endpoints: ["10.0.0.1:80"]}
  - {name: a, namespace: other, ports: [{port: 80}]}
"""
    assert [service.key for service in read_services(text)] == ["default/a", "default/b", "other/a"]


def faults_of(text: str) -> str:
    with pytest.raises(CatalogFaults) as caught:
        read_services(text)
    return str(caught.value)


WRONG_BY_ITSELF = """
services:
  - name: Web
    ports: [{name: HTTP, port: 0}, {nmae: x, port: 80}]
    vips: [10.96.0, 7]
  - vips: 10.96.0.1
    ports:
      - port: 80
    endpoints:
      - 10.0.0.1
      - 10.0.0.1:99999
      - ::1:80
      - 8080
      - {address: "x:1", weight: -1, zone: 7, draining: 2}
      - {ip: 10.0.0, ports: {http: eighty}}
    endpoint: []
  - 3
"""

WRONG_TOGETHER = """
services:
  - {name: web, vips: [10.96.0.1, "::ffff:10.96.0.1"], ports: [{name: a, port: 80}, {name: a, port: 80}]}
  - {name: db, vips: [10.96.0.1], ports: [{port: 80}], endpoints: [10.0.0.1:80, 10.0.0.1:80]}
  - {name: db, ports: [], traffic: {retries: {attempts: 0, hedge_after_s: 0.5}}}
  - name: two
    ports: [{name: http, port: 80}, {name: admin, port: 81}]
    endpoints:
      - 10.0.0.1:80
      - {address: 10.0.0.1:80, ip: 10.0.0.1}
      - {weight: 1}
      - {ip: 10.0.0.1}
      - {ip: 10.0.0.1, ports: {htpp: 80}}
  - name: one
    ports: [{name: http, port: 80}]
    endpoints:
      - {address: 10.0.0.1:80, ports: {http: 80}}
    name: uno
"""


@pytest.mark.parametrize(("name", "text"), [("entries", WRONG_BY_ITSELF), ("contradictions", WRONG_TOGETHER)])
def test_everything_that_is_wrong_is_said_at_once(
    name: str, text: str, golden: Callable[[str, str], None]
) -> None:
    golden(f"catalog_faults_{name}.txt", faults_of(text) + "\n")


def test_a_default_in_the_place_of_a_faulty_value_is_not_blamed() -> None:
    text = "services: [{name: a, ports: [{port: 80}], endpoints: [{ip: x, ports: {'': 1}}]}]"
    assert faults_of(text).count("\n") == 0


def test_broken_yaml_is_one_fault_with_its_place() -> None:
    text = faults_of("services:\n\t- name: a")
    assert text.startswith("catalog: is not YAML: ")
    assert text.endswith("[line 2, column 1]")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab:.[]{}-\n ", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["services", "name", "ports", "endpoints", "port", "x"]), inner, max_size=3
        )
    ),
)


@given(text=st.text(max_size=60) | PLAIN.map(str))
def test_any_text_is_services_or_faults(text: str) -> None:
    try:
        read_services(text)
    except CatalogFaults as wrong:
        assert wrong.faults
        assert str(wrong).startswith("catalog: ")


UDP = """
services:
- name: dns
  vips: [10.96.0.53]
  ports: [{name: tcp, port: 53}, {name: udp, port: 53, protocol: udp}]
  endpoints:
  - {ip: 10.0.0.1, ports: {udp: 5353, tcp: 5354}}
"""


def test_ports_of_udp_stand_apart_from_those_of_tcp() -> None:
    (service,) = read_services(UDP)
    assert [(one.name, one.port, one.protocol) for one in service.ports] == [("tcp", 53, "")]
    assert [(one.name, one.port, one.protocol) for one in service.datagrams] == [("udp", 53, "udp")]
    assert [str(one.address) for one in service.endpoints] == ["10.0.0.1:5354", "10.0.0.1:5353"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("protocol: sctp", r"ports\[1\].protocol"),
        ("protocol: tcp", r"ports\[1\].port.* is 53, as in ports\[0\]"),
    ],
)
def test_what_is_wrong_with_a_protocol_is_named(wrong: str, says: str) -> None:
    with pytest.raises(CatalogFaults, match=says):
        read_services(UDP.replace("protocol: udp", wrong))


def test_one_address_may_have_a_service_of_udp_and_another_of_tcp() -> None:
    entry = "- name: {0}\n  vips: [10.96.0.53]\n  ports: [{{port: 53, protocol: {1}}}]\n"
    made = read_services("services:\n" + entry.format("a", "udp") + entry.format("b", "tcp"))
    assert [len(one.datagrams) for one in made] == [1, 0]
    with pytest.raises(CatalogFaults, match=r"is 10.96.0.53, which services\[0\]"):
        read_services("services:\n" + entry.format("a", "udp") + entry.format("b", "udp"))
