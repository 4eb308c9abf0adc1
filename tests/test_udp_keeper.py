"""World. The maps of UDP services follow catalog, wishes and configuration."""

import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.catalog.service import UDP, Endpoint, Health, Service, ServicePort
from meshtrio.config.identity import Mtls
from meshtrio.config.schema import Config
from meshtrio.intercept import bpf
from meshtrio.intercept import direct_layout as layout
from meshtrio.intercept.direct_layout import Pick, ServiceWords
from meshtrio.intercept.udp_maps import UdpMaps
from meshtrio.publisher import Publisher
from meshtrio.route.datagrams import Unpicked
from meshtrio.route.directness import Asked, Way
from meshtrio.udp_keeper import UdpKeeper
from tests.intercept.test_udp_maps import made_maps
from tests.support.seats import let_carry

pytestmark = pytest.mark.kernel

VIP, VIP6 = "10.96.0.53", "fd00:96::53"


@pytest.fixture
def kernel_maps() -> Iterator[dict[str, int]]:
    made = made_maps(64)
    yield made
    for descriptor in made.values():
        os.close(descriptor)


class Said:
    """What is wanted of all traffic."""

    def __init__(self) -> None:
        self.said = Asked(direct=True, attempts=3, limited=True, slow_s=1.0, proving=True)

    def asked(self, service: Service, port: ServicePort) -> Asked:
        return self.said

    def usable(self, service: Service, port: ServicePort) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint in port.endpoints if not endpoint.draining)


class World:
    """A catalog that a test changes, and what the keeper makes of it."""

    def __init__(self, kernel_maps: dict[str, int]) -> None:
        self.publisher = Publisher([])
        self.wishes = Said()
        self.keeper = UdpKeeper(self.publisher, Config(), self.wishes)
        self.publisher.follower = self.keeper.follow
        self.maps = UdpMaps(kernel_maps)
        self._kernel_maps = kernel_maps
        self.keeper.use(self.maps)

    def only(self, *services: Service) -> None:
        self.publisher.replace(self.publisher.snapshot.with_only(services))

    def order(self, vip: str = VIP) -> list[str] | None:
        """Return in which order the hooks would pick, by the last part of each address; None: they let be."""
        service = Address.of(vip, 53)
        raw = bpf.look_up(self._kernel_maps["udp_services"], service.pack(), layout.SERVICE_BYTES)
        if raw is None:
            return None
        words, found = ServiceWords.unpack(raw), []
        for at in range(words.slots):
            key = layout.slot_key(service, at, words.generation)
            slot = bpf.look_up(self._kernel_maps["udp_slots"], key, layout.SLOT_BYTES)
            assert slot is not None
            found.append(Address.unpack(slot).host.rpartition(".")[2].rpartition(":")[2])
        return found

    def way(self, name: str = "dns") -> Way:
        service = self.publisher.snapshot.service(f"default/{name}")
        assert service is not None
        return self.keeper.way(service, service.datagrams[0])


@pytest.fixture
def world(kernel_maps: dict[str, int]) -> World:
    return World(kernel_maps)


def endpoint(host: str, **how: Any) -> Endpoint:
    return Endpoint(id=host, address=Address.of(host, 5353), **how)


def dns(*endpoints: Endpoint, vips: tuple[str, ...] = (VIP,), name: str = "dns") -> Service:
    addresses = tuple(Address.of(vip, 0).ip for vip in vips)
    return Service(name, vips=addresses, datagrams=(ServicePort("dns", 53, endpoints, UDP),))


ONE, TWO, SIX = endpoint("10.1.0.1"), endpoint("10.1.0.2"), endpoint("fd00:1::6")


def test_the_maps_follow_the_catalog(world: World) -> None:
    """What else is asked for is the business of workers, who carry no datagrams."""
    world.only(dns(TWO, ONE))
    assert world.order() == ["1", "2"]
    assert world.way() == Way("direct", "udp")
    assert world.keeper.used == {"default/dns"}
    world.only(dns(TWO))
    assert world.order() == ["2"]
    world.only(dns(msgspec.structs.replace(TWO, health=Health.UNHEALTHY)))
    assert world.order() == []
    assert world.way() == Way("refuse", f"udp; {Unpicked.NO_ENDPOINT.value}")
    assert world.keeper.used == set()
    world.only()
    assert world.order() is None
    assert world.maps.standing == set()


def test_a_tcp_port_of_the_same_number_is_no_business_of_ours(world: World) -> None:
    world.only(Service("dns", vips=(Address.of(VIP, 0).ip,), ports=(ServicePort("dns", 53, (ONE,)),)))
    assert world.order() is None
    assert world.keeper.used == set()


def test_what_does_not_change_is_not_written(world: World) -> None:
    world.only(dns(ONE, TWO))
    before = world.maps._direct.standing[Address.of(VIP, 53)]
    world.only(dns(TWO, ONE), dns(ONE, vips=("10.96.0.54",), name="other"))
    assert world.maps._direct.standing[Address.of(VIP, 53)] == before


