"""Shell. What the demo plays on: three real servers, a catalog, and an agent, each a process of its own.

Does not know what is played. All of it is in a temporary folder and on ports that were free, so that it
disturbs nobody, and all of it is gone afterwards, however the play ends.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import trio

from meshtrio.cli import props
from meshtrio.cli.complaint import Complaint
from meshtrio.cli.control_client import Control, NoAgent
from meshtrio.cli.process import first_environment
from meshtrio.cli.selftest import has_ipv6

START_S = 20.0
"""How long an agent may take: compiling without a cache takes two seconds, on a busy machine five."""
END_S = 15.0
PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class Server(NamedTuple):
    """One endpoint: a real web server that answers with its own name."""

    name: str
    address: str
    process: trio.Process


class Stage:
    """Servers and agent, while they run."""

    def __init__(self, folder: Path) -> None:
        """Begin with an empty folder; `staged` fills it."""
        self.folder = folder
        self.control = folder / "control.sock"
        self.config = folder / "meshtrio.yaml"
        self.pins = Path(f"/sys/fs/bpf/meshtrio-{folder.name}")
        self.workload = f"demo-{os.getpid()}"
        self.admin_port = 0
        self.program = "nginx" if _nginx() else "python http.server"
        self.servers: list[Server] = []
        self.agent: trio.Process | None = None

    async def ask(self, path: str) -> Any:
        """Ask the agent, as `meshtrio status` and `meshtrio connections` do."""
        return await trio.to_thread.run_sync(Control(str(self.control)).get, path)

    async def tell(self, method: str, path: str, body: object = None) -> Any:
        """Ask for a change, by curl if there is one, and return the answer. Complaint if it is refused."""
        if not shutil.which("curl"):
            return await trio.to_thread.run_sync(Control(str(self.control)).ask, method, path, body)
        sent = [] if body is None else ["--data", json.dumps(body)]
        socket_ = ["--unix-socket", str(self.control)]
        said = await _output(
            ["curl", "-sS", "-m", "10", *socket_, "-X", method, *sent, f"http://localhost{path}"]
        )
        answer = json.loads(said)
        if "error" in answer:
            raise Complaint(str(answer["error"]))
        return answer

    async def run_inside(self, *command: str) -> list[str]:
        """Run a program in the mesh by `meshtrio exec`; return the words that it printed."""
        ours = ["exec", "--config", str(self.config), "--name", self.workload, "--", *command]
        return (await _output([sys.executable, "-m", "meshtrio", *ours], called=command[0])).split()

    async def run(self, *words: str) -> str:
        """Run a command of ours that reads, as a user of this agent would; return what it printed."""
        return await _output([sys.executable, "-m", "meshtrio", *words, "--control", str(self.control)])

    async def stop_server(self, at: int) -> Server:
        """End one endpoint, as if it had crashed: the catalog still has it."""
        server = self.servers[at]
        server.process.terminate()
        await server.process.wait()
        return server

    def make_well(self, at: int, *, well: bool) -> Server:
        """Let one server pass its health check from now on, or fail it. It serves pages all the same."""
        page = self.folder / self.servers[at].name / props.HEALTH
        page.write_text("well\n") if well else page.unlink()
        return self.servers[at]

    def agent_log(self) -> str:
        """Return the last words of the agent."""
        with contextlib.suppress(OSError):
            return "\n".join((self.folder / "agent.log").read_text().splitlines()[-5:])
        return ""


@contextlib.asynccontextmanager
async def staged(rung: str) -> AsyncIterator[Stage]:
    """Set the stage; Complaint if it cannot be. Afterwards all of it is gone, processes and files."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        stage = Stage(Path(folder))
        try:
            await _start_servers(stage)
            _write(stage, rung)
            await _start_agent(stage)
            yield stage
        finally:
            with trio.move_on_after(END_S, shield=True):
                # Also when interrupted: a demo that leaves hooks behind would be a bad one.
                await _stop(stage)


async def _start_servers(stage: Stage) -> None:
    hosts = ["127.0.0.1", "127.0.0.1", "::1" if has_ipv6() else "127.0.0.1"]
    for name, host in zip(("apple", "birch", "cedar"), hosts, strict=True):
        root = stage.folder / name
        root.mkdir()
        (root / "index.html").write_text(f"{name}\n")
        (root / props.HEALTH).write_text("well\n")
        port = _free_port(host)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        command = [sys.executable, "-m", "http.server", "--directory", str(root), "--bind", host, str(port)]
        nginx = _nginx()
        if nginx:
            (root / "nginx.conf").write_text(props.nginx(str(root), address))
            command = [nginx, "-p", str(root), "-e", "stderr", "-c", "nginx.conf"]
        process = await _started(command, root / "log")
        stage.servers.append(Server(name, address, process))
        await _until_open(host, port, process)


async def _until_open(host: str, port: int, process: trio.Process) -> None:
    with trio.move_on_after(START_S):
        while process.poll() is None:
            try:
                await (await trio.open_tcp_stream(host, port)).aclose()
            except OSError:
                await trio.sleep(0.02)
            else:
                return
    raise Complaint(f"a demo server did not come up on {host} {port}")


def _write(stage: Stage, rung: str) -> None:
    addresses = [server.address for server in stage.servers]
    text = props.catalog(addresses, addresses[:2], ipv6=has_ipv6())
    (stage.folder / "catalog.yaml").write_text(text)
    ports = {name: _free_port("127.0.0.1") for name in ("admin", "inbound", "outbound", "dns")}
    stage.admin_port = ports["admin"]
    stage.config.write_text(props.configuration(str(stage.folder), rung, str(stage.pins), ports))


async def _start_agent(stage: Stage) -> None:
    command = [sys.executable, "-m", "meshtrio", "agent", "--config", str(stage.config)]
    stage.agent = await _started(command, stage.folder / "agent.log")
    with trio.move_on_after(START_S):
        while stage.agent.poll() is None:
            with contextlib.suppress(NoAgent):
                if (await stage.ask("/readyz"))["ready"]:
                    return
            await trio.sleep(0.05)
    raise Complaint(f"the agent did not become ready; its last words:\n{stage.agent_log()}")


async def _output(command: list[str], *, called: str = "") -> str:
    """Run a command to its end, and return what it printed. Complaint with its error if it failed."""
    done = await trio.run_process(
        command,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        cwd=PACKAGE_ROOT,
        env=environment(),
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise Complaint(f"{called or command[0]} ended with {done.returncode}: {said}")
    return done.stdout.decode(errors="replace")


async def _started(command: list[str], log: Path) -> trio.Process:
    """Start a process of its own session: ^C is for us, and we end it."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        return await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=PACKAGE_ROOT,
            env=environment(),
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


async def _stop(stage: Stage) -> None:
    """End agent and servers, the agent first; what does not end in time is killed."""
    for process in filter(None, (stage.agent, *(server.process for server in stage.servers))):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with trio.move_on_after(END_S - 5):
                await process.wait()
        if process.poll() is None:
            process.kill()
            await process.wait()


def environment() -> dict[str, str]:
    """Return our environment without settings, for the demo's own shall hold, and without a way around."""
    pairs = first_environment().items()
    ours = {
        os.fsdecode(k): os.fsdecode(v) for k, v in pairs if not k.startswith(b"MESHTRIO_") or b"TEST" in k
    }
    # A proxy that somebody has set would fetch the pages, from outside the mesh.
    return {**ours, "no_proxy": "*"}


def _nginx() -> str | None:
    return shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port
