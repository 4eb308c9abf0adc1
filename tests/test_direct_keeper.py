"""World. Which services are direct: the kernel's maps follow catalog, configuration and neighbours."""

from collections.abc import Callable, Iterator
from typing import cast

import msgspec
import pytest

from meshtrio import neighbours
from meshtrio.address import Address
from meshtrio.catalog.service import Health, Service
from meshtrio.config.identity import Identity
from meshtrio.config.schema import Config
from meshtrio.direct_keeper import DirectKeeper
from meshtrio.granting import Grantor
from meshtrio.intercept import bpf
from meshtrio.intercept import direct_layout as layout
from meshtrio.intercept.direct_layout import Pick, ServiceWords
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.intercept.grant_layout import GRANT_BYTES, GRANTEE_BYTES, unpack_grant, unpack_grantee
from meshtrio.neighbours import Nearby
from meshtrio.publisher import Publisher
from meshtrio.route.directness import Asked, Relayed, Way
from tests.support import direct_world
from tests.support.direct_world import VIP, VIP6, Said, endpoint, web
from tests.support.residents import LEFT, RIGHT, Residents, credentials, granting_config, two_spaces

pytestmark = pytest.mark.kernel

kernel_maps = direct_world.kernel_maps
PLAIN = Config(identity=Identity(source="off"))


class Near:
    """Where workloads of this node serve; nobody may be granted anything there."""

    def __init__(self, near: Callable[[], set[Address]]) -> None:
        self._near = near

    def __call__(self, to: Address) -> bool:
        return to in self._near()

    def serving(self, to: Address) -> None:
        return None


def grantor(config: Config, near: Callable[[], set[Address]]) -> Grantor:
    return Grantor(config, lambda: (), cast(Nearby, Near(near)))


class World:
    """A catalog that a test changes, and what the keeper makes of it."""

    def __init__(
        self, kernel_maps: dict[str, int], config: Config = PLAIN, granting: Grantor | None = None
    ) -> None:
        self.near: set[Address] = set()
        self.publisher = Publisher([])
        self.maps = DirectMaps(kernel_maps)
        self.wishes = Said()
        granting = granting or grantor(config, lambda: self.near)
        self.keeper = DirectKeeper(self.publisher, config, self.wishes, granting)
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
    keeper = DirectKeeper(publisher, PLAIN, Said(), grantor(PLAIN, set))
    publisher.replace(publisher.snapshot.with_services([web(ONE)]))
    keeper.settle(PLAIN)
    keeper.reconcile()
    keeper.sweep()
    assert keeper.way("default/web", "http") == Way("relay", Relayed.NO_HOOKS.value)


def test_services_that_are_direct_are_in_use(world: World) -> None:
    """So their endpoints are probed, and their news are not kept waiting."""
    world.only(web(ONE))
    assert world.publisher.asked_for() == {"default/web"}


OTHER = "10.96.0.11"
CART, ORDERS, BESIDE = 1, 2, 3
SERVED = endpoint(RIGHT)
"""By a workload of this node."""


class GrantedWorld(World):
    """Some endpoints are workloads of this node, and others of its workloads may go there themselves."""

    def __init__(self, kernel_maps: dict[str, int], here: Residents) -> None:
        self.here = here
        self.grantor = Grantor(granting_config(), lambda: here.workloads, here.near)
        super().__init__(kernel_maps, granting_config(), self.grantor)
        self._grants = kernel_maps["grants"]

    def reside(self, number: int, *, right: bool = False, acceleration: str = "r5") -> None:
        self.here.reside(number, self.here.right if right else self.here.left, acceleration)
        self.grantor.hear(credentials(number, f"w{number}"))

    def look(self) -> None:
        self.grantor.look_anew()
        self.keeper.look_again()

    def granted(self, vip: str = VIP) -> set[int]:
        """Return who may go there by what the hooks know: grants for the slots that hold."""
        to = Address.of(vip, 80)
        standing = self.maps.standing.get(to)
        found = set()
        for key in bpf.keys(self._grants, GRANTEE_BYTES):
            service, workload = unpack_grantee(key)
            if service == to:
                value = bpf.look_up(self._grants, key, GRANT_BYTES)
                assert value is not None
                assert standing is not None
                assert unpack_grant(value)[1] == standing.generation, "a grant for other slots was left"
                found.add(workload)
        assert found == self.maps.grants.given(to).keys()
        return found


