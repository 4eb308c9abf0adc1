"""World. Changes of the catalog reach who asked, and a real map in the kernel."""

import logging
import os
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from msgspec.structs import replace

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Found, Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.fleet import Seat
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import SERVICE_BYTES
from meshtrio.messages import Forget, Resolve, Resolved
from meshtrio.publisher import Publisher, brief

HASH, NO_PREALLOC = 1, 1


def at(host: str, port: int = 80) -> Address:
    return Address.of(host, port)


def service(name: str, *endpoints: str, vips: tuple[str, ...] = (), port: int = 80) -> Service:
    made = tuple(Endpoint(id=one, address=Address.parse(one)) for one in endpoints)
    return Service(name, vips=tuple(at(vip).ip for vip in vips), ports=(ServicePort("http", port, made),))


def told(seat: Seat) -> dict[Address, Found | None]:
    """Take what is waiting for a worker."""
    said: dict[Address, Found | None] = {}
    for message, _ in seat.waiting.values():
        assert isinstance(message, Resolved)
        said[message.address] = message.found
    seat.waiting.clear()
    return said


def published(*seats: Seat, services: tuple[Service, ...] = ()) -> Publisher:
    made = Publisher(list(seats))
    made.replace(Snapshot().with_services(services))
    return made


def change(publisher: Publisher, *services: Service) -> None:
    publisher.replace(publisher.snapshot.with_services(services))


def only(publisher: Publisher, *services: Service) -> None:
    publisher.replace(publisher.snapshot.with_only(services))


def test_a_question_is_answered_and_remembered() -> None:
    seat = Seat(0)
    publisher = published(seat, services=(service("web", vips=("10.0.0.1",)),))
    publisher.answer(seat, Resolve(at("10.0.0.1")))
    publisher.answer(seat, Resolve(at("10.9.9.9")))
    said = told(seat)
    web = said[at("10.0.0.1")]
    assert web is not None
    assert web.service.name == "web"
    assert said[at("10.9.9.9")] is None
    assert set(seat.interests) == {at("10.0.0.1"), at("10.9.9.9")}


def test_only_who_asked_is_told_and_only_of_that() -> None:
    asker, other = Seat(0), Seat(1)
    publisher = published(asker, other, services=(service("web", vips=("10.0.0.1",)),))
    publisher.answer(asker, Resolve(at("10.0.0.1")))
    told(asker)
    change(publisher, service("shop", vips=("10.0.0.2",)))
    assert (told(asker), told(other)) == ({}, {})
    change(publisher, service("web", "10.1.0.1:8080", vips=("10.0.0.1",)))
    assert set(told(asker)) == {at("10.0.0.1")}
    assert told(other) == {}


def test_who_dialled_an_endpoint_is_told_of_that_one_and_of_no_other() -> None:
    seat = Seat(0)
    hosts = [f"10.1.0.{number}:80" for number in range(1, 50)]
    publisher = published(seat, services=(service("web", *hosts, vips=("10.0.0.1",)),))
    for number in range(1, 50):
        publisher.answer(seat, Resolve(at(f"10.1.0.{number}")))
    first = told(seat)[at("10.1.0.1")]
    assert first is not None
    assert first.endpoint is not None
    assert (first.service.key, first.port.name, first.port.endpoints) == ("default/web", "http", ())
    change(publisher, service("web", *hosts[1:], vips=("10.0.0.1",)))
    assert told(seat) == {at("10.1.0.1"): None}


def test_another_endpoint_reaches_who_asked_for_the_virtual_ip() -> None:
    seat = Seat(0)
    publisher = published(seat, services=(service("web", "10.1.0.1:8080", vips=("10.0.0.1", "fd00::1")),))
    for vip in ("10.0.0.1", "fd00::1"):
        publisher.answer(seat, Resolve(at(vip)))
    told(seat)
    change(publisher, service("web", "10.1.0.2:8080", vips=("10.0.0.1", "fd00::1")))
    said = told(seat)
    assert set(said) == {at("10.0.0.1"), at("fd00::1")}
    for found in said.values():
        assert found is not None
        assert [str(one.address) for one in found.port.endpoints] == ["10.1.0.2:8080"]


