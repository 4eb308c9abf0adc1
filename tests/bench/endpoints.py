"""Shell. Several endpoints of one service, one client that asks at a fixed rate, and who is between them.

Meshtrio by settings of `traffic`, and HAProxy (leastconn) behind an nf_tables redirect: both intercept what
the client dials, an address that nobody has.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from meshtrio.benchmark.cores import Cores
from tests.bench.asker import Row
from tests.bench.backend import HOST, Place, address_text
from tests.bench.mesh import PORTS, ROOT, Meshtrio, configuration
from tests.bench.peer import Peer, RedirectedHAProxy, Standing, redirected, unmeshed_workload
from tests.bench.process import free_ports, running, wait_for_port

ASKER = Path(__file__).with_name("asker.py")
HAPROXY = """
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen all
    bind {host}:{port} backlog 4096
    balance leastconn
{servers}
"""


class Field(NamedTuple):
    """The endpoints, and where they and all else stand."""

    place: Place
    ports: list[int]
    first: int
    """The process that serves, to be told by signals (answerers.py)."""

    @property
    def asked(self) -> list[tuple[float, bool]]:
        """When the first endpoint was asked, and whether it reset that."""
        lines = (self.place.folder / "answerers.log").read_text().splitlines()
        return [(float(line.split()[0]), line.endswith("1")) for line in lines]


@contextlib.contextmanager
def answering(folder: Path, cores: Cores, count: int, slow_ms: float = 0) -> Iterator[Field]:
    """Run so many endpoints, of which the first takes so much longer."""
    ports, log = free_ports(count), folder / "answerers.log"
    log.unlink(missing_ok=True)
    words = [sys.executable, "-m", "tests.bench.answerers", str(slow_ms), *map(str, ports)]
    with running(words, cores.server, log=log, cwd=ROOT) as process:
        for port in ports:
            wait_for_port(port, process, within_s=10, log=log)
        yield Field(
            Place(folder, cores, {"echo": (HOST, ports[0]), "http": (HOST, ports[0])}), ports, process.pid
        )


class BalancingMeshtrio(Meshtrio):
    """One service with these endpoints, under these settings of `traffic`."""

    workload = f"bench-{os.getpid()}"

    def __init__(self, ports: list[int], traffic: Mapping[str, Any], workers: int = 1) -> None:
        super().__init__("ebpf")
        self.workers = workers
        self._ports, self._traffic = ports, traffic

    def catalog(self, place: Place, virtual: str) -> str:
        """Write the file catalog."""
        endpoints = [{"address": address_text((HOST, port))} for port in self._ports]
        one = {"name": "bench", "vips": [virtual], "ports": [{"port": PORTS["echo"]}], "endpoints": endpoints}
        return json.dumps({"services": [one]})

    def configured(self, place: Place, services: Path) -> str:
        """Write the configuration."""
        return json.dumps(json.loads(configuration(place, services)) | {"traffic": self._traffic})


class BalancingHAProxy(RedirectedHAProxy):
    """The same, by leastconn."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports

    @contextlib.contextmanager
    def stand(self, place: Place) -> Iterator[Standing]:
        """Set the rules, run HAProxy and the load; the table is gone afterwards."""
        (port,) = free_ports(1)
        settings, log = place.folder / "haproxy.cfg", place.folder / "haproxy.log"
        servers = "\n".join(f"    server s{one} {HOST}:{one}" for one in self._ports)
        settings.write_text(HAPROXY.format(host=HOST, port=port, servers=servers))
        with running(["haproxy", "-db", "-f", str(settings)], place.cores.proxy, log=log) as process:
            wait_for_port(port, process, within_s=5, log=log)
            with redirected(port, port) as dial, unmeshed_workload(place) as workload:
                yield Standing(workload, dial, (process.pid,), None)


def asked(peer: Peer, field: Field, rate: float, seconds: float) -> list[Row]:
    """Let the client ask at this rate through this peer, and give what became of each, by when it was due."""
    with peer.stand(field.place) as standing:
        return ask(standing, field, rate, seconds)


def ask(standing: Standing, field: Field, rate: float, seconds: float) -> list[Row]:
    """Let the client ask where a peer stands."""
    ip, port = standing.dial["echo"]
    file = field.place.folder / "asked.json"
    words = [sys.executable, str(ASKER), ip, str(port), f"{rate:g}", f"{seconds:g}", str(file)]
    standing.workload.run(words, within_s=seconds + 20)
    rows = [(float(due), float(took), int(who)) for due, took, who in json.loads(file.read_text())]
    return sorted(rows)


def percentile_ms(rows: list[Row], share: float) -> float:
    """Give the time that this share of the requests took at most, in milliseconds."""
    took = sorted(row[1] for row in rows)
    return 1000 * took[min(len(took) - 1, int(len(took) * share))]
