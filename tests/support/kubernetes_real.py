"""Shell. A real kube-apiserver and its etcd on loopback, from build/kube (tools/kube.sh), and kubectl for it.

No controllers and no kubelets: Services, slices, pods and namespaces are what somebody writes there, and stay
so. Authorisation is RBAC; two static tokens: one may everything, one what a test grants it.
"""

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.support.certificate import make_certificate
from tests.support.tree import TREE

PROGRAMS = TREE / "build" / "kube"
ADMIN, MESH = "token-of-the-admin", "token-of-the-mesh"
READY_S = 60.0
"""How long the server may take to be ready, on a machine that others use."""


def free_ports(count: int) -> list[int]:
    """Find ports of loopback that nobody uses at the moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class RealServer:
    """etcd and kube-apiserver, running while the block lasts; all that they keep is in `folder`."""

    def __init__(self, folder: Path, *, watch_cache: bool = True) -> None:
        """Without its watch cache, what etcd forgets is forgotten at once, and not after many more events."""
        self.folder = folder
        self._watch_cache = watch_cache
        self._etcd_port, self._peer_port, self.port = free_ports(3)
        self._etcd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self.certificate = make_certificate(folder, "apiserver")
        self._trust = ssl.create_default_context(cafile=str(self.certificate.cert))
        (folder / "tokens.csv").write_text(f'{ADMIN},admin,1,"system:masters"\n{MESH},mesh,2,"meshes"\n')

    def __enter__(self) -> Self:
        try:
            self._start_etcd()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._server = None
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen([PROGRAMS / name, *arguments], stdout=log, stderr=log, cwd=self.folder)

    def _start_etcd(self) -> None:
        client = f"http://127.0.0.1:{self._etcd_port}"
        peer = f"http://127.0.0.1:{self._peer_port}"
        self._etcd = self._run(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )

    def start(self) -> None:
        """Start the API server, and wait until it is ready."""
        key = str(self.certificate.key)
        self._server = self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={self.certificate.cert}",
            f"--tls-private-key-file={key}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--external-hostname=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://meshtrio.test",
            f"--service-account-key-file={self.certificate.cert}",
            f"--service-account-signing-key-file={key}",
            # Nobody makes the service accounts that it would want each pod to have.
            "--disable-admission-plugins=ServiceAccount",
            f"--watch-cache={str(self._watch_cache).lower()}",
        )
        until = time.monotonic() + READY_S
        while not self._is_ready():
            assert self._server.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            return self.call("GET", "/readyz") == b"ok"
        except OSError:
            return False

    def stop(self) -> None:
        """Kill the API server."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def freeze(self) -> None:
        """Let it stand still: its connections stay, and it says nothing."""
        assert self._server is not None
        os.kill(self._server.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._server is not None
        os.kill(self._server.pid, signal.SIGCONT)

    def log(self) -> str:
        """Give the end of what the API server has logged."""
        path = self.folder / "kube-apiserver.log"
        return path.read_text()[-4000:] if path.exists() else "no log"

    def call(self, method: str, path: str, body: object = None, token: str = ADMIN) -> bytes:
        """Ask it something, as a client that knows nothing of it. OSError if it says no."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10, context=self._trust) as response:
            said: bytes = response.read()
            return said

    def compact(self) -> None:
        """Let etcd forget all that is not true any more."""
        client = f"http://127.0.0.1:{self._etcd_port}"
        key = base64.b64encode(b"x").decode()

        def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
            request = urllib.request.Request(client + path, json.dumps(body).encode())
            with urllib.request.urlopen(request, timeout=10) as response:
                answer: dict[str, Any] = json.load(response)
                return answer

        revision = ask("/v3/kv/range", {"key": key})["header"]["revision"]
        ask("/v3/kv/compaction", {"revision": revision, "physical": True})

    def kubectl(self, *arguments: str, documents: object = None) -> str:
        """Run kubectl as the one who may everything; `documents` are its standard input."""
        ran = subprocess.run(
            [
                PROGRAMS / "kubectl",
                f"--server={self.url}",
                f"--certificate-authority={self.certificate.cert}",
                f"--token={ADMIN}",
                *arguments,
            ],
            input=None if documents is None else json.dumps(documents),
            capture_output=True,
            text=True,
            check=False,
            env={"HOME": str(self.folder), "PATH": "/usr/bin:/bin"},
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create or change objects, by kubectl apply."""
        self.kubectl("apply", "-f", "-", documents={"kind": "List", "apiVersion": "v1", "items": [*objects]})
