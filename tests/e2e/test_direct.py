"""Direct services with a real agent: who reaches them how, what is shown, and how they move."""

import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.e2e.direct import DIRECT, WEB, Scene, direct_scene, services, way
from tests.support.mesh import Mesh
from tests.support.world import VIP, VIP6, island

pytestmark = [pytest.mark.world, pytest.mark.rung("r1d")]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with direct_scene() as made:
        yield made


@pytest.fixture(autouse=True)
def as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "scene" not in request.fixturenames:
        return
    scene: Scene = request.getfixturevalue("scene")
    scene.mesh.write_services(*services(*WEB))
    scene.mesh.write_config(traffic=DIRECT)
    scene.mesh.wait(lambda: scene.shop.app.burst(6, VIP, 80) == {"a": 2, "b": 2, "c": 2}, 10)


def direct_count(mesh: Mesh) -> int:
    return mesh.hooks().get("direct", 0)


def test_its_endpoints_are_reached_in_turn_and_past_us(scene: Scene) -> None:
    mesh, shop, _ = scene
    before, relayed = direct_count(mesh), mesh.hooks().get("redirected", 0)
    assert shop.app.burst(30, VIP, 80) == {"a": 10, "b": 10, "c": 10}
    assert shop.app.burst(3, VIP6, 80) == {"six": 3}
    assert direct_count(mesh) - before == 33
    assert mesh.hooks().get("redirected", 0) == relayed
    said = shop.app.dial(VIP, 80)
    assert said["peer"][:2] == [VIP, 80], "the process sees what it dialled"
    assert said["greeting"]["peer"] == said["local"], "and the endpoint sees the process itself"


def test_what_is_shown(scene: Scene) -> None:
    mesh, shop, _ = scene
    assert way(mesh, "web") == {"path": "direct", "why": ""}
    assert way(mesh, "other") == {"path": "relay", "why": "traffic.direct is off"}
    shop.app.tell("hold", name="held", host=VIP, port=80)
    (live,) = [one for one in mesh.live() if one["path"] == "direct"]
    assert (live["workload"], live["service"], live["destination"]) == (shop.name, "default/web", f"{VIP}:80")
    assert live["endpoint"] in WEB
    assert live["received_bytes"] > 20, "what the server said when it came"
    assert mesh.status()["direct"] | {"connections": 0} == {
        "services": 2, "active": 1, "connections": 0, "failed": 0, "no_room": 0, "grants": 0,
    }  # fmt: skip
    assert shop.app.tell("held", name="held", end=True)["broke"] == ""
    (ended,) = mesh.wait_ended(1, id=live["id"], path="direct")
    assert ended["outcome"] == "carried"
    assert ended["source"] == live["source"]
    assert ended["received_bytes"] > 20, "what the server said when it came"
    assert mesh.status()["direct"]["active"] == 0
    text = mesh.ask("GET", "/metrics").body
    assert "meshtrio_direct_services 2.0" in text
    assert "meshtrio_direct_active 0.0" in text
    assert mesh.status()["outcomes"]["carried"] >= 1


def test_a_refused_connection_is_counted_as_one(scene: Scene) -> None:
    mesh, shop, _ = scene
    mesh.write_services(*services("127.0.0.1:9099"))
    mesh.wait(lambda: shop.app.tell("dial", may_fail=True, host=VIP, port=80).get("error") == "ECONNREFUSED")
    (ended, *_) = mesh.wait_ended(1, outcome="connect_failed", path="direct")
    assert ended["endpoint"] == "127.0.0.1:9099"


def test_who_is_taken_out_gets_nobody_and_who_comes_does(scene: Scene) -> None:
    mesh, shop, _ = scene
    mesh.write_services(*services(*WEB[:1]))
    mesh.wait(lambda: shop.app.burst(6, VIP, 80) == {"a": 6})
    mesh.write_services(*services())
    mesh.wait(lambda: way(mesh, "web")["path"] == "relay")
    assert "no endpoint" in way(mesh, "web")["why"]
    shop.app.fails_to_dial(VIP, 80)
    mesh.wait_ended(1, outcome="no_endpoint")  # said by the worker
    mesh.write_services(*services(*WEB[1:]))
    mesh.wait(lambda: shop.app.burst(6, VIP, 80) == {"b": 3, "c": 3})


