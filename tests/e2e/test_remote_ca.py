"""A real agent whose certificates come from a `meshtrio ca` elsewhere."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mesh import Mesh, service
from tests.support.namespace import Namespace
from tests.support.world import RIGHT, ROOT, VIP, island, pod_cgroup, two_pods

pytestmark = pytest.mark.world

PORT = 15_904
CALLER, CALLED = "spiffe://cluster.local/ns/shop/sa/cart", "spiffe://cluster.local/ns/shop/sa/orders"


class Authority:
    """A CA in a namespace: its folder, and its process while it runs."""

    def __init__(self, space: Namespace, folder: Path) -> None:
        self._space, self._folder = space, folder
        self.config = folder / "ca.json"
        self.config.write_text(json.dumps({"identity": {"directory": str(folder / "root")}}))
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> str:
        """Run a command of the CA's machine, and return what it printed."""
        argv = [sys.executable, "-m", "meshtrio", "ca", *words, "--config", str(self.config)]
        done = self._space.run(
            lambda: subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
        )
        return done.stdout

    def start(self) -> None:
        argv = [sys.executable, "-m", "meshtrio", "ca", "run", "--config", str(self.config)]
        argv += ["--bind", "127.0.0.1", "--port", str(PORT), "--name", "127.0.0.1"]
        with open(self._folder / "ca.log", "ab") as log:
            self._process = self._space.run(
                lambda: subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[Authority, Namespace]]:
    with island() as home:
        made = Authority(home, tmp_path)
        made.start()
        try:
            yield made, home
        finally:
            made.kill()


def test_an_agent_joins_and_its_workloads_prove_who_they_are(
    authority: tuple[Authority, Namespace], tmp_path: Path
) -> None:
    ca, home = authority
    token, root = tmp_path / "token", tmp_path / "ca.pem"
    token.write_text(ca.command("token", "--node", "web-1", "--allow", "spiffe://cluster.local/ns/shop/*"))
    root.write_text(ca.command("root"))
    remote = {"address": f"https://127.0.0.1:{PORT}", "ca_file": str(root), "token_file": str(token)}
    identity = {
        "source": "remote",
        "remote": remote,
        "directory": str(tmp_path / "node"),
        "exec_identities": ["spiffe://cluster.local/*"],
    }
    services = [
        {**service("web", vips=[VIP]), "endpoints": [{"address": f"{RIGHT}:9080", "identity": CALLED}]}
    ]
    with contextlib.ExitStack() as stack:
        left, right = stack.enter_context(two_pods())
        mesh = stack.enter_context(
            Mesh(home, rung="ebpf", services=services, node="web-1", identity=identity)
        )

        def pod(word: str, space: Namespace, account: str, namespace: str = "shop") -> object:
            return stack.enter_context(
                mesh.workload(
                    word, space, cgroup=str(stack.enter_context(pod_cgroup())),
                    namespace=namespace, service_account=account,
                )
            )  # fmt: skip

        client, server = pod("client", left, "cart"), pod("server", right, "orders")
        pod("stranger", left, "till", "bank")
        server.app.listen(RIGHT, 9080, "web")  # type: ignore[attr-defined]
        mesh.wait(lambda: _states(mesh).get(CALLER) == _states(mesh).get(CALLED) == "fresh", 20)
        assert client.app.dial(VIP, 80)["greeting"]["name"] == "web"  # type: ignore[attr-defined]
        (inbound,) = mesh.wait_ended(1, direction="inbound")
        assert (inbound["peer"], inbound["tls"]) == (CALLER, "TLSv1.3")
        assert {one["source"] for one in _certificates(mesh) if one["serial"]} == {"remote"}
        # What the token does not allow is not signed, and the words say so.
        (refused,) = [one for one in _certificates(mesh) if one["spiffe_id"].endswith("/ns/bank/sa/till")]
        mesh.wait(lambda: _certificates(mesh)[-1]["error"])
        assert refused["serial"] == ""
        assert "till is not on node web-1" in _certificates(mesh)[-1]["error"]
        # The CA goes: nothing happens. It comes back: renewal goes on.
        ca.kill()
        assert client.app.dial(VIP, 80)["greeting"]["name"] == "web"  # type: ignore[attr-defined]
        ca.start()
        before = _serials(mesh)
        assert mesh.ask("POST", "/v1/certs/rotate", {}).status == 200
        mesh.wait(
            lambda: all(one["serial"] != before[one["spiffe_id"]] for one in _certificates(mesh)[:2]), 20
        )
        assert client.app.dial(VIP, 80)["greeting"]["name"] == "web"  # type: ignore[attr-defined]


def _certificates(mesh: Mesh) -> list[dict[str, str]]:
    found: list[dict[str, str]] = mesh.ask("GET", "/v1/certs").body["certificates"]
    return found


def _states(mesh: Mesh) -> dict[str, str]:
    return {one["spiffe_id"]: one["state"] for one in _certificates(mesh)}


def _serials(mesh: Mesh) -> dict[str, str]:
    return {one["spiffe_id"]: one["serial"] for one in _certificates(mesh)}
