"""Shell. `python -m tests.bench.catalog`: an agent with a large catalog, from a Kubernetes API on loopback.

Measured from outside, on a real agent: how long it loads, what it holds, and how long it is from the API
server's change until a workload's connection goes elsewhere, and until the kernel's map knows.
"""

import argparse
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import trio

from meshtrio.address import Address
from meshtrio.benchmark.procfs import processes, rss_mb, user_and_system
from meshtrio.catalog.service import Endpoint, Found, Service, ServicePort
from meshtrio.channel import local_pair
from meshtrio.intercept import bpf
from meshtrio.interest import Interest
from meshtrio.messages import Resolved
from meshtrio.route.table import RouteTable
from tests.bench.map_lookup import lookup_ns
from tests.bench.mesh import ROOT
from tests.bench.process import free_ports, running, tail
from tests.bench.publications import GOAL, publications
from tests.support.kubernetes import ApiServer
from tests.support.kubernetes_objects import service, slice_of
from tests.support.leaks import BPFFS

CLIENT = Path(__file__).with_name("catalog_client.py")
NAME = f"bench-{os.getpid()}"
"""Of the workload and of our pins, so that two runs at a time do not meet."""
PINS = BPFFS / f"meshtrio-{NAME}"
BURST = 1000
VIP, PORT = "10.200.0.1", 80
Measured = dict[str, float]