def test_what_was_no_service_becomes_one_and_ceases_to_be_one() -> None:
    seat = Seat(0)
    publisher = published(seat)
    publisher.answer(seat, Resolve(at("10.1.0.1", 8080)))
    assert told(seat) == {at("10.1.0.1", 8080): None}
    change(publisher, service("web", "10.1.0.1:8080"))
    found = told(seat)[at("10.1.0.1", 8080)]
    assert found is not None
    assert found.endpoint is not None
    only(publisher)
    assert told(seat) == {at("10.1.0.1", 8080): None}


def test_who_forgets_is_not_told() -> None:
    seat = Seat(0)
    publisher = published(seat, services=(service("web", vips=("10.0.0.1",)),))
    publisher.answer(seat, Resolve(at("10.0.0.1")))
    told(seat)
    publisher.answer(seat, Forget(at("10.0.0.1")))
    publisher.answer(seat, Forget(at("10.0.0.9")))  # never asked: nothing happens
    only(publisher)
    assert told(seat) == {}
    assert seat.interests == {}


def test_the_same_snapshot_is_no_news() -> None:
    seat = Seat(0)
    web = service("web", vips=("10.0.0.1",))
    publisher = published(seat, services=(web,))
    publisher.answer(seat, Resolve(at("10.0.0.1")))
    told(seat)
    publisher.replace(publisher.snapshot)
    only(publisher, web)
    assert told(seat) == {}


def test_loopback_addresses_and_virtual_ips_are_named() -> None:
    publisher = published(
        services=(
            service("web", "127.0.0.5:1", "[::1]:2", "10.0.0.9:3", vips=("10.0.0.1", "127.0.0.9", "fd00::1")),
        )
    )
    assert publisher.loopback_addresses() == ("127.0.0.5:1", "127.0.0.9:80", "[::1]:2")
    assert publisher.vips() == ("10.0.0.1/32", "127.0.0.9/32", "fd00::1/128")


# The kernel's map


@pytest.fixture
def kernel_map(request: pytest.FixtureRequest) -> Iterator[int]:
    made = bpf.create_map(HASH, "services", (18, SERVICE_BYTES, getattr(request, "param", 64)), NO_PREALLOC)
    yield made
    os.close(made)


def in_map(descriptor: int) -> set[Address]:
    return {Address.unpack(key) for key in bpf.keys(descriptor, 18)}


@pytest.mark.kernel
def test_ports_of_udp_are_no_places_for_connections(kernel_map: int) -> None:
    web = service("web", "10.1.0.1:8080", vips=("10.0.0.1",))
    dns = replace(web.ports[0], port=53, endpoints=(Endpoint("one", at("10.1.0.1", 53)),), protocol="udp")
    publisher = published(services=(replace(web, datagrams=(dns,)),))
    publisher.use_map(kernel_map)
    assert in_map(kernel_map) == {at("10.0.0.1"), at("10.1.0.1", 8080)}
    change(publisher, replace(service("other", vips=("10.0.0.2",)), ports=(), datagrams=(dns,)))
    assert in_map(kernel_map) == {at("10.0.0.1"), at("10.1.0.1", 8080)}
    seat = Seat(0)
    publisher.answer(seat, Resolve(at("10.0.0.1", 53)))
    assert told(seat) == {at("10.0.0.1", 53): None}


@pytest.mark.kernel
def test_what_a_predecessor_left_is_replaced(kernel_map: int) -> None:
    for old in (at("10.0.0.1"), at("10.0.0.7")):
        bpf.update(kernel_map, old.pack(), bytes(SERVICE_BYTES))
    publisher = published(services=(service("web", "10.1.0.1:8080", vips=("10.0.0.1",)),))
    publisher.use_map(kernel_map)
    assert in_map(kernel_map) == {at("10.0.0.1"), at("10.1.0.1", 8080)}
    assert publisher.unmapped == 0


@pytest.mark.kernel
def test_the_map_follows_each_change(kernel_map: int) -> None:
    publisher = published()
    publisher.use_map(kernel_map)
    change(publisher, service("web", "10.1.0.1:8080", "10.1.0.2:8080", vips=("10.0.0.1",)))
    assert in_map(kernel_map) == {at("10.0.0.1"), at("10.1.0.1", 8080), at("10.1.0.2", 8080)}
    change(publisher, service("web", "10.1.0.2:8080", vips=("10.0.0.2",), port=81))
    assert in_map(kernel_map) == {at("10.0.0.2", 81), at("10.1.0.2", 8080)}
    # An address that another service has as well stays.
    change(publisher, service("shop", "10.1.0.2:8080"))
    only(publisher, service("shop", "10.1.0.2:8080"))
    assert in_map(kernel_map) == {at("10.1.0.2", 8080)}
    only(publisher)
    assert in_map(kernel_map) == set()


