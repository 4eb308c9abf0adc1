"""World. Who may go to whom within a node: real namespaces, and the hooks' map of who listens."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from meshtrio import granting, neighbours
from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint
from meshtrio.config.schema import Config
from meshtrio.granting import ONE_LOOK_S, WITHHELD_S, Grantor
from meshtrio.intercept.direct_layout import Guard
from meshtrio.messages import Trusted
from tests.support.residents import (
    RIGHT,
    RIGHT6,
    Residents,
    credentials,
    granting_config,
    identity,
    two_spaces,
)

pytestmark = [pytest.mark.kernel, pytest.mark.world]

CART, ORDERS, BESIDE, NOBODY = 1, 2, 3, 4
VIP, OTHER = Address.of("10.96.0.10", 80), Address.of("10.96.0.11", 80)
PORT = 9080


class Scene:
    def __init__(self, here: Residents) -> None:
        self.here = here
        self.now = [1000.0]
        self.wall = [5000.0]
        self.asked = 0
        self.grantor = Grantor(
            granting_config(),
            self.workloads,
            here.near,
            clock=lambda: self.now[0],
            wall_now=lambda: self.wall[0],
        )
        here.reside(CART, here.left)
        here.reside(ORDERS, here.right, "auto")
        here.reside(BESIDE, here.right)
        for number, account in ((CART, "cart"), (ORDERS, "orders"), (BESIDE, "beside")):
            self.grantor.hear(credentials(number, account))
        here.listen(ORDERS, here.right, PORT)

    def workloads(self) -> Any:
        self.asked += 1
        return list(self.here.workloads)

    def guards(self, *endpoints: Endpoint) -> Any:
        return self.grantor.guards(endpoints or (endpoint(),))

    def callers(self, service: Address = VIP, *endpoints: Endpoint) -> frozenset[int]:
        guards = self.guards(*endpoints)
        assert guards is not None
        return frozenset(self.grantor.callers(service, guards))

    def settle(self, **changes: Any) -> None:
        self.grantor.settle(granting_config(**changes))

    def later(self, seconds: float = 2 * ONE_LOOK_S) -> None:
        self.now[0] += seconds


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(neighbours, "LISTENED_S", 0.0)
    with two_spaces() as here:
        yield Scene(here)


def endpoint(host: str = RIGHT, port: int = PORT, expected: str = "") -> Endpoint:
    return Endpoint(f"{host}:{port}", Address.of(host, port), identity=expected)


def test_each_member_is_guarded_by_the_workload_that_serves_there(scene: Scene) -> None:
    right = scene.here.right
    assert scene.guards() == {Address.of(RIGHT, PORT): Guard(ORDERS, right.id)}
    scene.here.listen(BESIDE, right, PORT + 1)
    both = endpoint(RIGHT6), endpoint(port=PORT + 1)
    assert scene.guards(*both) == {
        Address.of(RIGHT6, PORT): Guard(ORDERS, right.id),
        Address.of(RIGHT, PORT + 1): Guard(BESIDE, right.id),
    }
    assert scene.guards(endpoint(expected=identity("orders"))) is not None


def nobody_listens(scene: Scene) -> None:
    scene.here.deafen(scene.here.right, PORT)


def a_stranger_listens(scene: Scene) -> None:
    scene.here.listen(NOBODY, scene.here.right, PORT)


def it_has_gone(scene: Scene) -> None:
    scene.here.leave(ORDERS)


def it_is_by_another_namespace(scene: Scene) -> None:
    """The number is that of a workload which is elsewhere."""
    scene.here.listen(CART, scene.here.right, PORT)


def it_cannot_prove_itself(scene: Scene) -> None:
    scene.grantor.hear(credentials(ORDERS, "orders", proved=False))


def it_is_revoked(scene: Scene) -> None:
    scene.grantor.hear(Trusted("cluster.local", revoked_ids={identity("orders"): 0.0}))


def it_has_rules_and_no_hooks(scene: Scene) -> None:
    scene.here.leave(ORDERS)
    scene.here.reside(ORDERS, scene.here.right, hooks=False)


def it_shall_not_be_accelerated(scene: Scene) -> None:
    scene.here.leave(ORDERS)
    scene.here.reside(ORDERS, scene.here.right, "off")


def the_kernel_cannot(scene: Scene) -> None:
    scene.grantor.why_not = "it has no such program"


def all_is_encrypted(scene: Scene) -> None:
    scene.settle(mtls={"mode": "strict"})


def the_port_is_excluded(scene: Scene) -> None:
    scene.settle(exclude={"inbound_ports": [PORT]})


@pytest.mark.parametrize(
    "what",
    [
        nobody_listens,
        a_stranger_listens,
        it_has_gone,
        it_is_by_another_namespace,
        it_cannot_prove_itself,
        it_is_revoked,
        it_has_rules_and_no_hooks,
        it_shall_not_be_accelerated,
        the_kernel_cannot,
        all_is_encrypted,
        the_port_is_excluded,
    ],
)
def test_one_that_cannot_be_called_so_is_enough_for_none(scene: Scene, what: Any) -> None:
    scene.here.listen(BESIDE, scene.here.right, PORT + 1)
    good = endpoint(port=PORT + 1)
    assert scene.guards(good, endpoint()) is not None
    what(scene)
    scene.later()
    assert scene.guards(good, endpoint()) is None
    assert scene.guards(endpoint(), good) is None


def test_who_is_not_who_was_expected_is_none(scene: Scene) -> None:
    assert scene.guards(endpoint(expected=identity("cart"))) is None


def test_an_address_that_two_may_mean_is_nobodys(scene: Scene) -> None:
    assert scene.guards(endpoint("127.0.0.1")) is not None
    scene.here.listen(CART, scene.here.left, PORT)
    assert scene.guards(endpoint("127.0.0.1")) is None
    assert scene.guards() is not None


def test_callers_are_those_that_ask_and_may(scene: Scene) -> None:
    assert scene.callers() == {CART, BESIDE}, "the called one asks for nothing"
    rule = {"action": "deny", "callers": {"ids": [identity("cart")]}, "workloads": ["w2"], "ports": [PORT]}
    scene.settle(policy={"rules": [rule]})
    assert scene.callers() == {BESIDE}
    scene.grantor.hear(credentials(BESIDE, "beside", proved=False))
    scene.grantor.look_anew()
    assert scene.callers() == frozenset()


def test_who_may_not_go_to_each_of_them_goes_to_none(scene: Scene) -> None:
    scene.here.listen(BESIDE, scene.here.right, PORT + 1)
    both = endpoint(), endpoint(port=PORT + 1)
    assert scene.callers(VIP, *both) == {CART, BESIDE}
    rule = {"action": "deny", "callers": {"ids": [identity("cart")]}, "workloads": ["w3"]}
    scene.settle(policy={"rules": [rule]})
    assert scene.callers(VIP, *both) == {BESIDE}


def test_loopback_is_reached_in_ones_own_namespace_alone(scene: Scene) -> None:
    assert scene.callers(VIP, endpoint("127.0.0.1")) == {BESIDE}


def test_a_called_one_that_has_gone_meanwhile_is_gone_to_by_nobody(scene: Scene) -> None:
    guards = scene.guards()
    scene.here.leave(ORDERS)
    scene.later()
    assert scene.grantor.callers(VIP, guards) == {}


def test_who_went_astray_is_left_out_twice_as_long_each_time_up_to_a_bound(scene: Scene) -> None:
    for_s, most_s = WITHHELD_S
    for _ in range(8):
        scene.grantor.strayed(CART, VIP)
        assert scene.callers() == {BESIDE}
        assert scene.callers(OTHER) == {CART, BESIDE}, "another service is another matter"
        scene.later(for_s - 1)
        assert scene.callers() == {BESIDE}
        scene.later(1)
        assert scene.callers() == {CART, BESIDE}
        for_s = min(most_s, 2 * for_s)
    assert for_s == most_s


def test_many_at_once_count_as_one(scene: Scene) -> None:
    for _ in range(10):
        scene.grantor.strayed(CART, VIP)
    scene.later(WITHHELD_S[0])
    assert scene.callers() == {CART, BESIDE}


def test_so_many_are_remembered(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(granting, "WITHHELD_BOUND", 2)
    scene.grantor.strayed(CART, VIP)
    scene.grantor.strayed(BESIDE, VIP)
    scene.later(WITHHELD_S[0])
    scene.grantor.strayed(CART, VIP)
    scene.later(2 * WITHHELD_S[0] - 1)
    assert scene.callers() == {BESIDE}, "one that is remembered makes no room"
    scene.grantor.strayed(CART, OTHER)
    assert scene.callers() == {CART, BESIDE}
    assert scene.callers(OTHER) == {BESIDE}


def test_who_a_workload_is_is_heard_and_forgotten(scene: Scene) -> None:
    grantor = scene.grantor
    assert grantor.hear(credentials(CART, "cart")) == frozenset(), "no news"
    assert grantor.identity(CART) == identity("cart")
    assert grantor.hear(credentials(CART, "cart", proved=False)) == {CART}
    assert grantor.hear(credentials(CART, "other", proved=False)) == frozenset(), (
        "who had nothing loses nothing"
    )
    assert grantor.identity(CART) == ""
    assert grantor.hear(credentials(CART, "orders")) == {CART}
    ids = {identity("orders"), identity("beside")}
    assert grantor.numbers(ids) == {CART, ORDERS, BESIDE}
    grantor.hear(credentials(ORDERS, "orders", proved=False))
    assert grantor.numbers(ids) == {CART, ORDERS, BESIDE}, "whether it can prove that or not"
    grantor.forget(CART)
    grantor.forget(CART)
    assert (grantor.identity(CART), grantor.numbers(ids)) == ("", frozenset({ORDERS, BESIDE}))


def test_a_grant_ends_with_the_first_certificate(scene: Scene) -> None:
    """By the monotonic clock, whatever the other one says."""
    for number, account, not_after in ((CART, "cart", 5100.0), (BESIDE, "beside", 5900.0)):
        scene.grantor.hear(credentials(number, account, not_after=not_after))
    scene.grantor.hear(credentials(ORDERS, "orders", not_after=5500.0))
    guards = scene.guards()
    assert scene.grantor.callers(VIP, guards) == {CART: 1100.0, BESIDE: 1500.0}
    scene.later(10)
    scene.wall[0] += 200
    assert scene.grantor.callers(VIP, guards) == {CART: 1010.0, BESIDE: 1310.0}


def test_who_is_revoked_may_do_nothing_until_it_is_not_any_more(scene: Scene) -> None:
    revoked = Trusted("cluster.local", revoked_ids={identity("cart"): 6000.0, identity("stranger"): 0.0})
    assert scene.grantor.hear(revoked) == {CART}
    assert scene.grantor.revoked(5999.0) == {identity("cart")}
    assert scene.grantor.revoked(6000.0) == frozenset()
    scene.grantor.look_anew()
    assert scene.callers() == {BESIDE}
    assert scene.grantor.identity(CART) == identity("cart"), "which is who it is all the same"
    scene.wall[0] = 6000.0
    scene.later()
    assert scene.callers() == {CART, BESIDE}
    scene.grantor.hear(Trusted("cluster.local", revoked_ids={identity("beside"): 0.0}))
    scene.grantor.look_anew()
    assert scene.callers() == {CART}


def test_one_look_at_the_workloads_is_enough_for_a_moment(scene: Scene) -> None:
    for _ in range(5):
        assert scene.callers() == {CART, BESIDE}
    assert scene.asked == 1
    scene.here.leave(CART)
    assert scene.callers() == {CART, BESIDE}
    scene.grantor.look_anew()
    assert scene.callers() == {BESIDE}
    scene.here.leave(BESIDE)
    scene.later(ONE_LOOK_S)
    assert scene.callers() == frozenset()
    assert scene.asked == 3


def test_it_is_off_unless_all_allow_it(scene: Scene) -> None:
    off: tuple[dict[str, Any], ...]
    off = {"rung_max": "r2"}, {"identity": {"source": "off"}}, {"mtls": {"same_node": "encrypt"}}
    for changes in off:
        scene.settle(**changes)
        assert (scene.grantor.on, scene.guards()) == (False, None)
        scene.settle()
        assert (scene.grantor.on, scene.guards() is None) == (True, False)


def test_by_default_nothing_is_granted_and_the_clocks_are_real() -> None:
    with two_spaces() as here:
        made = Grantor(Config(), lambda: here.workloads, here.near)
        assert not made.on
        made.settle(granting_config())
        here.reside(CART, here.left)
        made.hear(credentials(CART, "cart"))
        assert made.callers(VIP, {}).keys() == {CART}
        made.hear(Trusted("cluster.local", revoked_ids={identity("cart"): time.time() + 60}))
        made.look_anew()
        assert made.callers(VIP, {}) == {}