def test_who_comes_gets_little_at_first_and_then_its_share(scene: Scene) -> None:
    mesh, shop, _ = scene
    mesh.write_services(*services(*WEB[:2]))
    mesh.wait(lambda: shop.app.burst(6, VIP, 80) == {"a": 3, "b": 3})
    mesh.write_config(traffic={**DIRECT, "slow_start_s": 600})
    mesh.wait(lambda: mesh.ask("GET", "/v1/config").body["traffic"]["slow_start_s"] == 600)
    mesh.write_services(*services(*WEB))
    mesh.wait(lambda: "c" in shop.app.burst(21, VIP, 80))
    assert shop.app.burst(210, VIP, 80) == {"a": 100, "b": 100, "c": 10}
    mesh.write_config(traffic={**DIRECT, "slow_start_s": 2})
    mesh.wait(lambda: shop.app.burst(6, VIP, 80) == {"a": 2, "b": 2, "c": 2})


def test_it_moves_between_direct_and_relay_under_load(scene: Scene) -> None:
    mesh, shop, _ = scene
    shop.app.tell("hold", name="held", host=VIP, port=80)
    shop.app.tell("steady", name="load", host=VIP, port=80, every=0.003)
    before = mesh.hooks()
    for direct in ("off", "auto", "off", "auto"):
        mesh.write_config(traffic={**DIRECT, "direct": direct})
        mesh.wait(lambda: way(mesh, "web")["path"] == ("direct" if direct == "auto" else "relay"))  # noqa: B023
        time.sleep(0.5)
    seen = shop.app.tell("steadied", name="load", end=True)["seen"]
    assert {who for _, who, _ in seen} == {"a", "b", "c"}, "nobody failed"
    assert len(seen) > 200
    after = mesh.hooks()
    assert after["direct"] - before["direct"] > 50
    assert after["redirected"] - before.get("redirected", 0) > 50
    assert shop.app.tell("held", name="held", end=True)["broke"] == "", "established ones stay"


def test_wishes_that_need_a_worker_are_named(scene: Scene) -> None:
    mesh, shop, _ = scene
    for wish, words in (
        ({"retries": {"attempts": 2}}, "retries.attempts"),
        ({"algorithm": "peak_ewma"}, "no such algorithm"),
        ({"limits": {"connections": 5}}, "limits"),
    ):
        mesh.write_config(traffic={**DIRECT, **wish})
        mesh.wait(lambda: words in way(mesh, "web")["why"])  # noqa: B023
    assert set(shop.app.burst(6, VIP, 80)) == {"a", "b", "c"}


def test_each_algorithm_of_the_kernel(scene: Scene) -> None:
    mesh, shop, _ = scene

    def bursts(algorithm: str) -> set[str]:
        mesh.write_config(traffic={**DIRECT, "algorithm": algorithm})
        config = mesh.wait(lambda: mesh.ask("GET", "/v1/config").body["traffic"]["algorithm"] == algorithm)
        assert config
        assert way(mesh, "web")["path"] == "direct"
        return set(shop.app.burst(40, VIP, 80))

    assert len(bursts("maglev")) == 1, "a workload has its member"
    for algorithm in ("random", "least_connections", "weighted", "round_robin"):
        assert bursts(algorithm) == {"a", "b", "c"}


def test_an_endpoint_in_the_mesh_keeps_it_on_relay(scene: Scene) -> None:
    """It is called with mutual TLS. The kernel says that it is: a workload of this node listens there."""
    mesh, shop, _ = scene
    # Until it has a certificate calls fail, and no breaker shall remember that.
    mesh.write_config(traffic={**DIRECT, "breaker": {"enabled": False}})
    with mesh.workload("called") as called:
        called.app.listen("127.0.0.1", 9085, "called")
        mesh.write_services(*services("127.0.0.1:9085"))
        mesh.wait(lambda: "mutual TLS" in way(mesh, "web")["why"], 10)
        mesh.wait(lambda: shop.app.burst(3, VIP, 80) == {"called": 3})
        (ended, *_) = mesh.wait_ended(1, endpoint="127.0.0.1:9085", workload=shop.name)
        assert ended["tls"]
        assert ended["path"] == "relay"
    mesh.write_config(traffic=DIRECT)


