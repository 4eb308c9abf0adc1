"""Shell. Meshtrio with mutual TLS between two agents, as a peer of the bench. Nothing crosses it in plain."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench import credentials
from tests.bench.backend import Place, address_text, virtual_ip
from tests.bench.credentials import FAR_ID, Files
from tests.bench.mesh import ROOT
from tests.bench.peer import Standing, unmeshed_workload
from tests.bench.process import running, tail
from tests.bench.scenario import Target
from tests.bench.wire import Spot, many_addresses
from tests.support.leaks import BPFFS

PORTS: dict[Target, int] = {"echo": 7000, "anew": 7001, "http": 80}
READY_S = 30.0


def catalog(place: Place, virtual: str) -> str:
    """Write what the near side knows. "anew" has more endpoints than sessions are kept for."""
    port = place.servers["echo"][1]
    endpoints: dict[Target, list[str]] = {
        "echo": [address_text(place.servers["echo"])],
        "http": [address_text(place.servers["http"])],
        "anew": [f"{address}:{port}" for address in many_addresses()],
    }
    services = [
        {
            "name": f"bench-{target}",
            "vips": [virtual],
            "ports": [{"port": PORTS[target]}],
            "endpoints": [{"address": address, "identity": FAR_ID} for address in addresses],
        }
        for target, addresses in endpoints.items()
    ]
    return json.dumps({"services": services})


def configuration(folder: Path, files: Files, spot: Spot, *, side: str, ports: Sequence[int] = ()) -> str:
    """Write the configuration of one agent and its workload. The bytecode cache is the machine's."""
    workload = {"name": side, "cgroup": str(spot.group), "netns": spot.netns, "ports": list(ports)}
    return json.dumps(
        {
            "workers": 1,
            "rung": "ebpf",
            "catalog": {"file": str(folder / f"{side}.catalog")},
            "paths": {
                "control": str(folder / f"{side}.sock"),
                "pins": str(BPFFS / f"meshtrio-bench-{os.getpid()}-{side}"),
            },
            "identity": {
                "trust_domain": "bench",
                "directory": str(folder / side),
                "root_certificate": str(files.root),
                "root_key": str(files.root_key),
            },
            "mtls": {"mode": "strict"},
            "workloads": [{**workload, "namespace": "bench", "service_account": side}],
            "discovery": {"registration": {"state": str(folder / f"{side}.db")}},
            "log": {"level": "warning"},
        }
    )


class MutualMeshtrio:
    """Two agents with a worker each, all on the proxy's core; load and servers are their workloads."""

    name = "meshtrio-mtls"
    hops = 2
    programs: tuple[str, ...] = ()

    def hindrance(self) -> str | None:
        """Say why it cannot run here, or None."""
        return None if os.geteuid() == 0 else "needs root"

    def role_of(self, words: list[str]) -> str:
        """The one that was started is the agent; it names its workers by their command."""
        return "worker" if "meshtrio.worker_process" in words else "agent"

    @contextlib.contextmanager
    def stand(self, place: Place) -> Iterator[Standing]:
        """Run both agents and the load."""
        assert place.wire is not None
        folder, virtual = place.folder, virtual_ip()
        files = credentials.write(folder)
        (folder / "near.catalog").write_text(catalog(place, virtual))
        (folder / "far.catalog").write_text(json.dumps({"services": []}))
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            agents: list[tuple[subprocess.Popen[str], Path, Path]] = []
            for side, spot in (("far", place.wire.far), ("near", place.wire.near)):
                ports = [port for _, port in place.servers.values()] if side == "far" else []
                settings, log = folder / f"{side}.yaml", folder / f"{side}.log"
                settings.write_text(configuration(folder, files, spot, side=side, ports=sorted(set(ports))))
                words = [sys.executable, "-m", "meshtrio", "agent", "--config", str(settings)]
                agent = running(words, place.cores.proxy, log=log, cwd=ROOT, spot=spot)
                agents.append((stack.enter_context(agent), folder / f"{side}.sock", log))
            for started in agents:
                wait_until_ready(*started)
            ready_s = time.monotonic() - began
            workload = stack.enter_context(unmeshed_workload(place))
            dial: dict[Target, tuple[str, int]] = {target: (virtual, port) for target, port in PORTS.items()}
            yield Standing(workload, dial, tuple(agent.pid for agent, _, _ in agents), ready_s)


def wait_until_ready(agent: "subprocess.Popen[str]", control: Path, log: Path) -> None:
    """Wait until an agent serves, and its workloads have certificates. RuntimeError if it ends or is late."""
    until = time.monotonic() + READY_S
    while agent.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if ask(control, "GET", "/readyz")[0] == 200:
                shown = ask(control, "GET", "/v1/certs")[1]["certificates"]
                if shown and all(one["serial"] for one in shown):
                    return
        time.sleep(0.02)
    raise RuntimeError(f"the agent is not ready: {tail(log)}")


def ask(control: Path, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Ask an agent at its control socket. OSError if nobody answers."""
    connection = http.client.HTTPConnection("agent", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    with contextlib.closing(connection):
        connection.sock.settimeout(10)
        connection.sock.connect(str(control))
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        text = answer.read()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text.decode()
