"""Shell. Meshtrio as a peer of the bench whose load goes past it: it and its server are workloads.

A server cannot be in the mesh and outside of it, so whoever is compared with it has one of his own, too: with
as many connections in TIME_WAIT, and as much or little of the caches.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.backend import HOST, Place, virtual_ip
from tests.bench.mesh import PORTS, ROOT, Meshtrio, catalog, configuration
from tests.bench.mtls_mesh import ask, wait_until_ready
from tests.bench.peer import Standing, Unmeshed, unmeshed_workload
from tests.bench.process import running, tail
from tests.bench.workload import Workload
from tests.support.leaks import BPFFS
from tests.support.namespace_door import cgroup

GRANTED_S = 20.0


class ServedApart(Unmeshed):
    """No mesh, and an echo server of its own."""

    def __init__(self, tools: Path) -> None:
        """Take the folder of the programs that toolchain.py has built."""
        super().__init__()
        self._tools = tools

    @contextlib.contextmanager
    def stand(self, place: Place) -> Iterator[Standing]:
        """Run server and load."""
        with contextlib.ExitStack() as stack:
            group = stack.enter_context(cgroup(stack.enter_context(cgroup())))
            ours = stack.enter_context(served(place, self._tools, group))
            standing = stack.enter_context(super().stand(ours))
            yield standing._replace(server=ours.server)


class MeshtrioGranted(Meshtrio):
    """An agent with one worker; both ends are its workloads."""

    def __init__(self, tools: Path) -> None:
        """Take the folder of the programs that toolchain.py has built."""
        super().__init__("ebpf")
        self._tools = tools
        self.name = "granted"

    @contextlib.contextmanager
    def stand(self, place: Place) -> Iterator[Standing]:
        """Run agent, server and load. RuntimeError at the begin if connections are not granted, or at the end
        if any was relayed.
        """
        folder, virtual = place.folder, virtual_ip()
        with contextlib.ExitStack() as stack:
            parent = stack.enter_context(cgroup())
            groups = {name: stack.enter_context(cgroup(parent)) for name in ("load", "server")}
            ours = stack.enter_context(served(place, self._tools, groups["server"]))
            settings, services, log = folder / "agent.yaml", folder / "catalog.yaml", folder / "agent.log"
            services.write_text(catalog(ours, virtual))
            settings.write_text(_configuration(ours, services, groups))
            words = [sys.executable, "-m", "meshtrio", "agent", "--config", str(settings)]
            agent = stack.enter_context(running(words, place.cores.proxy, log=log, cwd=ROOT))
            control = folder / "control.sock"
            wait_until_ready(agent, control, log)
            workload = stack.enter_context(unmeshed_workload(ours))
            (groups["load"] / "cgroup.procs").write_text(str(workload.pid))
            _wait_until_granted(control, log)
            dial = virtual, PORTS["echo"]
            _check(workload, [str(self._tools / "client"), "slots", dial[0], str(dial[1])], control)
            yield Standing(workload, {"echo": dial}, (agent.pid,), None, ours.server)
            if relayed := _hooks(control).get("redirected", 0):
                raise RuntimeError(f"{relayed} connections were relayed")


@contextlib.contextmanager
def served(place: Place, tools: Path, group: Path) -> Iterator[Place]:
    """Run an echo server in a cgroup, and give the place with that one in it."""
    words = ["sh", "-c", 'echo $$ >"$0"; exec "$@"', str(group / "cgroup.procs"), str(tools / "server"), HOST]
    with running(words, place.cores.server, log=place.folder / "server.log", piped=True) as server:
        assert server.stdout is not None
        echo = HOST, int(server.stdout.readline())
        yield place._replace(servers={**place.servers, "echo": echo}, server=server.pid)


def _configuration(place: Place, services: Path, groups: dict[str, Path]) -> str:
    """Write the configuration: of the agent, and of both workloads."""
    folder = place.folder
    settings = json.loads(configuration(place, services))
    settings["paths"]["pins"] = str(BPFFS / f"meshtrio-bench-{os.getpid()}-granted")
    who = {"load": {"acceleration": "r5"}, "server": {}}
    return json.dumps(
        {
            **settings,
            "workers": 1,
            "rung": "ebpf",
            "identity": {"directory": str(folder / "identity")},
            "mtls": {"mode": "strict", "same_node": "kernel"},
            "traffic": {"direct": "auto", "retries": {"attempts": 0}},
            "workloads": [
                {"name": name, "cgroup": str(groups[name]), "service_account": name, **more}
                for name, more in who.items()
            ],
            "discovery": {"registration": {"state": str(folder / "state.db")}},
        }
    )


def _hooks(control: Path) -> dict[str, int]:
    counts: dict[str, int] = ask(control, "GET", "/v1/status")[1]["hooks"]
    return counts


def _wait_until_granted(control: Path, log: Path) -> None:
    until = time.monotonic() + GRANTED_S
    while True:
        told = ask(control, "GET", "/v1/services")[1]["services"]
        (port,) = next(one["ports"] for one in told if one["name"] == "bench-echo")
        if port["path"] == "granted":
            return
        if time.monotonic() > until:
            raise RuntimeError(f"nothing is granted: {port}: {tail(log)}")
        time.sleep(0.05)


def _check(workload: Workload, client: list[str], control: Path) -> None:
    before = _hooks(control).get("passed_granted", 0)
    with workload.converse([*client, "connect", "1"], within_s=20) as some:
        done = some.ask("5")
    passed = _hooks(control).get("passed_granted", 0) - before
    if not 0 < done["operations"] <= passed:
        raise RuntimeError(f"{passed} of {done['operations']:.0f} connections were granted")
