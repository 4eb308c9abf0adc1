"""Shell. A real API server for the tests of this folder. They run in `make test-kube`, and skip elsewhere."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.kubernetes_real import MESH, PROGRAMS, RealServer
from tests.support.kubernetes_side import kubeconfig

READING: dict[str, Any] = {"verbs": ["get", "list", "watch"]}


def role(kind: str, name: str, rules: list[dict[str, Any]], namespace: str = "") -> list[dict[str, Any]]:
    """Make a role, and bind the mesh to it."""
    version = "rbac.authorization.k8s.io/v1"
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    user = {"kind": "User", "name": "mesh", "apiGroup": "rbac.authorization.k8s.io"}
    reference = {"kind": kind, "name": name, "apiGroup": "rbac.authorization.k8s.io"}
    return [
        {"kind": kind, "apiVersion": version, "metadata": meta, "rules": rules},
        {
            "kind": f"{kind}Binding",
            "apiVersion": version,
            "metadata": meta,
            "roleRef": reference,
            "subjects": [user],
        },
    ]


SERVICES = {"apiGroups": [""], "resources": ["services", "endpoints"], **READING}
SLICES = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], **READING}
PODS = {"apiGroups": [""], "resources": ["pods", "namespaces"], **READING}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RealServer]]:
    """Give what starts a server that ends with the module."""
    if os.environ.get("MESHTRIO_KUBE") != "1":
        pytest.skip("needs a real API server: make test-kube")
    assert (PROGRAMS / "kube-apiserver").exists(), "tools/kube.sh has not been run"
    started: list[RealServer] = []

    def begin(**options: bool) -> RealServer:
        server = RealServer(tmp_path_factory.mktemp("kube"), **options)
        started.append(server)
        server.__enter__()
        server.apply(*role("ClusterRole", "mesh", [SERVICES, SLICES, PODS]))
        return server

    yield begin
    for server in started:
        server.__exit__()


@pytest.fixture(scope="module")
def server(start: Callable[..., RealServer]) -> RealServer:
    return start()


@pytest.fixture
def config(server: RealServer, tmp_path: Path) -> Path:
    """A kubeconfig for one who may read what the mesh needs, and nothing else."""
    return kubeconfig(tmp_path / "config", server.url, {"token": MESH}, ca=server.certificate.cert)
