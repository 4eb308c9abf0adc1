"""Names and ids of their own, whatever a registry says."""

from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog import distinct
from meshtrio.catalog.service import Endpoint, ServicePort


def port(name: str, number: int) -> ServicePort:
    return ServicePort(name, number)


def end(id_: str, host: int, weight: int = 1) -> Endpoint:
    return Endpoint(id_, Address.of(f"10.0.0.{host}", 80), weight=weight)


def test_what_is_distinct_is_the_very_object() -> None:
    named = (port("", 80), port("http", 81))
    told = (end("a", 1), end("b", 1))
    assert distinct.ports(named) is named
    assert distinct.endpoints(told) is told


def test_a_name_that_is_taken_gets_its_number() -> None:
    given_ = (port("", 80), port("", 81), port("", 80), port("http", 80), port("http", 81))
    assert [(one.name, one.port) for one in distinct.ports(given_)] == [
        ("", 80),
        ("81", 81),
        ("http", 80),
        ("http-81", 81),
    ]


def test_an_id_that_is_taken_gets_its_address_and_who_is_there_twice_is_there_once() -> None:
    given_ = (end("a", 1), end("a", 2), end("a", 1, weight=7), end("a", 2, weight=7))
    assert distinct.endpoints(given_) == (end("a", 1), end("a@10.0.0.2:80", 2))


@given(st.lists(st.builds(port, st.sampled_from(["", "80", "x", "x-80"]), st.sampled_from([80, 81]))))
def test_all_ports_have_names_of_their_own_and_no_number_is_lost(given_: list[ServicePort]) -> None:
    named = distinct.ports(tuple(given_))
    assert len({one.name for one in named}) == len(named)
    assert {one.port for one in named} == {one.port for one in given_}


def test_an_id_that_looks_like_a_longer_one_takes_no_endpoint_away() -> None:
    given_ = (end("a", 2), end("a@10.0.0.1:80", 2), end("a", 1))
    assert [one.id for one in distinct.endpoints(given_)] == [
        "a",
        "a@10.0.0.1:80",
        "a@10.0.0.1:80@10.0.0.1:80",
    ]


@given(st.lists(st.builds(end, st.sampled_from(["a", "a@10.0.0.1:80", "b"]), st.sampled_from([1, 2]))))
def test_all_endpoints_have_ids_of_their_own_and_no_address_is_lost(given_: list[Endpoint]) -> None:
    apart = distinct.endpoints(tuple(given_))
    assert len({one.id for one in apart}) == len(apart)
    assert {one.address for one in apart} == {one.address for one in given_}
