"""World. Grants as an agent keeps them: what it hears takes them at once, and gives them at the next tick."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import trio

from meshtrio import directing as module
from meshtrio import neighbours
from meshtrio.address import Address
from meshtrio.breaker_board import BreakerBoard
from meshtrio.catalog.service import Endpoint, Service, ServicePort
from meshtrio.config.schema import Config
from meshtrio.directing import Directing
from meshtrio.fleet import Fleet
from meshtrio.intercept import bpf
from meshtrio.intercept.grant_layout import GRANTEE_BYTES, unpack_grantee
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.netns import Netns
from meshtrio.intercept.registry import Registry
from meshtrio.messages import Trusted
from meshtrio.observe.sums import Sums
from meshtrio.outcome import Outcome
from meshtrio.publisher import Publisher
from meshtrio.route.directness import Relayed
from tests.bpf import fixtures
from tests.bpf.app import Failed
from tests.bpf.pod import HERE, VIP, WORKLOAD, Pod
from tests.support.residents import (
    RIGHT,
    Residents,
    credentials,
    granting_config,
    identity,
    two_spaces,
)

pytestmark = [pytest.mark.kernel, pytest.mark.world]

cache, kernel, pod = fixtures.cache, fixtures.kernel, fixtures.pod
CART, ORDERS, BESIDE = 1, 2, 3
AT = Address.of(VIP, 80)


async def unheard(seat: object, message: object) -> None:
    """Nobody hears what workers say."""


class Scene:
    """One service; all workloads may be called by those that ask."""

    def __init__(self, kernel: Kernel, here: Residents, config: Config) -> None:
        self.kernel = kernel
        self.here = here
        self.publisher = Publisher([])
        self.sums = Sums()
        board = BreakerBoard(Fleet(0, unheard))
        registry = cast(Registry, here.workloads)
        self.made = Directing(config, self.publisher, registry, self.sums, board=board)
        self.made.use(kernel)
        self.made.begin()

    def publish(self, *hosts: str, port: int = 8080) -> None:
        endpoints = tuple(Endpoint(host, Address.of(host, port)) for host in hosts)
        web = Service("web", vips=(AT.ip,), ports=(ServicePort("http", 80, endpoints),))
        self.publisher.replace(self.publisher.snapshot.with_only([web] if hosts else []))

    def reside(self, number: int, netns: Netns, account: str, acceleration: str = "r5") -> None:
        self.here.reside(number, netns, acceleration)
        self.made.hear(credentials(number, account))

    def granted(self) -> set[int]:
        """Return who has a grant."""
        found = {
            workload
            for service, workload in map(unpack_grantee, bpf.keys(self.kernel.maps["grants"], GRANTEE_BYTES))
            if service == AT
        }
        assert self.made.summaries()["direct"]["grants"] == len(found)
        return found

    def way(self) -> str:
        return self.made.way("default/web", "http").path


@pytest.fixture
def scene(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(neighbours, "LISTENED_S", 0.0)
    with two_spaces(kernel.maps["ports"]) as here:
        made = Scene(kernel, here, granting_config())
        made.reside(CART, here.left, "cart")
        made.reside(ORDERS, here.right, "orders", "auto")
        made.reside(BESIDE, here.right, "beside")
        here.listen(ORDERS, here.right, 8080)
        made.publish(RIGHT)
        assert made.granted() == {CART, BESIDE}
        assert made.way() == "granted"
        yield made
        made.publish()
        assert made.granted() == set()


def test_who_cannot_prove_it_any_more_loses_its_grants_at_once(scene: Scene) -> None:
    scene.made.hear(credentials(CART, "cart", proved=False))
    assert scene.granted() == {BESIDE}
    scene.made.move_on()
    assert scene.granted() == {BESIDE}
    scene.made.hear(credentials(CART, "cart"))
    assert scene.granted() == {BESIDE}
    scene.made.move_on()
    assert scene.granted() == {CART, BESIDE}


def test_of_a_called_one_with_another_identity_nothing_holds_until_it_is_judged(scene: Scene) -> None:
    scene.made.hear(credentials(ORDERS, "other"))
    assert scene.granted() == set()
    assert scene.made.gauges()[3].value == 0
    scene.made.move_on()
    assert scene.granted() == {CART, BESIDE}
    assert scene.made.gauges()[3].value == 2
    scene.made.hear(credentials(ORDERS, "other", proved=False))
    scene.made.move_on()
    assert (scene.granted(), scene.way()) == (set(), "relay")


def test_what_was_known_before_changes_nothing(scene: Scene) -> None:
    scene.made.hear(credentials(ORDERS, "orders"))
    scene.made.hear(Trusted("cluster.local", revoked_ids={identity("stranger"): 0.0}))
    assert scene.granted() == {CART, BESIDE}


@pytest.mark.parametrize(("account", "left"), [("cart", {BESIDE}), ("orders", set())])
def test_who_is_revoked_loses_its_grants_at_once(scene: Scene, account: str, left: set[int]) -> None:
    scene.made.hear(Trusted("cluster.local", revoked_ids={identity(account): 0.0}))
    assert scene.granted() == left
    scene.made.move_on()
    assert scene.granted() == left
    scene.made.hear(credentials(CART, "cart", proved=False))
    scene.made.hear(credentials(CART, "cart"))
    scene.made.move_on()
    assert scene.granted() == left, "a new certificate does not help"
    scene.made.hear(Trusted("cluster.local"))
    scene.made.withdraw()
    scene.made.move_on()
    assert scene.granted() == {CART, BESIDE}


def about_to_leave(scene: Scene, number: int) -> None:
    scene.made.withdraw(number)


def gone(scene: Scene, number: int) -> None:
    scene.made.leave(number)


@pytest.mark.parametrize("what", [about_to_leave, gone])
@pytest.mark.parametrize(("number", "left"), [(CART, {BESIDE}), (ORDERS, set())])
def test_who_leaves_has_no_grant_and_nobody_has_one_for_it(
    scene: Scene, what: Callable[[Scene, int], None], number: int, left: set[int]
) -> None:
    """Not even for as long as workloads are taken to be the same."""
    scene.made.withdraw()
    scene.made.move_on()
    scene.here.leave(number)
    what(scene, number)
    assert scene.granted() == left
    scene.made.move_on()
    assert scene.granted() == left


def test_for_who_comes_anew_all_begins_anew(scene: Scene) -> None:
    scene.here.leave(CART)
    scene.made.leave(CART)
    scene.here.reside(CART, scene.here.left)
    scene.made.withdraw()
    scene.made.move_on()
    assert scene.granted() == {BESIDE}, "nobody knows who that is"
    scene.made.hear(credentials(CART, "cart"))
    scene.made.move_on()
    assert scene.granted() == {CART, BESIDE}


def test_other_settings_hold_at_once(scene: Scene) -> None:
    deny = {"action": "deny", "callers": {"ids": [identity("cart")]}}
    scene.made.settle(granting_config(policy={"rules": [deny]}))
    assert scene.granted() == {BESIDE}
    scene.made.settle(granting_config(mtls={"mode": "strict"}))
    assert (scene.granted(), scene.way()) == (set(), "relay")
    scene.made.settle(granting_config())
    assert scene.granted() == {CART, BESIDE}


def test_a_kernel_that_cannot_stop_strays_lets_nobody_through(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.kernel, "why_no_grants", "it has no sk_msg")
    second = Scene(scene.kernel, scene.here, granting_config())
    for number, account in ((CART, "cart"), (ORDERS, "orders")):
        second.made.hear(credentials(number, account))
    second.publish(RIGHT)
    assert second.granted() == set()
    assert second.made.way("default/web", "http").why == Relayed.TLS.value
    second.publish()
    scene.made.use(scene.kernel)
    scene.made.begin()


class Running:
    """A real workload that may call a service whose member is another workload of its namespace."""

    def __init__(self, scene: Scene, pod: Pod, port: int) -> None:
        self.scene, self.pod, self.port = scene, pod, port

    async def until(self, what: Callable[[], Any]) -> None:
        with trio.fail_after(5):
            while not what():
                await trio.sleep(0.01)

    def dial(self) -> None:
        self.pod.dial(VIP, 80)

    def ended(self) -> list[Outcome]:
        return [outcome for _, _, _, outcome in self.scene.sums.kinds]


@pytest.fixture
def running(kernel: Kernel, pod: Pod, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(neighbours, "LISTENED_S", 0.0)
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    here = Residents(pod.netns, pod.netns, kernel.maps["ports"])
    made = Scene(kernel, here, granting_config(identity={"drain_s": 1}))
    with pod.space.bound(HERE, 0) as door, pod.inbound():
        port = door.getsockname()[1]
        here.listen(ORDERS, pod.netns, port)
        made.reside(WORKLOAD, pod.netns, "cart")
        made.reside(ORDERS, pod.netns, "orders", "auto")
        made.publish(HERE, port=port)
        assert made.granted() == {WORKLOAD}
        yield Running(made, pod, port)
        made.publish()
        pod.app.kill()
        made.made.leave(WORKLOAD)
        here.deafen_all()


async def test_who_went_astray_is_relayed_for_a_while(running: Running) -> None:
    scene = running.scene
    scene.made.move_on()
    scene.here.listen(BESIDE, running.pod.netns, running.port)
    running.dial()
    async with trio.open_nursery() as agent:
        agent.start_soon(scene.made.run)
        await running.until(lambda: running.ended() == [Outcome.UPSTREAM_TLS])
        assert scene.granted() == set()
        scene.here.listen(ORDERS, running.pod.netns, running.port)
        await trio.sleep(0.2)
        assert (scene.granted(), scene.way()) == (set(), "relay")
        with pytest.raises(Failed, match="ECONNABORTED"):
            running.pod.app.do("kept.recv(1)")
        agent.cancel_scope.cancel()


async def test_connections_of_who_was_revoked_are_ended_in_time(running: Running) -> None:
    scene = running.scene
    async with trio.open_nursery() as agent:
        agent.start_soon(scene.made.run)
        scene.made.move_on()
        running.dial()
        scene.made.hear(Trusted("cluster.local", revoked_ids={identity("orders"): 0.0}))
        began = trio.current_time()
        await running.until(lambda: running.ended() == [Outcome.DRAINED])
        assert trio.current_time() - began >= 1
        assert scene.granted() == set()
        agent.cancel_scope.cancel()