class Bench:
    """One API server, one agent, one client in the mesh, and two servers to go back and forth between."""

    def __init__(self, folder: Path, api: ApiServer, options: argparse.Namespace) -> None:
        self.folder, self.api, self.options = folder, api, options
        self.log = folder / "agent.log"
        self.config = folder / "meshtrio.yaml"
        self.control = folder / "control.sock"
        self.agent = 0
        self.measured: Measured = {}
        self._kernel = -1
        self._ports: list[int] = []

    def run(self) -> Measured:
        """Measure everything. RuntimeError, with the agent's log, if something does not come."""
        self._fill()
        self._configure()
        began = time.monotonic()
        words = [sys.executable, "-m", "meshtrio", "agent", "--config", str(self.config)]
        with contextlib.ExitStack() as undo:
            self._ports = [undo.enter_context(answering(said)) for said in (b"a", b"b")]
            self.agent = undo.enter_context(running(words, 0, log=self.log, cwd=ROOT)).pid
            os.sched_setaffinity(self.agent, range(os.cpu_count() or 1))
            self._until(lambda: self._status().get("ready"))
            self.measured["ready_s"] = time.monotonic() - began
            whole = self.options.services * self.options.endpoints
            self._until(lambda: self._status()["catalog"]["endpoints"] >= whole)
            self.measured["loaded_s"] = time.monotonic() - began
            catalog = self._status()["catalog"]
            self.measured |= {"services": catalog["services"], "endpoints": catalog["endpoints"]}
            time.sleep(2)
            self.measured["agent_rss_mib"] = rss_mb(self.agent)
            self._kernel = bpf.open_pinned(str(PINS / "maps" / "services"))
            undo.callback(os.close, self._kernel)
            client = undo.enter_context(self._client())
            self.measured["kernel_lookup_ns"] = lookup_ns(self._kernel, Address.of(VIP, PORT).pack())
            self.measured |= self._changes(client, "quiet")
            self._burst()
            cpu, since = self._cpu_s(), time.monotonic()
            with self._churning() as made:
                self.measured |= self._changes(client, "churn")
            took = time.monotonic() - since
            self.measured["churn_per_s"] = made[0] / took
            self.measured["churn_agent_core_percent"] = 100 * (self._cpu_s() - cpu) / took
            self.measured |= self._names(client)
            workers = self._status()["workers"]
            self.measured["worker_rss_mib"] = max(rss_mb(one["pid"]) for one in workers)
            self.measured["agent_rss_after_mib"] = rss_mb(self.agent)
        return self.measured

    def _fill(self) -> None:
        for number in range(self.options.services):
            high, low = divmod(number, 250)
            self.api.store.put("services", service(f"svc-{number}", f"10.97.{high}.{low + 1}"))
            self.api.store.put("endpointslices", self._slice(number, 0))
        self.api.store.put("services", service("target", VIP))

    def _ips(self, number: int, shift: int) -> list[str]:
        """List a service's endpoints; by `shift` the first of them has another address."""
        count = self.options.endpoints
        first = number * (count + 1)
        places = [first + shift * count, *range(first + 1, first + count)]
        return [f"10.{100 + (at >> 16)}.{at >> 8 & 255}.{at & 255}" for at in places]

    def _slice(self, number: int, shift: int) -> dict[str, Any]:
        return slice_of(f"svc-{number}", self._ips(number, shift))

    def _aim(self, at: int) -> Address:
        """Let the target have one endpoint, the first or the second server."""
        one = slice_of("target", [f"127.0.0.{at + 1}"])
        one["ports"][0]["port"] = self._ports[at]
        self.api.store.put("endpointslices", one)
        return Address.of(f"127.0.0.{at + 1}", self._ports[at])

    def _configure(self) -> None:
        kubeconfig = self.folder / "kubeconfig"
        named = {"name": "bench"}
        clusters = [named | {"cluster": {"server": self.api.url}}]
        users = [named | {"user": {"token": "t"}}]
        contexts = [named | {"context": {"cluster": "bench", "user": "bench"}}]
        text = {"clusters": clusters, "users": users, "contexts": contexts, "current-context": "bench"}
        kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config"} | text))
        inbound, outbound, admin, dns = free_ports(4)
        self.config.write_text(
            json.dumps(
                {
                    "workers": 2,
                    "discovery": {
                        "kubernetes": {"enabled": True, "kubeconfig": str(kubeconfig)},
                        "registration": {"state": str(self.folder / "state.db")},
                    },
                    "paths": {"control": str(self.control), "pins": str(PINS)},
                    "ports": {"inbound": inbound, "outbound": outbound, "admin": admin, "dns": dns},
                    "log": {"level": "warning"},
                }
            )
        )

    def _status(self) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(str(self.control))
                sock.sendall(b"GET /v1/status HTTP/1.0\r\nHost: x\r\n\r\n")
                raw = b"".join(iter(lambda: sock.recv(1 << 16), b""))
            except OSError:
                return {}
        found: dict[str, Any] = json.loads(raw.partition(b"\r\n\r\n")[2])
        return found

    def _until(self, true: Callable[[], object], within_s: float = 120) -> None:
        until = time.monotonic() + within_s
        while not true():
            if time.monotonic() > until:
                raise RuntimeError(f"it does not come: {tail(self.log)}")
            time.sleep(0.05)

    def _cpu_s(self) -> float:
        return sum(user_and_system(processes(), [self.agent]))

    @contextlib.contextmanager
    def _client(self) -> Iterator[subprocess.Popen[str]]:
        self._aim(0)
        words = [
            sys.executable,
            "-m",
            "meshtrio",
            "exec",
            "--config",
            str(self.config),
            "--name",
            NAME,
            "--",
        ]
        words += [sys.executable, str(CLIENT), VIP, str(PORT)]
        client = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)
        try:
            self._line(client)
            yield client
        finally:
            client.terminate()
            client.wait()
            for pipe in (client.stdin, client.stdout):
                if pipe is not None:
                    pipe.close()

    def _line(self, client: subprocess.Popen[str]) -> str:
        assert client.stdout is not None
        line = client.stdout.readline()
        if not line:
            raise RuntimeError(f"the client has ended: {tail(self.log)}")
        return line

    def _heard(self, client: subprocess.Popen[str], server: str, since: float) -> float:
        """Say when this server answered first since then.

        While two workers hear of a change one after the other, the client may meet the old server once more.
        """
        while True:
            said, moment = self._line(client).split()
            if said == server and float(moment) >= since:
                return float(moment)

    def _changes(self, client: subprocess.Popen[str], when: str) -> Measured:
        used, mapped = [], []
        for number in range(1, self.options.changes + 1):
            time.sleep(random.uniform(0.01, 0.15))
            began = time.monotonic()
            address = self._aim(number % 2)
            while bpf.look_up(self._kernel, address.pack(), 4) is None:
                time.sleep(0.0002)
            mapped.append(time.monotonic() - began)
            used.append(self._heard(client, "ab"[number % 2], began) - began)
        return {
            f"{what}_{when}_{rank}_ms": 1000 * sorted(values)[int(len(values) * share)]
            for what, values in (("map_knows", mapped), ("worker_uses", used))
            for rank, share in (("p50", 0.5), ("p99", 0.99))
        }

    def _burst(self) -> None:
        """Let many services change at once, and look when the kernel's map knows of each of them."""
        before = self._status()["catalog"]["version"]
        numbers = range(min(BURST, self.options.services))
        burst = [self._slice(number, 1) for number in numbers]
        port = burst[0]["ports"][0]["port"]
        keys = [Address.of(self._ips(number, 1)[0], port).pack().hex() for number in numbers]
        words = [sys.executable, "-m", "tests.bench.map_watcher", str(self._kernel), "20"]
        with subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
            pass_fds=[self._kernel],
        ) as watcher:
            assert watcher.stdin is not None
            watcher.stdin.write("\n".join(keys) + "\n\n")
            watcher.stdin.flush()
            self._line(watcher)
            began = time.monotonic()
            self.api.store.put("endpointslices", *burst)
            seen_at_s = [moment - began for moment in json.loads(self._line(watcher))]
        if len(seen_at_s) < len(keys):
            missing = len(keys) - len(seen_at_s)
            raise RuntimeError(f"the kernel's map does not know of {missing} changes: {tail(self.log)}")
        published = publications(seen_at_s)
        self.measured |= {
            "burst_changes": len(burst),
            "burst_publications": len(published),
            "burst_publications_goal": GOAL,
            "burst_first_ms": 1000 * published[0].first_s,
            "burst_all_ms": 1000 * published[-1].last_s,
            # As the agent counts: each publication is a version of the catalog.
            "burst_versions": self._status()["catalog"]["version"] - before,
        }

    @contextlib.contextmanager
    def _churning(self) -> Iterator[list[int]]:
        made, ended = [0], threading.Event()

        def churn() -> None:
            began = time.monotonic()
            while not ended.wait(max(0.0, began + made[0] / 100 - time.monotonic())):
                changed = self._slice(random.randrange(self.options.services), random.randrange(2))
                self.api.store.put("endpointslices", changed)
                made[0] += 1

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            yield made
        finally:
            ended.set()
            thread.join()

    def _names(self, client: subprocess.Popen[str]) -> Measured:
        assert client.stdin is not None
        client.stdin.write(f"names {self.options.services}\n")
        client.stdin.flush()
        while not (line := self._line(client)).startswith("{"):
            pass  # it dialled once more
        found: Measured = json.loads(line)
        return found


