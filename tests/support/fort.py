"""Shell. A workload that takes nothing but mutual TLS, called over a wire by a friend and by strangers."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.attackers import DOMAIN, Call, give_root
from tests.support.mesh import Mesh, Workload, service
from tests.support.namespace import Namespace
from tests.support.world import RIGHT, VIP, island, pod_cgroup, two_pods

PORT, ANY_PORT = 9080, 9443
"""Where it serves: for meshes alone, and for any client that has a certificate."""
OTHER_PORT, WRONG_PORT = 83, 84
"""Of the virtual address: an endpoint that is no workload but has an identity, and where it should have
another one."""
ORDERS, ELSEWHERE = f"spiffe://{DOMAIN}/ns/shop/sa/orders", f"spiffe://{DOMAIN}/ns/shop/sa/elsewhere"
ELSEWHERE_PORT = 9090
DRAIN_S = 0.5
HANDSHAKE_S = 1.5
RSS_BOUND = 50 << 20
"""A worker's, and what it may have at most whatever comes."""


class Fort(NamedTuple):
    mesh: Mesh
    client: Workload
    server: Workload
    spaces: tuple[Namespace, Namespace]
    """The client's end of the wire, where strangers are too, and the server's."""
    worker: int

    def call(self, port: int = PORT) -> Call:
        return Call(self.spaces[0], RIGHT, port)

    def ended(self, call: Call, wait_s: float = 5) -> dict[str, Any]:
        """Wait for the end of this connection, as it is recorded."""

        def found() -> list[dict[str, Any]]:
            # An earlier one may have had the same port.
            ended = (one for one in self.mesh.ended() if one["source"] == call.source)
            return [one for one in ended if one["began"] >= call.began]

        return dict(self.mesh.wait(found, wait_s)[0])

    def is_well(self) -> bool:
        """Say whether the worker is who it was, small, and serves."""
        greeting = self.client.app.dial(VIP, 80)["greeting"]
        return self.mesh.workers() == [self.worker] and rss(self.worker) < RSS_BOUND and bool(greeting)

    def revoke(self, *entries: dict[str, str]) -> None:
        """Let the list of revocations be this, and be known."""
        path = Path(self.mesh.settings["identity"]["revocations"])
        self.mesh.write(path, json.dumps({"revoked": entries}))
        self.mesh.wait(lambda: self.mesh.status()["identity"]["revoked"] == len(entries))


def rss(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


@contextlib.contextmanager
def fort_of(rung: str, folder: Path, **identity: Any) -> Iterator[Fort]:
    """Build one; `folder` is for its files. Its CA's root is ours, or as `identity` says."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        left, right = stack.enter_context(two_pods())
        identity = {
            "directory": "",
            "trust_domain": DOMAIN,
            "drain_s": DRAIN_S,
            "revocations": str(folder / "revocations.json"),
            "exec_identities": [f"spiffe://{DOMAIN}/ns/shop/*"],
            **(identity or give_root(folder)),
        }
        (folder / "revocations.json").write_text('{"revoked": []}')
        endpoint = {"address": f"{RIGHT}:{PORT}", "identity": ORDERS}
        elsewhere = {"address": f"{RIGHT}:{ELSEWHERE_PORT}", "identity": ELSEWHERE}
        services = [
            {**service("web", vips=[VIP]), "endpoints": [endpoint]},
            {**service("other", port=OTHER_PORT, vips=[VIP]), "endpoints": [elsewhere]},
            {
                **service("wrong", port=WRONG_PORT, vips=[VIP]),
                "endpoints": [{**elsewhere, "identity": ORDERS}],
            },
        ]
        rules = [{"mode": "strict", "port": ANY_PORT, "any_alpn": True}]
        mtls = {"mode": "strict", "handshake_s": HANDSHAKE_S, "rules": rules}
        mesh = stack.enter_context(Mesh(home, rung=rung, services=services, identity=identity, mtls=mtls))
        pods = [
            stack.enter_context(
                mesh.workload(
                    account, space, cgroup=str(stack.enter_context(pod_cgroup())),
                    namespace="shop", service_account=account,
                )
            )
            for account, space in (("cart", left), ("orders", right))
        ]  # fmt: skip
        pods[1].app.listen(RIGHT, PORT, "web")
        pods[1].app.listen(RIGHT, ANY_PORT, "any", kind="end_early")
        mesh.follow_ports()
        yield Fort(mesh, pods[0], pods[1], (left, right), mesh.workers()[0])
