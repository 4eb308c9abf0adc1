"""Shell. What the demo plays on: real servers, a catalog, a wire, and an agent, each a process of its own.

Does not know what is played. All of it is in a temporary folder, on ports that were free and in network
namespaces of our own, so that it disturbs nobody, and all of it is gone afterwards, however the play ends.
"""

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import trio

from meshtrio.cli import players, props
from meshtrio.cli.complaint import Complaint
from meshtrio.cli.control_client import Control, NoAgent
from meshtrio.cli.selftest import has_ipv6
from meshtrio.cli.wire import RIGHT, Wire, wired

START_S = 20.0
"""How long an agent may take: compiling without a cache takes two seconds, on a busy machine five."""
END_S = 20.0
OURS = (sys.executable, "-m", "meshtrio")


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
        self.program = "nginx" if players.nginx() else "python http.server"
        self.servers: list[Server] = []
        self.agent: trio.Process | None = None
        self.meshed: trio.Process | None = None
        """The one server that is in the mesh itself."""
        self.wire: Wire | None = None

    async def ask(self, path: str) -> Any:
        """Ask the agent, as `meshtrio status` and `meshtrio connections` do."""
        return await trio.to_thread.run_sync(Control(str(self.control)).get, path)

    async def tell(self, method: str, path: str, body: object = None) -> Any:
        """Ask for a change, by curl if there is one, and return the answer. Complaint if it is refused."""
        if not shutil.which("curl"):
            return await trio.to_thread.run_sync(Control(str(self.control)).ask, method, path, body)
        sent = [] if body is None else ["--data", json.dumps(body)]
        socket_ = ["--unix-socket", str(self.control)]
        said = await players.output(
            ["curl", "-sS", "-m", "10", *socket_, "-X", method, *sent, f"http://localhost{path}"]
        )
        answer = json.loads(said)
        if "error" in answer:
            raise Complaint(str(answer["error"]))
        return answer

    async def run_inside(self, *command: str) -> list[str]:
        """Run a program in the mesh by `meshtrio exec`; return the words that it printed."""
        ours = ["exec", "--config", str(self.config), "--name", self.workload, "--", *command]
        return (await players.output([*OURS, *ours], called=command[0])).split()

    async def run_as(self, who: str, *command: str) -> list[str]:
        """Run a program left of the wire, as a workload and an account of this name; return its words."""
        assert self.wire is not None
        return (await players.output(self._as(who, self.wire.left, command), called=command[0])).split()

    def named(self, who: str) -> str:
        """Return the name of a workload of the wire."""
        return f"{self.workload}-{who}"

    async def run(self, *words: str) -> str:
        """Run a command of ours that reads, as a user of this agent would; return what it printed."""
        return await players.output([*OURS, *words, "--control", str(self.control)])

    async def start_meshed(self) -> None:
        """Let a server begin right of the wire, as a workload. It listens some time later."""
        assert self.wire is not None
        root = self.folder / props.PANTRY
        root.mkdir()
        (root / "index.html").write_text(f"{props.SECRET}\n")
        command = _serving(root, RIGHT, props.PANTRY_PORT)
        ours = self._as(props.PANTRY, self.wire.right, command, "--port", str(props.PANTRY_PORT))
        self.meshed = await players.started(ours, root / "log")

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

    def _as(self, who: str, netns: str, command: Sequence[str], *options: str) -> list[str]:
        account = f"{props.KITCHEN}/{who.partition('-')[0]}"
        ours = ["exec", "--config", str(self.config), "--name", self.named(who), "--identity", account]
        return ["nsenter", f"--net={netns}", *OURS, *ours, *options, "--", *command]


@contextlib.asynccontextmanager
async def staged(rung: str) -> AsyncIterator[Stage]:
    """Set the stage; Complaint if it cannot be. Afterwards all of it is gone, processes and files."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder, contextlib.ExitStack() as undo:
        stage = Stage(Path(folder))
        try:
            await _start_servers(stage)
            _write(stage, rung)
            await _start_agent(stage)
            stage.wire = await trio.to_thread.run_sync(undo.enter_context, wired())
            await _until_ready(stage)
            await stage.start_meshed()
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
        process = await players.started(_serving(root, host, port), root / "log")
        stage.servers.append(Server(name, _address(host, port), process))
        await _until_open(host, port, process)


def _serving(root: Path, host: str, port: int) -> list[str]:
    """Give the command that serves a folder."""
    nginx = players.nginx()
    if nginx:
        (root / "nginx.conf").write_text(props.nginx(str(root), _address(host, port)))
        return [nginx, "-p", str(root), "-e", "stderr", "-c", "nginx.conf"]
    folder = ["--directory", str(root), "--protocol", "HTTP/1.1"]
    return [sys.executable, "-m", "http.server", *folder, "--bind", host, str(port)]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
    text = props.catalog(addresses, addresses[:2], f"{RIGHT}:{props.PANTRY_PORT}", ipv6=has_ipv6())
    (stage.folder / "catalog.yaml").write_text(text)
    ports = {name: _free_port("127.0.0.1") for name in ("admin", "inbound", "outbound", "dns")}
    stage.admin_port = ports["admin"]
    stage.config.write_text(props.configuration(str(stage.folder), rung, str(stage.pins), ports))


async def _start_agent(stage: Stage) -> None:
    stage.agent = await players.started(
        [*OURS, "agent", "--config", str(stage.config)], stage.folder / "agent.log"
    )


async def _until_ready(stage: Stage) -> None:
    assert stage.agent is not None
    with trio.move_on_after(START_S):
        while stage.agent.poll() is None:
            with contextlib.suppress(NoAgent):
                if (await stage.ask("/readyz"))["ready"]:
                    return
            await trio.sleep(0.05)
    raise Complaint(f"the agent did not become ready; its last words:\n{stage.agent_log()}")


async def _stop(stage: Stage) -> None:
    """End everything: the workload while it can still say goodbye to the agent, then the agent."""
    for process in (stage.meshed, stage.agent, *(server.process for server in stage.servers)):
        if process is not None:
            await players.ended(process)


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port
