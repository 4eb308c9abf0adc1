"""UDP services with a real agent: unmodified programs speak to them, and members come and go."""

import shutil
import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from meshtrio.route.datagrams import Unpicked
from tests.bpf.names import REAL, real_resolver
from tests.support.mesh import Mesh, Workload
from tests.support.world import VIP, VIP6, App, app, island

pytestmark = pytest.mark.world

OTHER = "10.96.0.11"
ENDS = ("127.0.0.1:9090", "127.0.0.1:9091", "127.0.0.1:9092")
AUTO = {"direct": "auto"}


def service(name: str, *endpoints: str, vip: str, port: int = 5300) -> dict[str, Any]:
    ports = [{"name": "main", "port": port, "protocol": "udp"}]
    return {"name": name, "vips": [vip], "ports": ports, "endpoints": list(endpoints)}


def services(*endpoints: str) -> list[dict[str, Any]]:
    return [
        service("udp", *endpoints, vip=VIP),
        service("udp6", "[::1]:9093", vip=VIP6),
        service("more", "127.0.0.1:9094", vip=OTHER),
    ]


class Scene(NamedTuple):
    mesh: Mesh
    shop: Workload
    server: App

    def ask(self, keep: str, host: str = VIP, *, connect: bool = False) -> str:
        """Ask, see that the answer seems to come from where it was asked, and say who gave it."""
        said = self.shop.app.tell("ask", keep=keep, host=host, port=5300, connect=connect)
        assert said["source"] == [host, 5300]
        assert said["remote"] == ([host, 5300] if connect else None)
        assert said["peer"][1] == said["local"][1], "the server sees the process itself"
        name: str = said["name"]
        return name

    def fails(self, keep: str, **how: Any) -> str:
        answer = self.shop.app.tell("ask", may_fail=True, keep=keep, host=VIP, port=5300, **how)
        return str(answer.get("error", ""))

    def way(self, name: str) -> tuple[str, str]:
        told = self.mesh.ask("GET", f"/v1/services?name={name}").body["services"]
        (port,) = told[0]["ports"]
        assert port["protocol"] == "udp"
        return port["path"], port["why"]

    def flows(self, name: str) -> dict[str, int]:
        """Return how many flows came to each endpoint of a service."""
        told = self.mesh.ask("GET", f"/v1/endpoints?service={name}").body["endpoints"]
        return {one["address"]: one["flows"] for one in told}

    def serve(self, *endpoints: str) -> None:
        """Let `udp` have these endpoints, and wait until the hooks have them."""
        self.mesh.write_services(*services(*endpoints))
        self.mesh.wait(lambda: set(self.flows("udp")) == set(endpoints))


@pytest.fixture
def scene() -> Iterator[Scene]:
    with (
        island() as home,
        Mesh(home, rung="ebpf", services=services(*ENDS), traffic=AUTO) as mesh,
        mesh.workload("shop") as shop,
        app(home) as server,
    ):
        for at, name in enumerate(("a", "b", "c")):
            server.tell("echo", host="127.0.0.1", port=9090 + at, name=name)
        server.tell("echo", host="::1", port=9093, name="six")
        server.tell("echo", host="127.0.0.1", port=9094, name="more")
        yield Scene(mesh, shop, server)


def test_who_sends_and_who_connects_reach_members_and_see_the_service(scene: Scene) -> None:
    assert {scene.ask(f"one {at}") for at in range(3)} == {"a", "b", "c"}
    assert {scene.ask(f"tied {at}", connect=True) for at in range(3)} == {"a", "b", "c"}
    for connect in (False, True):
        assert scene.ask(f"six {connect}", VIP6, connect=connect) == "six"
    assert len({scene.ask("one 0") for _ in range(5)}) == 1, "a flow stays"
    first = scene.ask("one 0")
    for _ in range(3):
        assert (scene.ask("one 0", OTHER), scene.ask("one 0")) == ("more", first), "one socket, two services"
    mapped = scene.shop.app.tell("ask", keep="mapped", host=f"::ffff:{VIP}", port=5300)
    assert mapped["source"] == [f"::ffff:{VIP}", 5300]


def test_what_is_shown(scene: Scene) -> None:
    assert scene.way("udp") == scene.way("udp6") == ("direct", "udp")
    for at in range(6):
        scene.ask(f"one {at}", connect=at % 2 == 0)
    assert scene.flows("udp") == dict.fromkeys(ENDS, 2)
    assert scene.mesh.status()["udp"] == {"services": 3, "flows": 6, "no_room": 0}
    assert scene.mesh.hooks()["udp_direct"] == 6
    text = scene.mesh.ask("GET", "/metrics").body
    assert "meshtrio_udp_services 3.0" in text
    assert "meshtrio_udp_flows 6.0" in text
    scene.mesh.write_config(traffic={**AUTO, "algorithm": "peak_ewma"})
    scene.mesh.wait(lambda: "random instead of peak_ewma" in scene.way("udp")[1])
    scene.mesh.write_config(traffic={"direct": "off"})
    scene.mesh.wait(lambda: scene.way("udp") == ("pass", "traffic.direct is off"))
    assert scene.fails("one 0") == "silence", "nobody has that address"


