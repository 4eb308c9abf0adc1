"""World. Which services are direct: the kernel's maps follow catalog, configuration and neighbours."""

import mmap
import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.config.identity import Identity
from meshtrio.config.schema import Config
from meshtrio.direct_keeper import DirectKeeper
from meshtrio.intercept import bpf
from meshtrio.intercept import direct_layout as layout
from meshtrio.intercept.direct_layout import Pick, ServiceWords
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.publisher import Publisher
from meshtrio.route.directness import Asked, Relayed, Way

pytestmark = pytest.mark.kernel

HASH, ARRAY, RING, NO_PREALLOC = 1, 2, 27, 1
PLAIN = Config(identity=Identity(source="off"))
VIP, VIP6 = "10.96.0.10", "fd00:96::10"
SIZES = {
    "services": (HASH, 18, layout.SERVICE_BYTES),
    "direct_slots": (HASH, layout.SLOT_KEY_BYTES, layout.SLOT_BYTES),
    "direct_seats": (HASH, layout.MEMBER_KEY_BYTES, layout.SEAT_BYTES),
    "direct_members": (ARRAY, 4, layout.MEMBER_BYTES),
    "direct_berths": (ARRAY, 4, layout.BERTH_BYTES),
    "direct_live": (HASH, 8, layout.FOLLOWED_BYTES),
}


@pytest.fixture
def kernel_maps() -> Iterator[dict[str, int]]:
    made = {
        name: bpf.create_map(kind, name, (key, value, 64), NO_PREALLOC * (kind == HASH))
        for name, (kind, key, value) in SIZES.items()
    }
    made["direct_ended"] = bpf.create_map(RING, "direct_ended", (0, 0, mmap.PAGESIZE))
    yield made
    for descriptor in made.values():
        os.close(descriptor)


class Said:
    """What is wanted of all traffic."""

    def __init__(self) -> None:
        self.said = Asked(direct=True)
        self.slow: dict[str, int] = {}

    def asked(self, service: Service, port: ServicePort) -> Asked:
        return self.said

    def usable(self, service: Service, port: ServicePort) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint in port.endpoints if endpoint.ready)

    def starting(self, service: Service, port: ServicePort) -> dict[str, int]:
        return self.slow


class World:
    """A catalog that a test changes, and what the keeper makes of it."""

    def __init__(self, kernel_maps: dict[str, int], config: Config = PLAIN) -> None:
        self.near: set[Address] = set()
        self.publisher = Publisher([])
        self.maps = DirectMaps(kernel_maps)
        self.wishes = Said()
        self.keeper = DirectKeeper(self.publisher, config, self.wishes, lambda address: address in self.near)
        self._kernel_maps = kernel_maps
        self.publisher.use_map(kernel_maps["services"], keep=self.maps.standing.keys())
        self.keeper.use(self.maps)

    def only(self, *services: Service) -> None:
        self.publisher.replace(self.publisher.snapshot.with_only(services))

    def order(self, vip: str, port: int = 80) -> list[str]:
        """Return in which order the hooks would pick, by the last part of each address."""
        service = Address.of(vip, port)
        raw = bpf.look_up(self._kernel_maps["services"], service.pack(), layout.SERVICE_BYTES)
        words = ServiceWords.unpack(raw) if raw is not None else ServiceWords()
        found = []
        for at in range(words.slots):
            key = layout.slot_key(service, at, words.generation)
            slot = bpf.look_up(self._kernel_maps["direct_slots"], key, layout.SLOT_BYTES)
            assert slot is not None
            found.append(Address.unpack(slot).host.rpartition(".")[2].rpartition(":")[2])
        return found

    def way(self) -> Way:
        return self.keeper.way("default/web", "http")


@pytest.fixture
def world(kernel_maps: dict[str, int]) -> World:
    return World(kernel_maps)


def endpoint(host: str, **how: Any) -> Endpoint:
    return Endpoint(id=host, address=Address.of(host, 8080), **how)