@pytest.mark.kernel
@pytest.mark.parametrize("kernel_map", [4], indirect=True)
def test_a_full_map_is_counted_and_filled_when_there_is_room(kernel_map: int) -> None:
    publisher = published()
    publisher.use_map(kernel_map)
    change(publisher, service("big", *(f"10.1.0.{number}:80" for number in range(6))))
    assert len(in_map(kernel_map)) == 4
    assert publisher.unmapped == 2
    change(publisher, service("big", *(f"10.1.0.{number}:80" for number in range(6)), "10.2.0.1:80"))
    assert (len(in_map(kernel_map)), publisher.unmapped) == (4, 3)
    change(publisher, service("big", *(f"10.1.0.{number}:80" for number in range(5))))
    assert (len(in_map(kernel_map)), publisher.unmapped) == (4, 1)
    change(publisher, service("big", "10.3.0.1:80"))
    assert in_map(kernel_map) == {at("10.3.0.1")}
    assert publisher.unmapped == 0


@pytest.mark.kernel
@pytest.mark.parametrize("kernel_map", [2], indirect=True)
def test_room_that_one_service_leaves_is_taken_by_another(kernel_map: int) -> None:
    publisher = published()
    publisher.use_map(kernel_map)
    change(publisher, service("a", "10.1.0.1:80", "10.1.0.2:80"))
    change(publisher, service("b", "10.2.0.1:80"))
    assert in_map(kernel_map) == {at("10.1.0.1"), at("10.1.0.2")}
    assert publisher.unmapped == 1
    change(publisher, service("a", "10.1.0.1:80"))
    assert in_map(kernel_map) == {at("10.1.0.1"), at("10.2.0.1")}
    assert publisher.unmapped == 0


@pytest.mark.kernel
@pytest.mark.parametrize("kernel_map", [2], indirect=True)
def test_a_map_that_is_full_from_the_start_is_counted(kernel_map: int) -> None:
    publisher = published(services=(service("big", *(f"10.1.0.{number}:80" for number in range(5))),))
    publisher.use_map(kernel_map)
    assert (len(in_map(kernel_map)), publisher.unmapped) == (2, 3)


@pytest.mark.kernel
def test_a_map_that_cannot_be_written_is_an_error() -> None:
    publisher = published()
    with open("/dev/null") as no_map:
        with pytest.raises(OSError):
            publisher.use_map(no_map.fileno())
        with pytest.raises(OSError):
            change(publisher, service("web", vips=("10.0.0.1",)))


HOSTS = [f"10.0.0.{number}" for number in range(5)]
catalogs = st.lists(
    st.builds(
        lambda name, endpoints, vips: service(name, *(f"{one}:80" for one in endpoints), vips=tuple(vips)),
        st.sampled_from(["a", "b", "c"]),
        st.lists(st.sampled_from(HOSTS), unique=True, max_size=3),
        st.lists(st.sampled_from(HOSTS), unique=True, max_size=2),
    ),
    max_size=3,
    unique_by=lambda one: one.name,
)


@pytest.mark.kernel
@given(
    steps=st.lists(catalogs, min_size=1, max_size=6),
    asked=st.sets(st.sampled_from(HOSTS)),
    room=st.sampled_from([2, 64]),
)
def test_after_any_changes_asker_and_map_know_the_truth(
    steps: list[list[Service]], asked: set[str], room: int
) -> None:
    seat = Seat(0)
    publisher = published(seat)
    kernel_map = bpf.create_map(HASH, "services", (18, SERVICE_BYTES, room), NO_PREALLOC)
    try:
        publisher.use_map(kernel_map)
        known: dict[Address, Any] = {}
        for host in asked:
            publisher.answer(seat, Resolve(at(host)))
        for services in steps:
            only(publisher, *services)
            known |= told(seat)
            truth = {at(host): brief(publisher.snapshot.lookup(at(host))) for host in HOSTS}
            assert known == {at(host): truth[at(host)] for host in asked}
            mapped = {address for address, found in truth.items() if found is not None}
            assert in_map(kernel_map) <= mapped
            assert len(in_map(kernel_map)) == min(room, len(mapped))
            assert publisher.unmapped == len(mapped) - len(in_map(kernel_map))
    finally:
        os.close(kernel_map)


