"""Workloads of one node that go to each other past us, with a real agent: who may, and what ends it."""

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.granted import ALLOW, CART, LOCAL, ORDERS, POLICY, SERVED, STRICT, Scene, granted_scene
from tests.support.world import LEFT, RIGHT, VIP, VIP6

pytestmark = [pytest.mark.world, pytest.mark.rung("free")]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with granted_scene(tmp_path_factory.mktemp("granted")) as made:
        yield made


@pytest.fixture(autouse=True)
def as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "scene" in request.fixturenames:
        scene: Scene = request.getfixturevalue("scene")
        scene.configure()
        scene.mesh.wait(lambda: scene.path() == "granted" and scene.passes())


def test_who_asks_for_it_and_may_goes_past_us(scene: Scene) -> None:
    assert scene.passes()
    assert scene.passes(vip=VIP6)
    assert scene.passes(scene.beside)
    assert scene.passes(scene.beside, port=LOCAL)
    seen = scene.cart.app.dial(VIP, 80)
    assert seen["peer"][:2] == [VIP, 80], "the caller sees what it dialled"
    assert seen["greeting"]["peer"] == seen["local"], "and the server sees the caller"
    assert seen["local"][0] == LEFT


def test_others_are_relayed_or_refused_as_ever(scene: Scene) -> None:
    assert not scene.passes(scene.relayed)
    loopback = scene.cart.app.fails_to_dial(VIP, LOCAL)
    assert loopback == "ECONNRESET", "it is another namespace's, where nobody listens"
    assert scene.stranger.tell("dial", host=RIGHT, port=9080, may_fail=True)["error"] == "ECONNRESET"


def test_what_is_shown(scene: Scene) -> None:
    began = time.time()
    assert scene.passes()
    one, *_ = scene.ended_since(began, path="direct", workload=scene.cart.name)
    assert (one["peer"], one["tls"], one["outcome"]) == (ORDERS, "kernel", "carried")
    told = {one["name"]: one for one in scene.mesh.status()["workloads"]}
    assert told[scene.cart.name]["accelerated"] == "r5"
    assert told[scene.relayed.name]["accelerated"] == "r2"
    assert scene.mesh.status()["direct"]["grants"] == 5, "cart two, beside three"
    assert "meshtrio_direct_grants 5.0" in scene.mesh.ask("GET", "/metrics").body


@pytest.mark.parametrize(
    ("settings", "tls"),
    [
        ({"mtls": {**STRICT, "same_node": "encrypt"}}, "TLSv1.3"),
        ({"rung_max": "r2"}, "kernel"),
        ({"traffic": {"direct": "off"}}, "kernel"),
        ({"policy": {**POLICY, "dry_run": True, "rules": []}}, "kernel"),
    ],
    ids=["encrypt", "rung_max", "traffic", "dry_run"],
)
def test_what_needs_a_worker_is_relayed_at_once_and_what_stands_goes_on(
    scene: Scene, settings: dict[str, Any], tls: str
) -> None:
    scene.cart.app.tell("hold", name="held", host=VIP, port=80)
    began = time.time()
    scene.configure(**settings)
    assert not scene.passes()
    assert scene.ended_since(began, path="relay", tls=tls)[0]["peer"] in (ORDERS, CART)
    held = scene.cart.app.tell("held", name="held", end=True)
    assert (held["broke"], held["rounds"] > 1) == ("", True)


def test_policy_holds_for_the_next_connection(scene: Scene) -> None:
    deny = {"action": "deny", "name": "no", "ports": [9080], "callers": {"ids": [CART]}}
    scene.configure(policy={**POLICY, "rules": [ALLOW, deny]})
    assert scene.cart.app.fails_to_dial(VIP, 80) == "ECONNRESET"
    scene.mesh.wait_ended(1, outcome="denied", direction="inbound")
    assert scene.passes(scene.beside, port=LOCAL), "another port"


def test_the_revoked_are_cut_off(scene: Scene) -> None:
    scene.cart.app.tell("hold", name="held", host=VIP, port=80)
    began = time.monotonic()
    scene.revoke(CART)
    assert scene.cart.app.fails_to_dial(VIP, 80) == "ECONNRESET"
    scene.mesh.wait(lambda: not [one for one in scene.mesh.live() if one["path"] == "direct"])
    assert time.monotonic() - began >= 1, "it had its drain_s"
    ended, *_ = scene.mesh.wait_ended(1, path="direct", detail="a workload of it has been revoked")
    assert ended["outcome"] == "drained"
    assert scene.cart.app.tell("held", name="held", end=True)["broke"] != ""
    scene.revoke()
    scene.mesh.wait(lambda: scene.path() == "granted")


