"""Core. What clients may say of an endpoint, and how they hear what is wrong with it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.registrant import (
    Name,
    RegistrationFault,
    Where,
    described,
    name_of,
    read_registrant,
)
from meshtrio.catalog.service import Endpoint, Health

WHERE = Where("orders", "orders-1")


def read(where: Where = WHERE, /, **body: object) -> object:
    return read_registrant(where, msgspec.json.encode({"address": "10.0.0.1:8080", **body}))


def fault(where: Where = WHERE, /, **body: object) -> str:
    with pytest.raises(RegistrationFault) as caught:
        read(where, **body)
    return str(caught.value)


def test_an_address_is_enough() -> None:
    one = read_registrant(WHERE, b'{"address": "[fd00::1]:8080"}')
    assert one.name == Name("default/orders", "orders-1")
    assert one.endpoint == Endpoint("orders-1", Address.of("fd00::1", 8080))
    assert (one.port, one.port_name, one.ttl_s) == (8080, "", 30)


def test_a_port_of_udp_says_so() -> None:
    one = read_registrant(WHERE, b'{"address": "10.0.0.1:53", "protocol": "udp"}')
    assert one.udp
    assert described(one)["protocol"] == "udp"
    assert not read_registrant(WHERE, b'{"address": "10.0.0.1:53"}').udp
    assert "protocol" in fault(protocol="sctp")


def test_everything_that_can_be_said() -> None:
    one = read_registrant(
        WHERE,
        msgspec.json.encode(
            {
                "address": "10.0.0.1:8080",
                "namespace": "shop",
                "port_name": "http",
                "port": 80,
                "weight": 0,
                "zone": "a",
                "version": "v2",
                "labels": {"tier": "gold", "app": "x"},
                "meshed": True,
                "identity": "spiffe://a.org/ns/shop/sa/orders",
                "draining": True,
                "health": "warning",
                "ttl_s": 0,
            }
        ),
    )
    assert one.name.key == "shop/orders"
    assert (one.port, one.port_name, one.ttl_s) == (80, "http", 0)
    assert one.endpoint == Endpoint(
        "orders-1",
        Address.of("10.0.0.1", 8080),
        weight=0,
        zone="a",
        health=Health.WARNING,
        draining=True,
        version="v2",
        labels=(("app", "x"), ("tier", "gold")),
        meshed=True,
        identity="spiffe://a.org/ns/shop/sa/orders",
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"address": "10.0.0.1"}, 'address is "10.0.0.1" (want ip:port, as in'),
        ({"address": "10.0.0.1:0"}, "address is 10.0.0.1:0, which has no port"),
        ({"address": "0.0.0.0:80"}, "address is 0.0.0.0:80, which is nobody's"),
        ({"address": "[::]:80"}, "which is nobody's"),
        ({"address": "[ff02::1]:80"}, "which is nobody's"),
        ({"address": "240.240.1.2:80"}, "which is a virtual IP of ours"),
        ({"address": "[fd6d:6573:68::1:2]:80"}, "which is a virtual IP of ours"),
        ({"weight": 1001}, "weight is 1001 (want a weight, 0 to 1000)"),
        ({"weight": True}, "weight is true (want a weight"),
        ({"ttl_s": -1}, "ttl_s is -1 (want whole seconds, 1 to 86400, or 0"),
        ({"ttl_s": 86401}, "ttl_s is 86401"),
        ({"ttl_s": 1.5}, "ttl_s is 1.5"),
        ({"port": 65536}, "port is 65536"),
        ({"port_name": "HTTP"}, 'port_name is "HTTP" (want a short name'),
        ({"health": "sick"}, 'health is "sick" (want healthy or warning or unhealthy or unknown)'),
        ({"labels": {"a b": "x"}}, "labels is a mapping (want up to 32 names"),
        ({"labels": {"a": "x" * 256}}, "labels is"),
        ({"labels": {str(n): "" for n in range(33)}}, "labels is"),
        ({"zone": "a\nb"}, "zone is"),
        ({"identity": "orders"}, 'identity is "orders" (want a SPIFFE ID'),
        ({"namespace": "Shop"}, 'namespace is "Shop" (want a DNS label'),
        ({"meshed": "yes"}, 'meshed is "yes" (want true or false)'),
        ({"wieght": 2}, "wieght is not known (did you mean weight?)"),
    ],
)
def test_a_fault_names_its_field(body: dict[str, object], words: str) -> None:
    assert words in fault(**body)


def test_all_faults_are_said_at_once() -> None:
    assert fault(weight=-1, ttl_s="x").count("want") == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b'{"address": "\xff"}', "the body is not JSON"),
        (b"[" * 60_000, "the body is not JSON"),
        (b'{"labels": ' + b'{"a": ' * 10_000, "the body is not JSON"),
        (b"[]", "the body is a list (want a mapping of address"),
        (b"null", "address is missing"),
        (b"{}", "address is missing (want ip:port"),
    ],
)
def test_a_body_that_is_none(text: bytes, words: str) -> None:
    with pytest.raises(RegistrationFault, match=r".") as caught:
        read_registrant(WHERE, text)
    assert words in str(caught.value)


def test_the_namespace_may_stand_in_the_query_or_in_the_body() -> None:
    there = WHERE._replace(namespace="shop")
    assert read(there) == read(namespace="shop") == read(there, namespace="shop")
    assert "namespace is a in the body and shop in the query" in fault(there, namespace="a")


@pytest.mark.parametrize(
    "where", [Where("Orders", "1"), Where("o", "-1"), Where("o", "a/b"), Where("o", "x" * 129)]
)
def test_names_in_the_path_are_looked_at(where: Where) -> None:
    assert "(want" in fault(where)
    with pytest.raises(RegistrationFault, match=r"service is|id is"):
        name_of(where)


@given(
    st.fixed_dictionaries(
        {"address": st.sampled_from(["10.0.0.1:80", "[fd00::1]:1", "127.0.0.1:65535"])},
        optional={
            "namespace": st.sampled_from(["a", "b-c"]),
            "port_name": st.sampled_from(["", "http"]),
            "port": st.integers(0, 65535),
            "weight": st.integers(0, 1000),
            "zone": st.text("aé /", max_size=5),
            "labels": st.dictionaries(
                st.text("a./-", min_size=1, max_size=3), st.text("aé", max_size=3), max_size=32
            ),
            "health": st.sampled_from([health.value for health in Health]),
            "draining": st.booleans(),
            "ttl_s": st.integers(0, 86400),
        },
    )
)
def test_what_is_described_is_read_as_the_same(body: dict[str, object]) -> None:
    one = read_registrant(WHERE, msgspec.json.encode(body))
    assert read_registrant(WHERE, msgspec.json.encode(described(one))) == one


@given(
    st.binary(max_size=64)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(msgspec.json.encode)
)
def test_any_body_is_read_or_refused(text: bytes) -> None:
    with pytest.raises(RegistrationFault):
        read_registrant(WHERE, text)
