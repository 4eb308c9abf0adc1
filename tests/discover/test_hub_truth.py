"""Whatever sources say, in any order: hub, publisher and workers agree with a catalog that is made anew.

Sources here say what no sound registry would: names that are no names, ports and ids twice, addresses that
others have too, weights below zero.
"""

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.merge import SOURCES, Merge
from meshtrio.catalog.service import Endpoint, Found, Health, Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.catalog.vips import Vips, is_allocated
from meshtrio.discover.hub import Hub
from meshtrio.fleet import Seat
from meshtrio.messages import Resolve, Resolved
from meshtrio.publisher import Publisher, brief

HOSTS = ("10.0.0.1", "10.0.0.2", "127.0.0.1", "fd00::1")
VIPS = tuple(Address.of(host, 0).ip for host in ("10.96.0.1", "10.96.0.2", "127.0.0.9"))
PORTS = (80, 81, 0)
NAMES = ("a", "b", "Ä\n", "x/y", "")
ALL = [Address(vip, port) for vip in VIPS for port in PORTS] + [
    Address.of(h, p) for h in HOSTS for p in PORTS
]

addresses = st.builds(Address.of, st.sampled_from(HOSTS), st.sampled_from(PORTS))
endpoints = st.builds(
    Endpoint,
    id=st.sampled_from(["a", "b", "registered:a", "a@10.0.0.1:80"]),
    address=addresses,
    weight=st.sampled_from([-5, 0, 1, 10**12]),
    health=st.sampled_from(Health),
    draining=st.booleans(),
)
ports = st.builds(
    ServicePort,
    name=st.sampled_from(["", "http", "81"]),
    port=st.sampled_from(PORTS),
    endpoints=st.lists(endpoints, max_size=3).map(tuple),
)
services = st.builds(
    Service,
    name=st.sampled_from(NAMES),
    vips=st.lists(st.sampled_from(VIPS), max_size=2).map(tuple),
    ports=st.lists(ports, max_size=3).map(tuple),
    headless=st.booleans(),
    external=st.sampled_from(["", "", "e.example"]),
)
sources = st.sampled_from(SOURCES)
keys = st.sampled_from([f"default/{name}" for name in NAMES])
findings = st.sampled_from([Health.UNKNOWN, Health.HEALTHY, Health.UNHEALTHY])
steps = st.one_of(
    st.tuples(st.just("say"), sources, st.lists(services, max_size=3), st.booleans()),
    st.tuples(st.just("gone"), sources, keys),
    st.tuples(st.just("lose"), sources, st.booleans()),
    st.tuples(st.just("probe"), keys, addresses, findings),
    st.tuples(st.just("forget"), sources),
    st.tuples(st.just("ask"), st.sampled_from(ALL)),
    st.tuples(st.just("read")),
    st.tuples(st.just("publish")),
)


class World:
    """A hub with a publisher, and a worker that asks and reads."""

    def __init__(self) -> None:
        self.seat = Seat(0)
        self.publisher = Publisher([self.seat])
        self.hub = Hub(Merge(Vips()), self.publisher.replace)
        self.known: dict[Address, Found | None] = {}

    def take(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("say", source, said, complete):
                self.hub.sink(source).say({one.key: one for one in said}, complete=complete)
            case ("gone", source, key):
                self.hub.sink(source).say({key: None})
            case ("lose", source, lost):
                self.hub._unpublished.add(self.hub.merge.lose(source, lost=lost))
            case ("probe", key, address, found):
                self.hub.probed(key, address, found)
            case ("forget", source):
                self.hub.forget(source)
            case ("ask", address):
                self.publisher.answer(self.seat, Resolve(address))
            case ("read",):
                self.read()
            case ("publish",):
                self.hub.publish_now()

    def read(self) -> None:
        for message, _ in self.seat.waiting.values():
            assert isinstance(message, Resolved)
            self.known[message.address] = message.found
        self.seat.waiting.clear()

    def anew(self) -> Snapshot:
        merge = self.hub.merge
        made = [merge.merged(key) for source in SOURCES for key in merge.said(source)]
        return Snapshot().with_services([service for service in made if service is not None])


@given(st.lists(steps, max_size=25))
def test_everybody_knows_what_a_catalog_made_anew_says(given_: list[tuple[Any, ...]]) -> None:
    world = World()
    for step in given_:
        world.take(step)
    world.hub.publish_now()
    world.read()
    snapshot, anew = world.publisher.snapshot, world.anew()
    assert {one.key: one for one in snapshot} == {one.key: one for one in anew}
    for address in ALL:
        found = snapshot.lookup(address)
        assert found == anew.lookup(address)
        assert found is None or found.endpoint is not None or found.port.port == address.port
    for address, found in world.known.items():
        assert _told(found) == _told(brief(snapshot.lookup(address)))
    near = {str(address) for address in _addresses(anew) if address.host in ("127.0.0.1", "127.0.0.9")}
    assert set(world.publisher.loopback_addresses()) == near
    _no_two_are_one(snapshot)


def _told(found: Found | None) -> object:
    """What a worker needs: for an endpoint's own address the endpoint, for a virtual IP all of the port."""
    if found is None or found.endpoint is None:
        return found
    return found.service.key, found.port.name, found.endpoint


def _addresses(snapshot: Snapshot) -> Iterable[Address]:
    for service in snapshot:
        for port in service.ports:
            yield from (Address(vip, port.port) for vip in service.vips)
            yield from (endpoint.address for endpoint in port.endpoints)


def _no_two_are_one(snapshot: Snapshot) -> None:
    owners: dict[bytes, str] = {}
    for service in snapshot:
        for vip in filter(is_allocated, service.vips):
            assert owners.setdefault(vip, service.key) == service.key
        assert len({port.name for port in service.ports}) == len(service.ports)
        for port in service.ports:
            assert len({endpoint.id for endpoint in port.endpoints}) == len(port.endpoints)