@contextlib.contextmanager
def answering(said: bytes) -> Iterator[int]:
    """Answer each connection with one byte, from a thread, and give the port."""
    with socket.create_server(("", 0), backlog=512) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as sock:
                        sock.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def lookup_us(rounds: int = 100_000) -> float:
    """Measure what finding the route of a known address costs a worker, in microseconds."""
    address = Address.of(VIP, PORT)
    port = ServicePort("http", PORT, (Endpoint("a", Address.of("10.0.0.1", 80)),))
    ours: Any = local_pair()

    async def measure() -> float:
        interest = Interest(ours[1])
        interest._asked[address] = trio.Event()
        interest.learn(Resolved(address, Found(Service("target", ports=(port,)), port)))
        table = RouteTable()
        began = time.perf_counter()
        for _ in range(rounds):
            table.route(address, await interest.find(address))
        return (time.perf_counter() - began) / rounds * 1e6

    return trio.run(measure)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a number a line as JSON. 0 when all was measured."""
    parser = argparse.ArgumentParser(prog="bench.catalog", description=__doc__)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--endpoints", type=int, default=10, help="of each service (10)")
    parser.add_argument("--changes", type=int, default=200, help="single changes to time (200)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ApiServer() as api:
        measured = Bench(Path(name), api, options).run()
    measured["worker_lookup_us"] = lookup_us()
    for key, value in measured.items():
        print(json.dumps({key: round(value, 2)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