@pytest.mark.kernel
def test_what_is_to_be_kept_stays_until_the_catalog_is_read(kernel_map: int) -> None:
    kept, unknown = at("10.0.0.1"), at("10.0.0.7")
    for old in (kept, unknown):
        bpf.update(kernel_map, old.pack(), b"this is direct!!")
    publisher = published()
    publisher.use_map(kernel_map, keep={kept, at("10.0.0.9")})
    assert in_map(kernel_map) == {kept}
    assert publisher.has_mapped(kept)
    assert not publisher.has_mapped(unknown)
    change(publisher, service("web", vips=("10.0.0.2",)))
    assert bpf.look_up(kernel_map, kept.pack(), SERVICE_BYTES) == b"this is direct!!"
    publisher.forget_unknown()
    assert in_map(kernel_map) == {at("10.0.0.2")}


def test_who_follows_hears_of_services_that_changed_or_got_an_address() -> None:
    publisher, heard = published(), list[Any]()
    publisher.follower = heard.append
    web, zoo = service("web", "10.1.0.1:80", vips=("10.0.0.1",)), service("zoo", vips=("10.0.0.1",))
    change(publisher, web, zoo)
    only(publisher, zoo)
    only(publisher, zoo)
    assert heard == [{"default/web", "default/zoo"}, {"default/web", "default/zoo"}]


def test_what_is_used_directly_is_in_use() -> None:
    publisher = published()
    publisher.used_directly = lambda: {"default/web"}
    assert publisher.asked_for() == {"default/web"}
    assert publisher.is_awaited({"default/web", "default/zoo"})
    assert not publisher.is_awaited({"default/zoo"})


@pytest.mark.parametrize("dialled", ["10.0.0.1:80", "10.1.0.2:80"])
def test_who_dialled_a_service_or_its_endpoint_waits_for_its_news(dialled: str) -> None:
    other, seat = Seat(0), Seat(1)
    web, zoo = service("web", "10.1.0.1:80", "10.1.0.2:80", vips=("10.0.0.1",)), service("zoo", "10.2.0.1:80")
    publisher = published(other, seat, services=(web, zoo))
    assert not publisher.is_awaited({"default/web"})
    publisher.answer(seat, Resolve(Address.parse(dialled)))
    assert publisher.is_awaited({"default/zoo", "default/web", "default/none"})
    assert not publisher.is_awaited({"default/zoo", "default/none"})
    publisher.answer(seat, Forget(Address.parse(dialled)))
    assert not publisher.is_awaited({"default/web"})


def test_before_an_answer_it_is_asked_for_the_last_word() -> None:
    seat, asked = Seat(0), list[str | None]()
    publisher = published(seat, services=(service("web", "10.1.0.1:80", vips=("10.0.0.1",)),))

    def news(key: str | None) -> None:
        asked.append(key)
        if key is not None:
            change(publisher, service("web", "10.1.0.2:80", vips=("10.0.0.1",)))

    publisher.asked = news
    publisher.answer(seat, Resolve(at("10.0.0.1")))
    publisher.answer(seat, Resolve(at("10.9.9.9")))
    assert asked == ["default/web", None]
    found = told(seat)[at("10.0.0.1")]
    assert found is not None
    assert [str(one.address) for one in found.port.endpoints] == ["10.1.0.2:80"]


def test_wishes_that_are_wrong_are_logged_once_a_change(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("meshtrio").propagate = True
    caplog.set_level("INFO", "meshtrio")
    bad = replace(service("web", "10.0.0.1:1"), unheeded=("a is x", "b is y"))
    publisher = published(services=(bad,))
    change(publisher, replace(bad, labels=(("k", "v"),)))
    change(publisher, replace(bad, unheeded=()))
    said = [(record.levelname, record.getMessage(), vars(record)["fields"]) for record in caplog.records]
    assert said == [
        (
            "WARNING",
            "a service wishes what cannot be",
            {"service": "default/web", "wrong": "a is x; b is y"},
        ),
        ("INFO", "all wishes of a service are heeded again", {"service": "default/web"}),
    ]
    assert publisher.unheeded.of == {}