def web(*endpoints: Endpoint, vips: tuple[str, ...] = (VIP,), name: str = "web") -> Service:
    addresses = tuple(Address.of(vip, 0).ip for vip in vips)
    return Service(name, vips=addresses, ports=(ServicePort("http", 80, endpoints),))


ONE, TWO, SIX = endpoint("10.1.0.1"), endpoint("10.1.0.2"), endpoint("fd00:1::6")


def test_the_maps_follow_the_catalog(world: World) -> None:
    world.only(web(TWO, ONE))
    assert world.order(VIP) == ["1", "2"]
    assert world.way() == Way("direct")
    assert world.keeper.count == 1
    assert world.keeper.names == {Address.of(VIP, 80): "default/web"}
    world.only(web(TWO))
    assert world.order(VIP) == ["2"]
    world.only(web())
    assert world.order(VIP) == []
    assert world.way() == Way("relay", Relayed.NO_ENDPOINT.value)
    world.only()
    assert world.way() == Way("relay", Relayed.OFF.value)
    assert world.maps.standing == {}
    assert world.keeper.count == 0


def test_what_does_not_change_is_not_written(world: World) -> None:
    world.only(web(ONE, TWO))
    before = dict(world.maps.standing)
    world.only(web(TWO, ONE), web(ONE, vips=("10.96.0.11",), name="other"))
    assert world.maps.standing[Address.of(VIP, 80)] == before[Address.of(VIP, 80)]
    world.keeper.look_again()
    assert world.maps.standing[Address.of(VIP, 80)] == before[Address.of(VIP, 80)]


def test_each_address_has_the_members_of_its_family(world: World) -> None:
    world.only(web(ONE, SIX, vips=(VIP, VIP6)))
    assert (world.order(VIP), world.order(VIP6)) == (["1"], ["6"])
    assert world.way() == Way("direct")
    world.only(web(ONE, vips=(VIP, VIP6)))
    assert (world.order(VIP), world.order(VIP6)) == (["1"], [])
    assert world.way() == Way("both", Relayed.FAMILY.value)


def test_weights_warnings_and_health_count(world: World) -> None:
    world.wishes.said = Asked(direct=True, algorithm="weighted")
    warned = endpoint("10.1.0.3", weight=2, health=Health.WARNING)
    world.only(web(endpoint("10.1.0.1", weight=2), warned, endpoint("10.1.0.4", health=Health.UNHEALTHY)))
    assert sorted(world.order(VIP)) == ["1", "1", "3"]


def test_who_starts_slowly_has_fewer_slots(world: World) -> None:
    world.wishes.slow = {TWO.id: 5}
    world.only(web(ONE, TWO))
    assert sorted(world.order(VIP)) == ["1", "1", "2"]
    world.wishes.slow = {}
    world.keeper.follow(["default/web"])
    assert world.order(VIP) == ["1", "2"]


def test_wishes_that_change_move_it(world: World) -> None:
    world.only(web(ONE, TWO))
    for asked, why in (
        (Asked(), Relayed.OFF),
        (Asked(direct=True, attempts=1), Relayed.RETRIES),
        (Asked(direct=True, algorithm="peak_ewma"), Relayed.ALGORITHM),
    ):
        world.wishes.said = asked
        world.keeper.settle(PLAIN)
        assert world.way() == Way("relay", why.value)
        assert world.order(VIP) == []
    world.wishes.said = Asked(direct=True, algorithm="least_connections")
    world.keeper.settle(PLAIN)
    assert world.maps.standing[Address.of(VIP, 80)].pick is Pick.LEAST


def test_a_service_without_addresses_says_so(world: World) -> None:
    world.only(web(ONE, vips=()))
    assert world.way() == Way("relay", Relayed.NO_ADDRESS.value)