def test_a_flow_moves_when_its_member_leaves_and_fails_when_all_have(scene: Scene) -> None:
    before = scene.ask("one")
    gone = ENDS["abc".index(before)]
    scene.serve(*(one for one in ENDS if one != gone))
    after = scene.ask("one")
    assert after != before
    scene.serve(*ENDS)
    assert scene.ask("one") == after, "it moves once"
    scene.serve()
    assert scene.way("udp") == ("refuse", "udp; no endpoint is well")
    assert (scene.fails("one"), scene.fails("tied", connect=True)) == ("EPERM", "EPERM")
    assert scene.ask("one", OTHER) == "more"
    scene.serve(ENDS[0])
    assert scene.ask("one") == "a"


def test_without_us_it_goes_on_and_a_successor_takes_over(scene: Scene) -> None:
    kept = scene.ask("one")
    workers = scene.mesh.workers()
    scene.mesh.kill_agent()
    scene.mesh.signal(signal.SIGKILL, *workers)
    time.sleep(3.5)  # longer than the hooks believe a heartbeat
    assert scene.ask("one") == kept
    assert {scene.ask(f"more {at}", connect=at % 2 == 0) for at in range(6)} == {"a", "b", "c"}
    scene.mesh.write_services(*services(*ENDS[:1])[:2])
    scene.mesh.start()
    assert scene.mesh.status()["rung"]["adopted"]
    scene.mesh.wait(lambda: scene.ask("one") == "a")
    scene.mesh.wait(lambda: scene.mesh.status()["udp"]["services"] == 2)
    answer = scene.shop.app.tell("ask", may_fail=True, keep="one", host=OTHER, port=5300, patience=0.3)
    assert answer["error"] == "silence", "what is no service any more is left alone"


def test_who_registers_serves_as_well(scene: Scene) -> None:
    path = "/v1/services/lamp/endpoints/one"
    said = scene.mesh.ask("PUT", path, {"address": "127.0.0.1:9094", "port": 5300, "protocol": "udp"})
    assert said.body["protocol"] == "udp"
    scene.mesh.wait(lambda: bool(scene.mesh.ask("GET", "/v1/services?name=lamp").body["services"]))
    # Its own two addresses are of both families, and its endpoint is of one.
    scene.mesh.wait(lambda: scene.way("lamp") == ("both", "udp; " + Unpicked.FAMILY.value))
    (vip, _) = scene.mesh.ask("GET", "/v1/services?name=lamp").body["services"][0]["vips"]
    assert (scene.ask("lamp", vip), scene.ask("tied lamp", vip, connect=True)) == ("more", "more")
    assert scene.mesh.ask("DELETE", path).status == 200
    scene.mesh.wait(lambda: not scene.mesh.ask("GET", "/v1/services?name=lamp").body["services"])


def test_dig_believes_the_answer(scene: Scene) -> None:
    """It drops what comes from anybody else than whom it asked."""
    dig = shutil.which("dig")
    if dig is None:
        pytest.skip("needs dig (Debian's bind9-dnsutils)")
    with real_resolver(scene.mesh.space, "127.0.0.1", port=9095):
        scene.serve("127.0.0.1:9095")
        argv = [dig, "+short", "+tries=1", "+notcp", "-p", "5300", f"@{VIP}", "name.test"]
        assert scene.shop.app.tell("run", argv=argv)["stdout"].split() == [REAL]


def test_strict_refuses_the_mesh_and_says_so(scene: Scene) -> None:
    meshed = {"address": ENDS[0], "meshed": True}
    described = services()
    described[0]["endpoints"] = [meshed]
    scene.mesh.write_services(*described)
    scene.mesh.wait(lambda: scene.way("udp")[0] == "direct")
    assert scene.ask("one") == "a"
    scene.mesh.write_config(mtls={"mode": "strict"})
    scene.mesh.wait(lambda: scene.way("udp")[0] == "refuse")
    assert "strict" in scene.way("udp")[1]
    assert scene.fails("one") == "EPERM"
    assert scene.ask("two", OTHER) == "more", "whose endpoint is not in the mesh"


def test_without_hooks_nobody_is_picked_and_it_says_so() -> None:
    with island() as home, Mesh(home, rung="nft", services=services(*ENDS), traffic=AUTO) as mesh:
        told = mesh.ask("GET", "/v1/services?name=udp").body["services"][0]["ports"][0]
        assert (told["path"], told["why"]) == ("pass", "udp; only the eBPF rung has hooks that pick")