def test_a_workload_that_begins_to_serve_at_an_endpoint_is_noticed(scene: Scene) -> None:
    mesh, _, _ = scene
    mesh.write_services(*services("127.0.0.1:9086"))
    mesh.wait(lambda: way(mesh, "web")["path"] == "direct")
    with mesh.workload("late") as late:
        late.app.listen("127.0.0.1", 9086, "late")
        mesh.wait(lambda: "mutual TLS" in way(mesh, "web")["why"], 10)


def test_direct_connections_are_closed_on_request(scene: Scene) -> None:
    mesh, shop, _ = scene
    for name in ("one", "two", "three"):
        shop.app.tell("hold", name=name, host=VIP, port=80)
    shop.app.tell("hold", name="six", host=VIP6, port=80)
    direct = [one for one in mesh.live() if one["path"] == "direct"]
    (victim,) = [one for one in direct if one["endpoint"] == WEB[0]]
    assert mesh.ask("DELETE", f"/v1/connections?to={WEB[0]}").body == {"closed": 1}
    mesh.wait_ended(1, id=victim["id"], outcome="drained", detail="closed on request")
    assert mesh.ask("DELETE", "/v1/connections?to=default/web").body == {"closed": 2}
    for name in ("one", "two", "three"):
        mesh.wait(lambda: shop.app.tell("held", name=name)["broke"])  # noqa: B023
    assert not shop.app.tell("held", name="six", end=True)["broke"]
    for wrong in ("web", "", "1.2.3.4"):
        answer = mesh.ask("DELETE", f"/v1/connections?to={wrong}")
        assert (answer.status, answer.body["error"][:14]) == (400, "want a service")
    assert mesh.ask("DELETE", "/v1/connections?to=default/nothing").body == {"closed": 0}


def test_a_workload_that_goes_takes_its_counts_with_it(scene: Scene) -> None:
    mesh, _, _ = scene
    with mesh.workload("guest") as guest:
        guest.app.tell("hold", name="held", host=VIP, port=80)
        assert mesh.status()["direct"]["active"] == 1
        assert mesh.remove(guest.name).status == 200
        mesh.wait(lambda: mesh.status()["direct"]["active"] == 0)
        (ended,) = mesh.wait_ended(1, workload=guest.name)
        assert ended["detail"].startswith("the workload was removed")
        assert guest.app.tell("held", name="held", end=True)["broke"] == "", "the connection itself goes on"


def test_curl_and_nginx(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> None:
    nginx, curl = shutil.which("nginx", path="/usr/sbin:/usr/bin"), shutil.which("curl")
    if nginx is None or curl is None:
        pytest.skip("needs nginx and curl (Debian)")
    mesh, shop, _ = scene
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "page").write_bytes(b"x" * 100_000)
    (folder / "conf").write_text(
        f"daemon off; user root; pid {folder}/pid; error_log {folder}/log; events {{}}\n"
        f"http {{ access_log off; server {{ listen 127.0.0.1:9087; root {folder}; }} }}\n"
    )
    folder.chmod(0o755)
    with mesh.space.run(lambda: subprocess.Popen([nginx, "-c", f"{folder}/conf"])) as serving:
        try:
            mesh.write_services(*services("127.0.0.1:9087"))
            group = mesh.status()["workloads"][0]["cgroup"]
            command = f"echo $$ > {group}/cgroup.procs; exec {curl} -sS http://{VIP}/page"
            got = mesh.wait(lambda: mesh.space.command("sh", "-c", command, check=False))
            assert got == "x" * 100_000
            (ended, *_) = mesh.wait_ended(1, endpoint="127.0.0.1:9087", outcome="carried", path="direct")
            assert ended["received_bytes"] > 100_000
            assert ended["workload"] == shop.name
        finally:
            serving.terminate()
            serving.wait()


def test_without_hooks_it_is_relayed_and_says_so() -> None:
    with island() as home, Mesh(home, rung="nft", services=services(*WEB), traffic=DIRECT) as mesh:
        assert way(mesh, "web") == {"path": "relay", "why": "only the eBPF rung has hooks that pick"}
