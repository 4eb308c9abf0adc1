"""Shell. The demo's play: what is done on the stage, and whether it truly happened. Does not print.

Every scene looks at what the programs were answered; the last ones look at what the agent, the hooks and
the metrics say of the same connections.
"""

import collections
import contextlib
import http.client
import re
import shutil
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import trio

from meshtrio.cli.complaint import Complaint
from meshtrio.cli.selftest import has_ipv6
from meshtrio.cli.stage import VIP4, VIP6, Stage
from meshtrio.intercept import cgroup

TELLING_S = 4.0
"""Workers tell what ended once a second."""

_URLLIB = """
import sys, urllib.request
for url in sys.argv[1:]:
    print(urllib.request.urlopen(url, timeout=5).read().decode())
"""


class Step(NamedTuple):
    """One thing that was to happen."""

    name: str
    ok: bool
    says: str


class Visit(NamedTuple):
    """One client: whom it dials, how often, and which server must not be needed."""

    name: str
    vip: str
    times: int
    without: str = ""

    @property
    def destination(self) -> str:
        """The address as the agent writes it."""
        return f"[{self.vip}]:80" if ":" in self.vip else f"{self.vip}:80"


class Play:
    """All scenes, and what became of them."""

    def __init__(self, stage: Stage, told: Callable[[Step], None]) -> None:
        """`told` hears of every step as soon as it is over."""
        self._stage = stage
        self._told = told
        self._answers: collections.Counter[str] = collections.Counter()
        self._expected: collections.Counter[str] = collections.Counter()
        self.steps: list[Step] = []
        self.status: dict[str, Any] = {}
        self.connections: list[dict[str, Any]] = []

    async def run(self) -> None:
        """Play everything; a scene that fails does not keep the others from being tried."""
        stage = self._stage
        self.status = await stage.ask("/v1/status")
        self._introduce()
        curl = "curl" if shutil.which("curl") else "python urllib"
        await self._visit(Visit(f"{curl} to {VIP4}", VIP4, 6), _fetching(VIP4, 6))
        if has_ipv6():
            await self._visit(Visit(f"{curl} to [{VIP6}]", VIP6, 3), _fetching(VIP6, 3))
        urllib = [sys.executable, "-c", _URLLIB, f"http://{VIP4}/"]
        await self._visit(Visit(f"python urllib to {VIP4}", VIP4, 1), urllib)
        gone = await stage.stop_server(1)
        await self._visit(Visit(f"after {gone.name} was stopped", VIP4, 3, gone.name), _fetching(VIP4, 3))
        await self._look_at_connections()
        await self._look_at_counters()
        self.status = await stage.ask("/v1/status")

    def _introduce(self) -> None:
        servers = ", ".join(f"{server.name} at {server.address}" for server in self._stage.servers)
        self._note("servers", True, f"{len(self._stage.servers)} x {self._stage.program}: {servers}")
        rung = self.status["rung"]
        why = f", for {rung['why']}" if rung["why"] else ""
        says = f"ready after {self.status['uptime_s']} s, on rung {rung['in_use']}{why}"
        self._note("agent", bool(self.status["ready"]), says)

    async def _visit(self, visit: Visit, command: list[str]) -> None:
        """Let a program dial the virtual address; each endpoint that lives must answer its share."""
        try:
            answers = await self._stage.run_inside(*command)
        except Complaint as failed:
            self._note(visit.name, False, str(failed))
            return
        self._expected[visit.destination] += visit.times
        self._answers.update(answers)
        living = {server.name for server in self._stage.servers} - {visit.without}
        shares = collections.Counter(answers)
        ok = len(answers) == visit.times and set(shares) <= living
        if not visit.times % len(living):
            ok = ok and shares == dict.fromkeys(living, visit.times // len(living))
        self._note(visit.name, ok, "answered by " + ", ".join(answers))

    async def _look_at_connections(self) -> None:
        """Hold the agent's records against what the programs saw."""
        wanted = sum(self._expected.values())
        with trio.move_on_after(TELLING_S):
            while len(self.connections) < wanted:
                told = await self._stage.ask("/v1/connections")
                self.connections = [one for one in reversed(told["ended"]) if one["direction"] == "outbound"]
                await trio.sleep(0.1)
        dialled = collections.Counter(one["destination"] for one in self.connections)
        self._note("original destinations", dialled == self._expected, _counted(dialled))
        by_address = {server.address: server.name for server in self._stage.servers}
        chosen = collections.Counter(by_address.get(one["endpoint"], "?") for one in self.connections)
        self._note("endpoints chosen", chosen == self._answers, _counted(chosen))
        outcomes = collections.Counter(one["outcome"] for one in self.connections)
        carried = set(outcomes) == {"carried"} and all(one["received_bytes"] for one in self.connections)
        self._note("outcomes", carried, _counted(outcomes))

    async def _look_at_counters(self) -> None:
        wanted = sum(self._expected.values())
        if {one["rung"] for one in self.connections} == {"ebpf"}:
            hooks = (await self._stage.ask("/v1/status"))["hooks"]
            self._note("hooks", hooks.get("redirected", 0) >= wanted, _counted(hooks))
        else:
            self._note("hooks", bool(self.connections), "none: nf_tables rules caught the connections")
        text = await trio.to_thread.run_sync(_metrics, self._stage.admin_port)
        counted = sum(
            float(value)
            for value in re.findall(r"^istio_tcp_connections_closed_total\{.*\} (\S+)$", text, re.M)
        )
        self._note("metrics", counted >= wanted, f"{counted:.0f} connections at the admin port")

    def _note(self, name: str, ok: bool, says: str) -> None:
        self.steps.append(Step(name, ok, says))
        self._told(self.steps[-1])


def aftermath(stage: Stage) -> Step:
    """Say whether the demo left anything, once the stage is gone."""
    left = [str(path) for path in (stage.folder, stage.pins) if path.exists()]
    with contextlib.suppress(OSError, cgroup.CgroupError):
        left += [str(path) for path in (cgroup.mount_point() / cgroup.OURS).glob(stage.workload)]
    code = stage.agent.returncode if stage.agent else 1
    if code:
        left.append(f"the agent ended with {code}")
    return Step("nothing is left", not left, ", ".join(left) or "hooks, cgroups, sockets and files are gone")


def _fetching(vip: str, times: int) -> list[str]:
    url = f"http://[{vip}]/" if ":" in vip else f"http://{vip}/"
    if not shutil.which("curl"):
        return [sys.executable, "-c", _URLLIB, *[url] * times]
    return [
        "sh",
        "-c",
        f"for i in {' '.join(map(str, range(times)))}; do curl -gsS -m 5 '{url}' || exit; done",
    ]


def _metrics(port: int) -> str:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        line.request("GET", "/metrics")
        return line.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        line.close()


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
