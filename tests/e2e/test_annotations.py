"""What Services in Kubernetes wish for their traffic by annotations, with a real agent and connections."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import kubernetes_objects as objects
from tests.support.kubernetes_side import kubeconfig
from tests.support.mesh import Mesh, Workload
from tests.support.registries import Kubernetes, kubernetes
from tests.support.world import VIP, app, island

pytestmark = pytest.mark.world

ENDPOINTS = {"a": "10.1.1.1", "b": "10.1.1.2"}
OWN = "the service's own wishes"


class Scene(NamedTuple):
    mesh: Mesh
    api: Kubernetes
    shop: Workload

    def annotate(self, **wishes: str) -> None:
        """Let the Service have these annotations and no others; `hash_key` is meshtrio.io/hash-key."""
        service = objects.service("web", VIP)
        said = {f"meshtrio.io/{word.replace('_', '-')}": wish for word, wish in wishes.items()}
        service["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": "now", **said}
        self.api.put("services", service)

    def service(self) -> dict[str, Any]:
        """Return what `meshtrio services` shows of it."""
        told: list[dict[str, Any]] = self.mesh.ask("GET", "/v1/services?name=web").body["services"]
        return told[0] if told else {"unheeded": None, "ports": [{"path": ""}]}

    def path(self) -> str:
        return str(self.service()["ports"][0]["path"])

    def said(self, setting: str) -> tuple[Any, str]:
        """Return what `meshtrio balance explain` shows of a setting: its value, and who said it."""
        settings = self.mesh.ask("GET", "/v1/balance/default/web").body["settings"]
        return next((one["value"], one["by"]) for one in settings if one["name"] == setting)

    def unheeded(self) -> list[str]:
        """Return the lines of the metric."""
        text = str(self.mesh.ask("GET", "/metrics").body)
        return [line for line in text.splitlines() if line.startswith("meshtrio_unheeded_wishes{")]

    def who(self, times: int = 12) -> set[str]:
        return set(self.shop.app.burst(times, VIP, 80))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder: Path = tmp_path_factory.mktemp("annotations")
    with contextlib.ExitStack() as stack:
        space = stack.enter_context(island())
        space.add_address("10.1.0.1/16", "lo")
        server = stack.enter_context(app(space))
        for name, ip in ENDPOINTS.items():
            space.add_address(f"{ip}/32", "lo")
            server.listen(ip, 8080, name)
        api = stack.enter_context(kubernetes(space))
        kubeconfig(folder / "kubeconfig", f"http://127.0.0.1:{api.port}", {"token": "any"})
        api.put("services", objects.service("web", VIP))
        api.put("endpointslices", objects.slice_of("web", ENDPOINTS.values()))
        found = {"kubernetes": {"enabled": True, "kubeconfig": str(folder / "kubeconfig")}}
        mesh = stack.enter_context(Mesh(space, rung="ebpf", discovery=found, traffic={"slow_start_s": 0}))
        yield Scene(mesh, api, stack.enter_context(mesh.workload("shop")))


@pytest.fixture(autouse=True)
def plain(scene: Scene) -> None:
    scene.annotate()
    scene.mesh.wait(lambda: scene.said("algorithm")[0] == "round_robin" and scene.who() == {"a", "b"})


def test_an_algorithm_and_its_key(scene: Scene) -> None:
    assert scene.said("algorithm") == ("round_robin", "default")
    scene.annotate(balancing="maglev", hash_key="source_ip")
    scene.mesh.wait(lambda: scene.said("algorithm") == ("maglev", OWN))
    assert scene.said("hash_key") == ("source_ip", OWN)
    scene.mesh.wait(lambda: len(scene.who()) == 1)
    assert scene.service()["unheeded"] == []


@pytest.mark.rung("r1d")
def test_to_be_direct(scene: Scene) -> None:
    scene.annotate(direct="auto")
    scene.mesh.wait(lambda: scene.said("direct") == ("auto", OWN))
    assert "retries are asked for" in scene.service()["ports"][0]["why"]
    scene.annotate(direct="auto", retries="0")
    scene.mesh.wait(lambda: scene.path() == "direct")
    assert scene.who() == {"a", "b"}
    assert scene.mesh.wait_ended(12, path="direct")


@pytest.mark.rung("r1d")
def test_what_is_wrong_is_named_and_counted_and_all_else_goes_on(scene: Scene) -> None:
    scene.annotate(direct="auto", retries="0")
    scene.mesh.wait(lambda: scene.path() == "direct")
    scene.shop.app.tell("hold", name="held", host=VIP, port=80)
    scene.shop.app.tell("steady", name="load", host=VIP, port=80, every=0.005)
    scene.annotate(direct="auto", retries="0", balancing="fastest", slow_start="long", breaker="perhaps")
    named = scene.mesh.wait(lambda: scene.service()["unheeded"])
    for wrong in ("meshtrio.io/balancing", "meshtrio.io/slow-start", "meshtrio.io/breaker"):
        assert sum(wrong in one for one in named) == 1, named
    assert len(named) == 3
    assert scene.mesh.status()["balance"]["unheeded"] == {"default/web": named}
    assert scene.unheeded() == ['meshtrio_unheeded_wishes{service="default/web"} 3.0']
    assert "a service wishes what cannot be" in scene.mesh.log()
    assert (scene.said("algorithm"), scene.said("slow_start_s")) == (
        ("round_robin", "default"),
        (0.0, "traffic"),
    )
    assert scene.said("retries.attempts") == (0, OWN), "what is right in it holds"
    assert scene.path() == "direct"
    seen = scene.shop.app.tell("steadied", name="load", end=True)["seen"]
    assert {who for _, who, _ in seen} == {"a", "b"}, "nobody failed"
    assert scene.shop.app.tell("held", name="held", end=True)["broke"] == ""
    scene.annotate(direct="auto", retries="0", balancing="random")
    scene.mesh.wait(lambda: scene.said("algorithm") == ("random", OWN))
    assert scene.service()["unheeded"] == scene.unheeded() == []
    assert "all wishes of a service are heeded again" in scene.mesh.log()


def test_a_rule_of_the_operator_is_stronger(scene: Scene) -> None:
    scene.annotate(balancing="maglev")
    scene.mesh.wait(lambda: scene.said("algorithm") == ("maglev", OWN))
    rule = {"service": "web", "algorithm": "least_connections"}
    scene.mesh.write_config(traffic={"slow_start_s": 0, "rules": [rule]})
    scene.mesh.wait(lambda: scene.said("algorithm") == ("least_connections", "traffic.rules[0]"))
    scene.mesh.write_config(traffic={"slow_start_s": 0})
    scene.mesh.wait(lambda: scene.said("algorithm") == ("maglev", OWN))
