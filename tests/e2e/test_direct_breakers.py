"""Breakers of direct services with a real agent: who fails is left out, tried by workers, let in again."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.e2e.direct import WEB, services, way
from tests.support.mesh import Mesh, Workload
from tests.support.namespace import Namespace
from tests.support.world import VIP, App, app, island

pytestmark = [pytest.mark.world, pytest.mark.rung("r1d")]

CONSECUTIVE = 3
TRAFFIC = {
    "direct": "auto",
    "retries": {"attempts": 0},
    "slow_start_s": 0,
    "breaker": {"consecutive": CONSECUTIVE, "open_s": 60},
}
SOON = pytest.mark.parametrize(
    "scene", [{"consecutive": CONSECUTIVE, "open_s": 1, "open_max_s": 1}], indirect=True
)
"""Who is left out is tried again after a second."""


class Scene(NamedTuple):
    home: Namespace
    mesh: Mesh
    shop: Workload
    servers: list[App]
    """Of `a`, `b` and `c`, each a process of its own."""

    def breakers(self) -> dict[str, str]:
        told = self.mesh.ask("GET", "/v1/endpoints?service=default/web").body["endpoints"]
        return {one["address"]: one["breaker"] for one in told}

    def burst(self, times: int, **how: Any) -> dict[str, int]:
        return self.shop.app.burst(times, VIP, 80, **how)


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    traffic = TRAFFIC | {"breaker": getattr(request, "param", TRAFFIC["breaker"])}
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        mesh = stack.enter_context(Mesh(home, rung="ebpf", services=services(*WEB), traffic=traffic))
        shop = stack.enter_context(mesh.workload("shop"))
        servers = [stack.enter_context(app(home)) for _ in WEB]
        for at, server in enumerate(servers):
            server.listen("127.0.0.1", 9080 + at, "abc"[at])
        yield Scene(home, mesh, shop, servers)


@SOON
def test_a_killed_endpoint_is_left_out_tried_and_let_in_again(scene: Scene) -> None:
    assert scene.burst(9) == {"a": 3, "b": 3, "c": 3}
    scene.servers[0].process.kill()
    scene.servers[0].process.wait()
    counts = scene.burst(3000)
    # So many in a row open it; a few more begin before the agent has heard of that.
    assert CONSECUTIVE <= counts["ECONNREFUSED"] < 100
    assert scene.breakers() == dict(zip(WEB, ("open", "closed", "closed"), strict=True))
    assert way(scene.mesh, "web") == {"path": "direct", "why": ""}
    with app(scene.home) as again:
        again.listen("127.0.0.1", 9080, "again")
        scene.mesh.wait(lambda: "half open" in way(scene.mesh, "web")["why"])
        scene.mesh.wait(lambda: scene.burst(9) and way(scene.mesh, "web")["path"] == "direct")
        assert scene.burst(9) == {"again": 3, "b": 3, "c": 3}
        assert scene.breakers() == dict.fromkeys(WEB, "closed")


@SOON
def test_one_that_stays_dead_is_tried_by_few(scene: Scene) -> None:
    scene.servers[0].process.kill()
    scene.servers[0].process.wait()
    scene.mesh.wait(lambda: scene.burst(20) and scene.breakers()[WEB[0]] == "open")
    for _ in range(2):
        scene.mesh.wait(lambda: scene.breakers()[WEB[0]] == "half_open")
        scene.mesh.wait(lambda: scene.burst(3) and scene.breakers()[WEB[0]] == "open")
        assert scene.burst(30) == {"b": 15, "c": 15}


def test_a_silent_endpoint_is_left_out_though_its_callers_give_up_themselves(scene: Scene) -> None:
    scene.servers[0].tell("listen_no_more", name="a")
    scene.servers[0].tell("deaf", host="127.0.0.1", port=9080, name="a")
    counts = scene.burst(30, patience=1.2)
    assert CONSECUTIVE <= counts["silence"] <= CONSECUTIVE + 1
    assert scene.breakers()[WEB[0]] == "open"
    assert scene.burst(30) == {"b": 15, "c": 15}


def test_one_that_resets_before_a_word_is_left_out(scene: Scene) -> None:
    scene.servers[0].tell("listen_no_more", name="a")
    scene.servers[0].listen("127.0.0.1", 9080, "a", kind="slam")
    scene.mesh.wait(lambda: scene.burst(20) and scene.breakers()[WEB[0]] == "open")
    assert scene.burst(30) == {"b": 15, "c": 15}


def test_workers_hear_of_it(scene: Scene) -> None:
    scene.servers[0].process.kill()
    scene.servers[0].process.wait()
    scene.mesh.wait(lambda: scene.burst(20) and scene.breakers()[WEB[0]] == "open")
    scene.mesh.write_config(traffic={**TRAFFIC, "direct": "off"})
    scene.mesh.wait(lambda: way(scene.mesh, "web")["path"] == "relay")
    assert set(scene.burst(12)) <= {"b", "c", "EOF"}


def test_nobody_is_left_and_workers_say_so(scene: Scene) -> None:
    for server in scene.servers:
        server.process.kill()
        server.process.wait()
    scene.mesh.wait(lambda: scene.burst(20) and set(scene.breakers().values()) == {"open"})
    assert "no endpoint may be used" in way(scene.mesh, "web")["why"]
    scene.shop.app.fails_to_dial(VIP, 80)
    scene.mesh.wait_ended(1, outcome="breaker_open")
