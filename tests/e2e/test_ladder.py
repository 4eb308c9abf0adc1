"""How far connections are accelerated: bounded for all, at run time too, and off for one workload."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.direct import DIRECT, OTHER, WEB, Scene, direct_scene, services, way
from tests.support.mesh import Mesh, service
from tests.support.world import VIP, app, island

pytestmark = [pytest.mark.world, pytest.mark.rung("free")]

MUCH = 96 << 20
HALF = MUCH // 2
BULK, BULK_VIP = "127.0.0.1:9090", "10.96.0.12"


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with direct_scene() as made:
        made.mesh.write_services(*services(*WEB), service("bulk", BULK, vips=[BULK_VIP]))
        rules = [OTHER, {"service": "bulk", "direct": "off"}]
        made.mesh.write_config(traffic={**DIRECT, "rules": rules})
        made.server.listen("127.0.0.1", 9090, "bulk", "flood")
        made.mesh.wait(lambda: made.mesh.status()["catalog"]["services"] == 4)
        made.mesh.wait(lambda: way(made.mesh, "bulk") == {"path": "relay", "why": "traffic.direct is off"})
        yield made


@pytest.fixture(autouse=True)
def as_it_was(scene: Scene) -> Iterator[None]:
    yield
    bound(scene, "r5", "r2")


def bound(scene: Scene, rung_max: str, used: str) -> None:
    scene.mesh.write_config(rung_max=rung_max)
    wanted = {"rung_max": rung_max, "rung": used}
    scene.mesh.wait(lambda: wanted.items() <= scene.mesh.status()["acceleration"].items())


def pipes(scene: Scene) -> int:
    """Count the worker's pipes: what it splices through, for it has no other."""
    (worker,) = scene.mesh.workers()
    links = (os.readlink(one) for one in Path(f"/proc/{worker}/fd").iterdir())
    return sum(link.startswith("pipe:") for link in links) // 2


def begin_bulk(app: Any, name: str) -> None:
    """Let much come, and read half of it: the rest stands still on its way."""
    app.tell("open_", keep=name, host=BULK_VIP, port=80)
    app.tell("say", keep=name, text=f"{MUCH}\n", hear=False)
    assert app.tell("gulp", keep=name, size=HALF) == {"heard": HALF}


def end_bulk(app: Any, name: str) -> None:
    """Read the rest, and see that it ends there and nowhere else."""
    assert app.tell("gulp", keep=name, size=MUCH) == {"heard": MUCH}
    app.tell("say_end", keep=name)
    app.tell("close", keep=name)


def turn_splicing_off_and_on(scene: Scene) -> None:
    """Do so while connections stand that are spliced, or begun to be copied, and see all of their bytes."""
    app = scene.shop.app
    begin_bulk(app, "before")
    scene.mesh.wait(lambda: pipes(scene) > 0)
    bound(scene, "r1", "r1")
    begin_bulk(app, "after")
    end_bulk(app, "before")
    scene.mesh.wait(lambda: pipes(scene) == 0)
    begin_bulk(app, "copied")
    assert pipes(scene) == 0
    end_bulk(app, "copied")
    bound(scene, "r2", "r2")
    end_bulk(app, "after")
    begin_bulk(app, "spliced")
    scene.mesh.wait(lambda: pipes(scene) > 0)
    end_bulk(app, "spliced")
    told = scene.mesh.wait_ended(4, service="default/bulk")
    assert {(one["outcome"], one["received_bytes"]) for one in told} == {("carried", MUCH)}


def test_a_rung_is_turned_off_under_open_connections_and_on_again(scene: Scene) -> None:
    turn_splicing_off_and_on(scene)


@pytest.mark.soak
def test_and_so_it_is_on_nf_tables() -> None:
    bulk = service("bulk", BULK, vips=[BULK_VIP])
    with (
        island() as home,
        Mesh(home, rung="nft", services=[bulk]) as mesh,
        mesh.workload("shop") as shop,
        app(home) as server,
    ):
        server.listen("127.0.0.1", 9090, "bulk", "flood")
        turn_splicing_off_and_on(Scene(mesh, shop, server))


def test_below_r1d_all_are_relayed_and_say_so(scene: Scene) -> None:
    assert way(scene.mesh, "web") == {"path": "direct", "why": ""}
    scene.shop.app.tell("hold", name="direct", host=VIP, port=80)
    bound(scene, "r1", "r1")
    scene.mesh.wait(lambda: way(scene.mesh, "web")["path"] == "relay")
    assert way(scene.mesh, "web")["why"] == "rung_max is r1, so everything is relayed"
    before = scene.mesh.hooks().get("direct", 0)
    assert scene.shop.app.burst(6, VIP, 80) == {"a": 2, "b": 2, "c": 2}
    assert scene.mesh.hooks().get("direct", 0) == before
    bound(scene, "r1d", "r1d")
    scene.mesh.wait(lambda: way(scene.mesh, "web")["path"] == "direct")
    (shop,) = scene.mesh.status()["workloads"]
    assert (shop["accelerated"], shop["why_no_faster"]) == ("r1d", "rung_max is r1d")
    held = scene.shop.app.tell("held", name="direct", end=True)
    assert (held["broke"], held["rounds"] > 3) == ("", True), "one that stood went on"
    scene.mesh.wait_ended(1, path="direct", outcome="carried")


def test_a_workload_that_wants_none_is_relayed_and_copied_beside_others_that_are_not(scene: Scene) -> None:
    with scene.mesh.workload("plain", acceleration="off") as plain:
        assert (plain.told["accelerated"], plain.told["why_no_faster"]) == ("r1", "acceleration is off")
        before = scene.mesh.hooks()
        assert plain.app.burst(6, VIP, 80) == {"a": 2, "b": 2, "c": 2}
        after = scene.mesh.hooks()
        assert after.get("direct", 0) == before.get("direct", 0)
        assert after["redirected"] - before.get("redirected", 0) == 6
        assert scene.shop.app.burst(3, VIP, 80) == {"a": 1, "b": 1, "c": 1}
        assert scene.mesh.hooks()["direct"] == before.get("direct", 0) + 3
        bound(scene, "r1", "r1")  # so that no pipe is kept from before
        scene.mesh.wait(lambda: pipes(scene) == 0)
        bound(scene, "r2", "r2")
        begin_bulk(plain.app, "mine")
        assert pipes(scene) == 0
        begin_bulk(scene.shop.app, "other's")
        scene.mesh.wait(lambda: pipes(scene) > 0)
        end_bulk(plain.app, "mine")
        end_bulk(scene.shop.app, "other's")


def test_a_workload_that_wants_what_cannot_be_had_is_carried_and_told_why(scene: Scene) -> None:
    with scene.mesh.workload("keen", acceleration="r4") as keen:
        assert keen.told["accelerated"] == "r2"
        assert keen.told["why_no_faster"].startswith(
            ("r4 is refused on this kernel for ", "r4 is not in this")
        )
        assert keen.app.burst(3, VIP, 80) == {"a": 1, "b": 1, "c": 1}
    wrong = scene.mesh.add("wrong", acceleration="r9")
    assert wrong.status == 400
    assert "acceleration" in wrong.body["error"]