def test_each_address_has_the_members_of_its_family(world: World) -> None:
    world.only(dns(ONE, SIX, vips=(VIP, VIP6)))
    assert (world.order(VIP), world.order(VIP6)) == (["1"], ["6"])
    world.only(dns(ONE, vips=(VIP, VIP6)))
    assert (world.order(VIP), world.order(VIP6)) == (["1"], [])
    assert world.way() == Way("both", f"udp; {Unpicked.FAMILY.value}")


def test_wishes_that_change_move_it(world: World) -> None:
    world.only(dns(ONE, TWO))
    world.wishes.said = Asked()
    world.keeper.settle(Config())
    assert world.order() is None
    assert world.way() == Way("pass", Unpicked.OFF.value)
    world.wishes.said = Asked(direct=True, algorithm="least_connections")
    world.keeper.settle(Config())
    assert world.maps._direct.standing[Address.of(VIP, 53)].pick is Pick.LUCK
    assert "random instead of least_connections" in world.way().why


def test_strict_never_calls_the_mesh_in_plain_text(world: World) -> None:
    world.only(dns(ONE, msgspec.structs.replace(TWO, meshed=True)))
    assert world.order() == ["1", "2"]
    world.keeper.settle(Config(mtls=Mtls(mode="strict")))
    assert world.order() == []
    assert world.way().path == "refuse"
    world.only(dns(ONE))
    assert world.order() == ["1"], "outside of the mesh it never was otherwise"


def test_a_weight_and_a_warning_count(world: World) -> None:
    world.wishes.said = Asked(direct=True, algorithm="weighted")
    world.only(dns(endpoint("10.1.0.1", weight=2), endpoint("10.1.0.2", weight=2, health=Health.WARNING)))
    assert sorted(world.order() or []) == ["1", "1", "2"]


def test_an_address_serves_its_first_owner_and_then_the_next(world: World) -> None:
    world.only(dns(ONE), dns(TWO, name="zoo"))
    assert world.order() == ["1"]
    assert world.way("zoo") == Way("pass", f"udp; {Unpicked.OTHER_OWNER.value}")
    world.only(dns(TWO, name="zoo"))
    assert world.order() == ["2"]
    assert world.way("zoo").path == "direct"
    world.only(dns(ONE), dns(TWO, name="zoo"))
    assert world.order() == ["1"]


def test_a_service_without_addresses_says_so(world: World) -> None:
    world.only(dns(ONE, vips=()))
    assert world.way() == Way("pass", f"udp; {Unpicked.NO_ADDRESS.value}")


def test_what_does_not_fit_is_left_alone_and_tried_again(world: World) -> None:
    many = [endpoint(f"10.1.0.{at}") for at in range(40)]
    other = "10.96.0.54"
    world.only(dns(*many[:30]), dns(*many, vips=(other,), name="other"))
    assert world.keeper.full == 1
    assert sum(world.order(vip) is None for vip in (VIP, other)) == 1
    left = next(name for name, vip in (("dns", VIP), ("other", other)) if world.order(vip) is None)
    assert world.way(left) == Way("pass", f"udp; {Unpicked.FULL.value}")
    world.only(
        *(
            dns(*many, vips=(vip,), name=name)
            for name, vip in (("dns", VIP), ("other", other))
            if name == left
        )
    )
    world.keeper.look_again()
    assert world.keeper.full == 0
    assert world.way(left).path == "direct"


def test_a_successor_keeps_what_holds_until_it_knows_better(kernel_maps: dict[str, int]) -> None:
    first = World(kernel_maps)
    other = "10.96.0.54"
    first.only(dns(ONE), dns(vips=(other,), name="other"))
    assert first.order(other) == []
    second = World(kernel_maps)
    assert (second.order(), second.order(other)) == (["1"], []), "the catalog is unread yet"
    second.only(dns(ONE, TWO))
    assert (second.order(), second.order(other)) == (["1", "2"], [])
    second.keeper.reconcile()
    assert (second.order(), second.order(other)) == (["1", "2"], None)


def test_flows_are_counted_over_the_addresses_that_are_its_own(world: World) -> None:
    other = "10.96.0.54"
    world.only(dns(ONE, vips=(VIP, other)), dns(ONE, vips=(other,), name="a"))
    for vip, count in ((VIP, 3), (other, 4)):
        role = Address.of(vip, 53), ONE.address
        let_carry(world._kernel_maps, role, layout.Carried(connections=count), "udp")
    service = world.publisher.snapshot.service("default/dns")
    assert service is not None
    assert world.keeper.flows_of(service, service.datagrams[0], ONE) == 3, "the other address is another's"
    assert world.keeper.flows == 7


def test_without_a_kernel_nobody_is_picked() -> None:
    publisher = Publisher([])
    keeper = UdpKeeper(publisher, Config(), Said())
    publisher.follower = keeper.follow
    service = dns(ONE)
    publisher.replace(publisher.snapshot.with_services([service]))
    keeper.settle(Config())
    keeper.look_again()
    keeper.reconcile()
    assert keeper.way(service, service.datagrams[0]) == Way("pass", f"udp; {Unpicked.NO_HOOKS.value}")
    assert (keeper.flows, keeper.flows_of(service, service.datagrams[0], ONE)) == (0, 0)
