"""Shell. A whole mesh for tests: a real agent with its workers, told through its control socket.

Knows how to start, ask, stop and kill it, and what it must not leave behind. Every mesh has its own
namespace, folder, pins and control socket, so that several can stand beside each other.
"""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from meshtrio.intercept.nft_plan import table_name
from tests.support.leaks import BPFFS
from tests.support.namespace import Namespace
from tests.support.outing import CACHE
from tests.support.world import ROOT, VIP, VIP6, App, app, our_cgroup, unique

START_S = 90.0
"""How long an agent has to be ready: a hundred times what it takes, for machines that others share."""
SOON_S = 15.0
"""How long things have that happen within a second on a quiet machine."""
CALM_S = 1.0
"""How long an agent has for an orderly end when a test is over, before it is told to end at once."""

SOAK_BOTH = ("ebpf", pytest.param("nft", marks=pytest.mark.soak))
"""Rungs for tests of what lies behind the doors, which is the same on both: the second one in the soak."""

_numbers = itertools.count()


class Answer(NamedTuple):
    """What the agent answered."""

    status: int
    body: Any


class Workload(NamedTuple):
    """One that the agent has added, and an application in it."""

    name: str
    app: App
    told: dict[str, Any]


class Mesh:
    """A mesh in a namespace of its own; the agent runs as long as the block, unless it is ended earlier."""

    def __init__(
        self,
        space: Namespace,
        *,
        rung: str,
        services: Sequence[dict[str, Any]] = (),
        begin: bool = True,
        **settings: Any,
    ) -> None:
        """Prepare; entering starts the agent, if it is to begin. `settings` go over the defaults."""
        self._begin = begin
        self.space = space
        self.rung = rung
        self._folder = tempfile.TemporaryDirectory(prefix="meshtrio-e2e-")
        self.folder = Path(self._folder.name)
        self.pins = BPFFS / f"meshtrio-e2e-{os.getpid()}-{next(_numbers)}"
        self.control = self.folder / "control.sock"
        self.config_file = self.folder / "meshtrio.json"
        self.catalog_file = self.folder / "services.json"
        self.log_file = self.folder / "agent.log"
        self.settings: dict[str, Any] = {
            "rung": rung,
            "workers": 1,
            "catalog": {"file": str(self.catalog_file)},
            "paths": {"control": str(self.control), "pins": str(self.pins), "cache": str(CACHE)},
            "discovery": {"registration": {"state": str(self.folder / "state.db")}},
            "identity": {"directory": str(self.folder / "identity")},
            "log": {"level": "debug", "format": "text"},
            **settings,
        }
        self.write_services(*services)
        self.write_config()
        self.agent: subprocess.Popen[bytes] | None = None
        self.seen_pids: set[int] = set()
        self._names: list[str] = []
        self._listening: dict[str, tuple[Namespace, App]] = {}
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._undo:
            self._undo.callback(self._folder.cleanup)
            self._undo.callback(self._end)
            if self._begin:
                self.start()
            self._undo = self._undo.pop_all()
        return self

    def __exit__(self, *failed: object) -> None:
        if failed[0] is not None:
            print(self.log()[-6000:], file=sys.stderr)
        self._undo.close()

    # Its life

    def write_services(self, *services: dict[str, Any]) -> None:
        """Let the catalog be this, at once and whole."""
        self.write(self.catalog_file, json.dumps({"services": list(services)}))

    def write_config(self, **settings: Any) -> None:
        """Let the configuration be what it was, but for these."""
        self.settings.update(settings)
        self.write(self.config_file, json.dumps(self.settings))

    def write(self, path: Path, text: str) -> None:
        """Replace a file at once and whole."""
        fresh = path.with_suffix(".fresh")
        fresh.write_text(text)
        fresh.replace(path)

    def fails_to_start(self, *prefix: str, wait_s: float = START_S) -> tuple[int, str]:
        """Start an agent that cannot begin; return its exit code and all that it said."""
        said = len(self.log())
        agent = spawn(self.space, self.config_file, self.log_file, *prefix)
        try:
            return agent.wait(wait_s), self.log()[said:]
        finally:
            agent.kill()
            agent.wait()

    def start(self, *, wait_s: float = START_S) -> None:
        """Start an agent, the first or a successor, and wait until it is ready."""
        self.agent = spawn(self.space, self.config_file, self.log_file)
        self.wait(self.is_ready, wait_s)

    def is_ready(self) -> bool:
        """Say whether /readyz says so. AssertionError if the agent has ended."""
        assert self.agent is not None
        assert self.agent.poll() is None, f"the agent ended with {self.agent.returncode}:\n{self.log()}"
        with contextlib.suppress(OSError):
            ready = self.ask("GET", "/readyz").status == 200
            if ready:
                self.seen_pids |= {self.agent.pid, *self.workers()}
            return ready
        return False

    def stop(self, wait_s: float = START_S) -> int:
        """End the agent by SIGTERM, and return its exit code."""
        assert self.agent is not None
        self.agent.terminate()
        return self.agent.wait(wait_s)

    def kill_agent(self) -> None:
        """End the agent by SIGKILL."""
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()

    def signal(self, number: signal.Signals, *pids: int) -> None:
        """Send a signal to processes of this mesh."""
        for pid in pids:
            os.kill(pid, number)

    def log(self) -> str:
        """Return what agent and workers have logged."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def _end(self) -> None:
        if self.agent is not None and self.agent.poll() is None:
            with contextlib.suppress(OSError):
                self.seen_pids |= set(self.workers())
            self.agent.send_signal(signal.SIGCONT)
            self.agent.terminate()
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.agent.wait(CALM_S)
                self.agent.terminate()  # what is carried still, nobody waits for
                self.agent.wait(15)
            except subprocess.TimeoutExpired:
                self.agent.kill()
                self.agent.wait()
        for pid in self.seen_pids:
            if _runs(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for name in self._names:
            with contextlib.suppress(OSError):
                our_cgroup(name).rmdir()
        with contextlib.suppress(OSError):
            our_cgroup("").rmdir()
        for path in sorted(self.pins.rglob("*"), reverse=True) if self.pins.exists() else ():
            path.rmdir() if path.is_dir() else path.unlink()
        with contextlib.suppress(OSError):
            self.pins.rmdir()

    # What it answers

    def ask(self, method: str, path: str, body: Any = None, *, timeout_s: float = 10) -> Answer:
        """Ask at the control socket. OSError if nobody answers."""
        connection = _Unix(str(self.control), timeout_s)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as broken:
            raise OSError(str(broken)) from broken
        finally:
            connection.close()
        try:
            return Answer(answer.status, json.loads(text))
        except ValueError:
            return Answer(answer.status, text.decode())

    def status(self) -> dict[str, Any]:
        """Return what `meshtrio status` shows."""
        answer: dict[str, Any] = self.ask("GET", "/v1/status").body
        return answer

    def workers(self) -> list[int]:
        """Return the process ids of the workers that sit now."""
        return [one["pid"] for one in self.status()["workers"] if one["pid"]]

    def hooks(self) -> dict[str, int]:
        """Return the hooks' counters; empty on rung nft."""
        counts: dict[str, int] = self.status()["hooks"]
        return counts

    def live(self) -> list[dict[str, Any]]:
        """Return the connections that live."""
        found: list[dict[str, Any]] = self.ask("GET", "/v1/connections").body["live"]
        return found

    def ended(self) -> list[dict[str, Any]]:
        """Return the connections that ended, the newest first."""
        found: list[dict[str, Any]] = self.ask("GET", "/v1/connections").body["ended"]
        return found

    def wait(self, true: Callable[[], Any], wait_s: float = SOON_S) -> Any:
        """Wait until it says something true, and return that. AssertionError with the log's end if not."""
        until = time.monotonic() + wait_s
        while True:
            found = true()
            if found:
                return found
            assert time.monotonic() < until, f"waited {wait_s} s in vain:\n{self.log()[-4000:]}"
            time.sleep(0.05)

    def wait_ended(self, wanted: int, **like: Any) -> list[dict[str, Any]]:
        """Wait until so many connections that are like this have ended, and return them."""

        def found() -> list[dict[str, Any]]:
            return [one for one in self.ended() if all(one.get(name) == is_ for name, is_ in like.items())]

        try:
            self.wait(lambda: len(found()) >= wanted)
        except AssertionError as vain:
            raise AssertionError(f"wanted {wanted} like {like}, there are: {self.ended()}") from vain
        return found()

    # Workloads

    def add(self, name: str, **body: Any) -> Answer:
        """Ask the agent to add a workload."""
        self._names.append(name)
        return self.ask("PUT", f"/v1/workloads/{name}", body, timeout_s=30)

    def remove(self, name: str) -> Answer:
        """Ask the agent to remove a workload."""
        return self.ask("DELETE", f"/v1/workloads/{name}", timeout_s=30)

    @contextlib.contextmanager
    def workload(self, word: str, space: Namespace | None = None, **body: Any) -> Iterator[Workload]:
        """Add a workload with an application in it, and remove both when the block ends.

        In a namespace of its own it needs `cgroup=`, or has none (rung nft).
        """
        name = unique(word)
        netns = {} if space is None else {"netns": f"/proc/{os.getpid()}/task/{space.tid}/ns/net"}
        answer = self.add(name, **netns, **body)
        assert answer.status == 201, answer
        try:
            with app(space or self.space, answer.body["cgroup"]) as inside:
                self._listening[name] = (space or self.space, inside)
                yield Workload(name, inside, answer.body)
        finally:
            self._listening.pop(name, None)
            with contextlib.suppress(OSError):
                self.remove(name)

    def follow_ports(self) -> None:
        """Wait until the rules have followed the ports on which workloads listen (rung nft, every 0.5 s)."""
        for name, (space, inside) in self._listening.items() if self.rung == "nft" else ():
            self.wait(lambda: inside.ports <= caught_ports(space, name))  # noqa: B023 (called at once)

    # What must not be left behind

    def left(self) -> list[str]:
        """Name what is left of this mesh when its agent has ended."""
        found = [f"process {pid}" for pid in self.seen_pids if _runs(pid)]
        found += [f"pin {path}" for path in self.pins.rglob("*")] if self.pins.exists() else []
        found += [f"cgroup {name}" for name in self._names if our_cgroup(name).exists()]
        found += [
            line for line in self.space.command("nft", "list", "tables").splitlines() if "meshtrio" in line
        ]
        return found

    def assert_nothing_left(self, wait_s: float = SOON_S, *, but: str = "nothing") -> None:
        """Everything must be gone, soon, but what begins so."""
        until = time.monotonic() + wait_s
        while left := [name for name in self.left() if not name.startswith(but)]:
            assert time.monotonic() < until, left
            time.sleep(0.05)


def caught_ports(space: Namespace, workload: str) -> set[int]:
    """Return the ports that a workload's nf_tables rules catch on the way in."""
    said = space.command("nft", "-j", "list", "set", "inet", table_name(workload), "ports")
    return {port for one in json.loads(said)["nftables"] for port in one.get("set", {}).get("elem", ())}


def spawn(space: Namespace, config: Path, log: Path, *prefix: str) -> "subprocess.Popen[bytes]":
    """Start an agent as a user would, in this namespace."""
    argv = [*prefix, *agent_command(config)]
    with open(log, "ab") as out:
        return space.run(
            lambda: subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        )


def agent_command(config: Path) -> list[str]:
    """Return the command that runs an agent."""
    return [sys.executable, "-m", "meshtrio", "agent", "--config", str(config)]


def service(
    name: str = "web", *endpoints: str, port: int = 80, vips: Sequence[str] = (VIP, VIP6)
) -> dict[str, Any]:
    """Describe a service for the catalog."""
    return {
        "name": name,
        "vips": list(vips),
        "ports": [{"name": "main", "port": port}],
        "endpoints": list(endpoints),
    }


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("meshtrio", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