def test_an_address_serves_its_first_owner_and_then_the_next(world: World) -> None:
    world.only(web(ONE), web(TWO, name="zoo"))
    assert world.order(VIP) == ["1"]
    assert world.keeper.way("default/zoo", "http") == Way("relay", Relayed.OTHER_OWNER.value)
    world.only(web(TWO, name="zoo"))
    assert world.order(VIP) == ["2"]
    assert world.keeper.way("default/zoo", "http") == Way("direct")


@pytest.mark.parametrize("meshed", [True, False])
def test_an_endpoint_in_the_mesh_is_called_with_tls(kernel_maps: dict[str, int], meshed: bool) -> None:
    world = World(kernel_maps, Config())
    called = msgspec.structs.replace(ONE, meshed=meshed)
    if not meshed:
        world.near = {ONE.address}
    world.only(web(called, TWO))
    assert world.way() == Way("relay", Relayed.TLS.value)
    world.keeper.settle(PLAIN)
    assert world.way() == Way("direct"), "without identities nobody speaks TLS"


def test_who_comes_near_is_noticed_and_who_goes(kernel_maps: dict[str, int]) -> None:
    world = World(kernel_maps, Config())
    world.only(web(ONE))
    assert world.way() == Way("direct")
    world.near = {ONE.address}
    world.keeper.look_again()
    assert world.way() == Way("relay", Relayed.TLS.value)
    assert world.order(VIP) == []
    world.near = set()
    world.keeper.look_again()
    assert world.way() == Way("direct")


def test_what_does_not_fit_is_relayed_and_tried_again(world: World) -> None:
    many = [endpoint(f"10.1.0.{at}") for at in range(40)]
    other = web(*many, vips=("10.96.0.11",), name="other")
    world.only(web(*many[:30]), other)
    assert world.keeper.full == 1
    full = [key for key in ("web", "other") if world.keeper.way(f"default/{key}", "http").path == "relay"]
    assert len(full) == 1
    assert world.keeper.way(f"default/{full[0]}", "http").why == Relayed.FULL.value
    world.only(web(*many[:2]), web(*many[:3], vips=("10.96.0.11",), name="other"))
    world.keeper.sweep()
    world.keeper.look_again()
    assert world.keeper.full == 0
    assert world.way() == world.keeper.way("default/other", "http") == Way("direct")


def test_a_successor_keeps_what_holds_until_it_knows_better(kernel_maps: dict[str, int]) -> None:
    first = World(kernel_maps)
    first.only(web(ONE), web(TWO, vips=("10.96.0.11",), name="other"))
    second = World(kernel_maps)
    assert (second.order(VIP), second.order("10.96.0.11")) == (["1"], ["2"]), "the catalog is unread yet"
    second.only(web(ONE, TWO))
    assert (second.order(VIP), second.order("10.96.0.11")) == (["1", "2"], ["2"])
    second.keeper.reconcile()
    assert (second.order(VIP), second.order("10.96.0.11")) == (["1", "2"], [])
    known = {Address.unpack(key) for key in bpf.keys(kernel_maps["services"], 18)}
    assert known == {Address.of(VIP, 80), ONE.address, TWO.address}


def test_a_successor_that_shall_not_be_direct_lets_go_at_once(kernel_maps: dict[str, int]) -> None:
    World(kernel_maps).only(web(ONE))
    second = World(kernel_maps)
    second.wishes.said = Asked()
    second.only(web(ONE))
    assert second.order(VIP) == []
    assert second.maps.standing == {}


def test_without_a_kernel_all_is_relayed() -> None:
    publisher = Publisher([])
    keeper = DirectKeeper(publisher, PLAIN, Said(), lambda address: False)
    publisher.replace(publisher.snapshot.with_services([web(ONE)]))
    keeper.settle(PLAIN)
    keeper.reconcile()
    keeper.sweep()
    assert keeper.way("default/web", "http") == Way("relay", Relayed.NO_HOOKS.value)


def test_services_that_are_direct_are_in_use(world: World) -> None:
    """So their endpoints are probed, and their news are not kept waiting."""
    world.only(web(ONE))
    assert world.publisher.asked_for() == {"default/web"}
