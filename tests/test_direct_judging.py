"""World. Which addresses of a service are direct, for whom, and why others are not. Nothing is written."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from meshtrio import neighbours
from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Service
from meshtrio.config.schema import Config
from meshtrio.direct_judging import Direct, DirectJudge, Table
from meshtrio.granting import Grantor
from meshtrio.intercept.direct_layout import Guard, Pick
from meshtrio.messages import Trusted
from meshtrio.publisher import Publisher
from meshtrio.route.directness import Asked, Relayed
from tests.support import direct_world
from tests.support.direct_world import VIP, VIP6, Said, endpoint, web
from tests.support.residents import (
    FAR_OFF,
    LEFT,
    RIGHT,
    RIGHT6,
    Residents,
    credentials,
    granting_config,
    identity,
    two_spaces,
)

pytestmark = [pytest.mark.kernel, pytest.mark.world]

kernel_maps = direct_world.kernel_maps
CART, ORDERS, BESIDE = 1, 2, 3
UNTIL = 1000 + FAR_OFF
AT, AT6 = Address.of(VIP, 80), Address.of(VIP6, 80)
FAR, FAR6 = endpoint("10.1.0.1"), endpoint("fd00:1::6")
SERVED, SERVED6 = endpoint(RIGHT), endpoint(RIGHT6)


class Scene:
    """A catalog of one service, and two workloads of which one may go to the other."""

    def __init__(self, kernel_maps: dict[str, int], here: Residents) -> None:
        self.here = here
        self.publisher = Publisher([])
        self.publisher.use_map(kernel_maps["services"])
        self.wishes = Said()
        config = granting_config()
        self.grantor = Grantor(
            config, lambda: here.workloads, here.near, clock=lambda: 1000.0, wall_now=lambda: 0.0
        )
        self.judge = DirectJudge(self.publisher, config, self.wishes, self.grantor)
        here.reside(CART, here.left)
        here.reside(ORDERS, here.right, "auto")
        for number, account in ((CART, "cart"), (ORDERS, "orders")):
            self.grantor.hear(credentials(number, account))
        here.listen(ORDERS, here.right, 8080)

    def judged(self, *endpoints: Endpoint, vips: tuple[str, ...] = (VIP,)) -> dict[Address, Any]:
        service = web(*endpoints, vips=vips)
        self.only(service)
        return self.again(service)

    def only(self, *services: Service) -> None:
        self.publisher.replace(self.publisher.snapshot.with_only(services))

    def again(self, service: Service) -> dict[Address, Any]:
        self.grantor.look_anew()
        return self.judge.judged(service, service.ports[0])

    def settle(self, **changes: Any) -> None:
        for one in (self.grantor, self.judge):
            one.settle(granting_config(**changes))

    def guard(self) -> Guard:
        return Guard(ORDERS, self.here.right.id)


@pytest.fixture
def scene(kernel_maps: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(neighbours, "LISTENED_S", 0.0)
    with two_spaces() as here:
        yield Scene(kernel_maps, here)


def test_who_is_no_workload_of_ours_is_gone_to_by_all(scene: Scene) -> None:
    assert scene.judged(FAR) == {AT: Direct(Table(Pick.TURNS, (FAR.address,)))}


def test_a_workload_of_ours_is_gone_to_by_who_has_a_grant(scene: Scene) -> None:
    table = Table(Pick.TURNS, (SERVED.address,), {SERVED.address: scene.guard()})
    assert scene.judged(SERVED) == {AT: Direct(table, {CART: UNTIL})}


def test_one_that_the_catalog_has_in_the_mesh_is_so_too_if_it_is_who_is_expected(scene: Scene) -> None:
    for expected, granted in (("", True), (identity("orders"), True), (identity("cart"), False)):
        one = msgspec.structs.replace(SERVED, meshed=True, identity=expected)
        found = scene.judged(one)[AT]
        assert isinstance(found, Direct) is granted
        assert granted or found is Relayed.TLS


@pytest.mark.parametrize("other", [FAR, msgspec.structs.replace(FAR, meshed=True), endpoint(LEFT)])
def test_one_that_needs_a_worker_is_enough_for_all_to_be_relayed(scene: Scene, other: Endpoint) -> None:
    """A plain one, one in the mesh elsewhere, and one where somebody of ours listens whom nobody knows."""
    scene.here.listen(9, scene.here.left, 8080)
    assert scene.judged(SERVED, other) == {AT: Relayed.TLS}


def test_one_in_the_mesh_elsewhere_is_called_with_tls(scene: Scene) -> None:
    assert scene.judged(msgspec.structs.replace(FAR, meshed=True)) == {AT: Relayed.TLS}


def test_if_nobody_asks_for_it_or_may_it_is_relayed(scene: Scene) -> None:
    deny = {"action": "deny", "callers": {"ids": [identity("cart")]}}
    scene.settle(policy={"rules": [deny]})
    assert scene.judged(SERVED) == {AT: Relayed.UNGRANTED}
    scene.settle()
    assert isinstance(scene.judged(SERVED)[AT], Direct)
    scene.grantor.hear(Trusted("cluster.local", revoked_ids={identity("cart"): 0.0}))
    assert scene.judged(SERVED) == {AT: Relayed.UNGRANTED}
    scene.here.leave(CART)
    assert scene.judged(SERVED) == {AT: Relayed.UNGRANTED}


def test_if_nothing_may_be_granted_they_are_called_with_tls(scene: Scene) -> None:
    scene.settle(mtls={"mode": "strict"})
    assert scene.judged(SERVED) == {AT: Relayed.TLS}
    scene.settle()
    scene.grantor.why_not = "this kernel has no sk_msg"
    assert scene.judged(SERVED) == {AT: Relayed.TLS}


def test_if_nobody_speaks_tls_nobody_needs_a_grant(scene: Scene) -> None:
    spoken = scene.judge.speaks_tls
    scene.settle(mtls={"mode": "disable", "same_node": "kernel"})
    assert (spoken, scene.judge.speaks_tls) == (True, False)
    assert scene.judged(SERVED) == {AT: Direct(Table(Pick.TURNS, (SERVED.address,)))}


def test_each_family_has_its_own_members_and_guards(scene: Scene) -> None:
    found = scene.judged(SERVED, SERVED6, vips=(VIP, VIP6))
    assert {at: one.table.order for at, one in found.items()} == {
        AT: (SERVED.address,),
        AT6: (SERVED6.address,),
    }
    assert found[AT6].table.guards == {SERVED6.address: scene.guard()}
    assert scene.judged(SERVED, FAR6, vips=(VIP, VIP6)) == {
        AT: Direct(found[AT].table, {CART: UNTIL}),
        AT6: Relayed.TLS,
    }
    assert scene.judged(SERVED, vips=(VIP, VIP6))[AT6] is Relayed.TLS


@pytest.mark.parametrize("by", [FAR, SERVED])
def test_without_an_endpoint_or_with_a_wish_of_its_own_it_is_relayed(scene: Scene, by: Endpoint) -> None:
    assert scene.judged() == {AT: Relayed.NO_ENDPOINT}
    scene.wishes.said = Asked(direct=True, attempts=1)
    assert scene.judged(by) == {AT: Relayed.RETRIES}


@pytest.mark.parametrize("by", [FAR, SERVED])
def test_an_address_is_its_owners_and_must_be_known_to_the_kernel(scene: Scene, by: Endpoint) -> None:
    first, second = web(by), web(by, name="zoo")
    scene.only(first, second)
    assert isinstance(scene.again(first)[AT], Direct)
    assert scene.again(second) == {AT: Relayed.OTHER_OWNER}
    assert scene.judge.owns("default/web", AT)
    assert not scene.judge.owns("default/zoo", AT)
    assert not scene.judge.owns("default/web", by.address), "an endpoint's address is no service's"
    unmapped = Publisher([])
    unmapped.replace(unmapped.snapshot.with_only([first]))
    judge = DirectJudge(unmapped, granting_config(), scene.wishes, scene.grantor)
    assert judge.judged(first, first.ports[0]) == {AT: Relayed.FULL}


def test_without_an_address_there_is_nothing_to_say(scene: Scene) -> None:
    assert scene.judged(FAR, vips=()) == {}


def test_a_table_is_made_once_and_anew_if_anything_of_it_changes(scene: Scene) -> None:
    def table(*endpoints: Endpoint) -> Table:
        found: Table = scene.judged(*endpoints)[AT].table
        return found

    two = endpoint("10.1.0.2")
    first = table(FAR, two)
    assert table(FAR, two) is first
    assert table(two, FAR) == first
    scene.wishes.slow = {two.id: 5}
    assert sorted(table(FAR, two).order) == [FAR.address, FAR.address, two.address]
    scene.wishes.slow = {}
    scene.wishes.said = Asked(direct=True, algorithm="least_connections")
    least = table(FAR, two)
    assert least.pick is Pick.LEAST
    assert table(FAR, two) is least
    scene.judge.forget(AT)
    scene.judge.forget(AT)
    assert table(FAR, two) is not least


def test_who_serves_there_belongs_to_the_table_and_who_calls_does_not(scene: Scene) -> None:
    first = scene.judged(SERVED)[AT]
    scene.here.reside(BESIDE, scene.here.right)
    scene.grantor.hear(credentials(BESIDE, "beside"))
    second = scene.judged(SERVED)[AT]
    assert second.table is first.table
    assert (set(first.callers), set(second.callers)) == ({CART}, {CART, BESIDE})
    scene.here.listen(BESIDE, scene.here.right, 8080)
    third = scene.judged(SERVED)[AT]
    assert third.table.guards == {SERVED.address: Guard(BESIDE, scene.here.right.id)}
    assert third.table.order == first.table.order


def test_by_default_there_are_no_grants(scene: Scene) -> None:
    scene.grantor.settle(Config())
    scene.judge.settle(Config())
    assert scene.judged(SERVED) == {AT: Relayed.TLS}
    assert scene.judged(FAR) == {AT: Direct(Table(Pick.TURNS, (FAR.address,)))}