def test_a_server_that_leaves_is_not_gone_to_and_whoever_has_its_port_gets_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with granted_scene(tmp_path_factory.mktemp("left")) as scene:
        _, host, port = SERVED[0]
        assert scene.passes()
        scene.server.app.process.kill()
        scene.server.app.process.wait()
        with scene.spaces[1].bound(host, port) as other:
            told = scene.cart.app.tell("dial", host=VIP, port=80, says="secret", may_fail=True)
            assert told["error"] in ("EACCES", "ECONNABORTED", "ECONNRESET")
            other.settimeout(0.5)
            with pytest.raises(TimeoutError):
                other.accept()
            scene.mesh.wait(lambda: scene.path() != "granted")
            assert scene.cart.app.fails_to_dial(VIP, 80) == "ECONNRESET", "it does not prove who it is"
            scene.mesh.wait_ended(1, outcome="upstream_tls", path="relay")


def test_what_is_translated_on_the_way_is_stopped_and_then_relayed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Nothing that is sent arrives, for nobody could know whose it is; the next ones are encrypted."""
    with granted_scene(tmp_path_factory.mktemp("moved")) as scene:
        nft = scene.spaces[1].command
        nft("nft", "add", "table", "ip", "moved")
        nft("nft", "add", "chain", "ip", "moved", "in", "{ type nat hook input priority 100; }")
        nft("nft", "add", "rule", "ip", "moved", "in", f"ip saddr {LEFT} ip daddr {RIGHT} snat to 10.7.0.77")
        told = scene.cart.app.tell("dial", host=VIP, port=80, says="secret", may_fail=True)
        assert told["error"] in ("EACCES", "ECONNABORTED", "ECONNRESET")
        (ended,) = scene.mesh.wait_ended(1, outcome="upstream_tls", path="direct")
        assert (ended["sent_bytes"], ended["peer"]) == (0, ORDERS)
        began = time.time()
        assert not scene.passes()
        assert scene.ended_since(began, tls="TLSv1.3")[0]["peer"] in (ORDERS, CART)
        assert scene.passes(vip=VIP6), "nothing translates that"


def test_no_call_notices_another_agent_and_none_is_plain(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nor is a service taken for one of strangers until the successor knows its neighbours again."""
    with granted_scene(tmp_path_factory.mktemp("followed")) as scene:
        calls = {"four": VIP, "six": VIP6}
        for who in (scene.cart.app, scene.relayed.app):
            for name, vip in calls.items():
                who.tell("steady", name=name, host=vip, port=80, every=0.02)
        time.sleep(0.5)
        scene.mesh.kill_agent()
        time.sleep(0.5)
        scene.mesh.start()
        time.sleep(2)
        for who in (scene.cart.app, scene.relayed.app):
            for name in calls:
                seen = who.tell("steadied", name=name, end=True)["seen"]
                assert len(seen) > 20
                assert {said for _, said, _ in seen} <= {"web", "web6"}
        relayed = scene.mesh.wait_ended(1, path="relay", direction="inbound")
        assert {one["tls"] for one in relayed if one["outcome"] == "carried"} == {"kernel"}


def test_without_an_agent_grants_hold_and_a_successor_gives_them_anew(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with granted_scene(tmp_path_factory.mktemp("alone")) as scene:
        mesh, cart = scene.mesh, scene.cart.app
        cart.tell("hold", name="held", host=VIP, port=80)
        orphans = mesh.workers()
        mesh.kill_agent()
        time.sleep(3.5)  # longer than the hooks believe a heartbeat: the orphaned worker has one
        seen = cart.dial(VIP, 80)
        assert seen["greeting"]["peer"] == seen["local"], "it went past us"
        mesh.signal(signal.SIGKILL, *orphans)
        time.sleep(3.5)
        assert cart.fails_to_dial(VIP, 80) == "EPERM", "strict, and nobody is there to revoke anything"
        mesh.start()
        mesh.wait(lambda: scene.path() == "granted" and scene.passes())
        held = cart.tell("held", name="held", end=True)
        assert (held["broke"], held["rounds"] > 100) == ("", True), "from its first agent on"
        assert mesh.stop() == 0
        mesh.assert_nothing_left()