@pytest.fixture
def granted(kernel_maps: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[GrantedWorld]:
    monkeypatch.setattr(neighbours, "LISTENED_S", 0.0)
    with two_spaces() as here:
        made = GrantedWorld(kernel_maps, here)
        made.reside(CART)
        made.reside(ORDERS, right=True, acceleration="auto")
        made.reside(BESIDE, right=True)
        here.listen(ORDERS, here.right, 8080)
        here.listen(CART, here.left, 8080)
        made.only(web(SERVED), web(SERVED, vips=(OTHER,), name="other"))
        yield made


def test_grants_follow_who_is_there_and_slots_stay(granted: GrantedWorld) -> None:
    before = dict(granted.maps.standing)
    assert granted.order(VIP) == ["1"]
    assert granted.granted() == granted.granted(OTHER) == {CART, BESIDE}
    assert (granted.way().path, granted.way().why[:11]) == ("granted", "2 workloads")
    granted.reside(4)
    granted.look()
    assert granted.granted() == {CART, BESIDE, 4}
    granted.here.leave(CART)
    granted.grantor.hear(credentials(BESIDE, "w3", proved=False))
    granted.look()
    assert granted.granted() == {4}
    assert granted.maps.standing == before


def test_if_nobody_may_go_there_it_is_relayed_until_somebody_may(granted: GrantedWorld) -> None:
    for number in (CART, BESIDE):
        granted.here.leave(number)
    granted.look()
    assert granted.way() == Way("relay", Relayed.UNGRANTED.value)
    assert (granted.order(VIP), granted.granted(), granted.maps.standing) == ([], set(), {})
    granted.reside(4)
    granted.look()
    assert (granted.way().path, granted.granted()) == ("granted", {4})


def test_what_is_withdrawn_is_void_until_it_is_judged_anew(granted: GrantedWorld) -> None:
    before = dict(granted.maps.standing)
    for who, left in ((CART, {BESIDE}), (ORDERS, set()), (None, set()), (4, {CART, BESIDE})):
        granted.keeper.withdraw(who)
        assert granted.granted() == granted.granted(OTHER) == left
        granted.look()
        assert granted.granted() == granted.granted(OTHER) == {CART, BESIDE}
    assert granted.maps.standing == before


def test_only_services_of_the_one_that_is_called_are_withdrawn(granted: GrantedWorld) -> None:
    granted.here.listen(BESIDE, granted.here.right, 8081)
    third = msgspec.structs.replace(SERVED, id="third", address=Address.of(RIGHT, 8081))
    granted.only(web(SERVED), web(third, vips=(OTHER,), name="other"))
    granted.keeper.withdraw(ORDERS)
    assert (granted.granted(), granted.granted(OTHER)) == (set(), {CART, BESIDE})


def test_grants_are_given_anew_for_other_slots(granted: GrantedWorld) -> None:
    """`granted` finds those that were left."""
    before = granted.maps.standing[Address.of(VIP, 80)]
    granted.only(web(SERVED, endpoint(LEFT)), web(SERVED, vips=(OTHER,), name="other"))
    assert granted.order(VIP) == ["1", "1"]
    assert granted.maps.standing[Address.of(VIP, 80)].generation > before.generation
    assert granted.granted() == {CART, BESIDE}
    granted.here.listen(CART, granted.here.right, 8080)
    granted.look()
    assert granted.way() == Way("relay", Relayed.TLS.value), "cart is elsewhere, so who is that?"
    assert (granted.order(VIP), granted.granted()) == ([], set())


def test_who_is_no_workload_any_more_is_gone_to_by_all_and_needs_no_grant(granted: GrantedWorld) -> None:
    granted.here.deafen(granted.here.right, 8080)
    granted.look()
    assert granted.way() == Way("direct")
    assert (granted.order(VIP), granted.granted()) == (["1"], set())
    assert not granted.maps.standing[Address.of(VIP, 80)].guarded


def test_settings_that_allow_no_grants_take_them_all(granted: GrantedWorld) -> None:
    granted.grantor.settle(Config())
    granted.keeper.settle(Config())
    assert granted.way() == Way("relay", Relayed.TLS.value)
    assert (granted.granted(), granted.maps.grants.count) == (set(), 0)


def test_for_whom_there_is_no_room_is_relayed(granted: GrantedWorld) -> None:
    for number in range(10, 80):
        granted.reside(number)
    granted.look()
    assert granted.maps.grants.count == 64
    assert granted.way().path == "granted"
    assert len(granted.granted() | granted.granted(OTHER)) < 72
    for number in range(10, 80):
        granted.here.leave(number)
    granted.look()
    assert granted.granted() == granted.granted(OTHER) == {CART, BESIDE}


def test_what_is_relayed_for_want_of_room_has_no_grants(granted: GrantedWorld) -> None:
    granted.wishes.said = Asked(direct=True, algorithm="weighted")
    heavy = msgspec.structs.replace(SERVED, weight=1)
    light = [msgspec.structs.replace(endpoint(LEFT), id=f"e{at}", weight=2 + at) for at in range(70)]
    granted.only(web(heavy, *light), web(SERVED, vips=(OTHER,), name="other"))
    assert granted.way() == Way("relay", Relayed.FULL.value)
    assert (granted.granted(), granted.granted(OTHER)) == (set(), {CART, BESIDE})
