"""Shell. Meshtrio as a peer of the bench: `meshtrio exec` with the load as its program, one rung each."""

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.backend import Place, address_text, virtual_ip
from tests.bench.peer import Standing
from tests.bench.process import free_ports, running
from tests.bench.scenario import Target
from tests.bench.workload import Entrance

ROOT = Path(__file__).parents[2]
PORTS: dict[Target, int] = {"echo": 7000, "http": 80}


def catalog(place: Place, virtual: str) -> str:
    """Write the file catalog: one service of each target, on one virtual address. JSON is YAML."""
    services = [
        {
            "name": f"bench-{target}",
            "vips": [virtual],
            "ports": [{"port": PORTS[target]}],
            "endpoints": [{"address": address_text(place.servers[target])}],
        }
        for target in PORTS
    ]
    return json.dumps({"services": services})


def configuration(place: Place, services: Path) -> str:
    """Write the configuration: ports and control socket of its own, so that no agent of this machine minds.

    It logs no connection, as HAProxy does not either. The bytecode cache is the machine's.
    """
    inbound, outbound, admin = free_ports(3)
    return json.dumps(
        {
            "catalog": {"file": str(services)},
            "paths": {"control": str(place.folder / "control.sock")},
            "ports": {"inbound": inbound, "outbound": outbound, "admin": admin},
            "log": {"level": "warning"},
        }
    )


class Meshtrio:
    """One worker on the proxy's core, in the mesh by one rung: "ebpf" or "nft"."""

    hops = 1
    programs: tuple[str, ...] = ()
    workload = "bench"
    workers = 1

    def __init__(self, rung: str) -> None:
        self._rung = rung
        self.name = f"meshtrio-{rung}"

    def hindrance(self) -> str | None:
        """Say why it cannot run here, or None."""
        if importlib.util.find_spec("meshtrio.cli.exec") is None:
            return "`meshtrio exec` is not there yet"
        return None if os.geteuid() == 0 else "needs root"

    def role_of(self, words: list[str]) -> str:
        """The one that was started is the agent; it names its workers by their command."""
        return "worker" if "meshtrio.worker_process" in words else "agent"

    def catalog(self, place: Place, virtual: str) -> str:
        """Write the file catalog; another peer may want other services."""
        return catalog(place, virtual)

    def configured(self, place: Place, services: Path) -> str:
        """Write the configuration; another peer may want a little of it otherwise."""
        return configuration(place, services)

    @contextlib.contextmanager
    def stand(self, place: Place) -> Iterator[Standing]:
        """Run the mesh with the load in it. The bytecode cache is warm from the second time on."""
        virtual = virtual_ip()
        settings, services = place.folder / "meshtrio.yaml", place.folder / "catalog.yaml"
        services.write_text(self.catalog(place, virtual))
        settings.write_text(self.configured(place, services))
        entrance = Entrance(place.folder)
        log = place.folder / f"{self.name}.log"
        words = [sys.executable, "-m", "meshtrio", "exec", "--config", str(settings), "--name", self.workload]
        words += ["--rung", self._rung, "--workers", str(self.workers), "--", *entrance.command]
        with (
            entrance.open() as door,
            running(words, place.cores.proxy, log=log, cwd=ROOT) as agent,
            entrance.admit(door, agent, place.cores.client, log=log) as workload,
        ):
            dial: dict[Target, tuple[str, int]] = {target: (virtual, port) for target, port in PORTS.items()}
            yield Standing(workload, dial, (agent.pid,), entrance.ready_s)
