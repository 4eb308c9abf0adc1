"""Shell. What the demo plays on: three real servers, a catalog, and an agent, each a process of its own.

Does not know what is played. All of it is in a temporary folder and on ports that were free, so that it
disturbs nobody, and all of it is gone afterwards, however the play ends.
"""

import contextlib
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

from meshtrio.cli.complaint import Complaint
from meshtrio.cli.control_client import Control, NoAgent
from meshtrio.cli.process import first_environment
from meshtrio.cli.selftest import has_ipv6

VIP4, VIP6 = "10.96.0.10", "fd00:96::10"
START_S = 20.0
"""How long an agent may take: compiling without a cache takes two seconds, on a busy machine five."""
END_S = 15.0
PACKAGE_ROOT = Path(__file__).resolve().parents[2]

_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen {address}; root {folder}; default_type text/plain; }}
}}
"""


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

    async def run_inside(self, *command: str) -> list[str]:
        """Run a program in the mesh by `meshtrio exec`; return the lines that it printed."""
        ours = ["exec", "--config", str(self.config), "--name", self.workload, "--", *command]
        done = await trio.run_process(
            [sys.executable, "-m", "meshtrio", *ours],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=PACKAGE_ROOT,
            env=environment(),
        )
        if done.returncode:
            raise Complaint(f"{command[0]} ended with {done.returncode}: {done.stderr.decode().strip()}")
        return done.stdout.decode().split()

    async def stop_server(self, at: int) -> Server:
        """End one endpoint, as if it had crashed: the catalog still has it."""
        server = self.servers[at]
        server.process.terminate()
        await server.process.wait()
        return server

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
        port = _free_port(host)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        command = [sys.executable, "-m", "http.server", "--directory", str(root), "--bind", host, str(port)]
        nginx = _nginx()
        if nginx:
            (root / "nginx.conf").write_text(_NGINX.format(folder=root, address=address))
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
    endpoints = ", ".join(f'"{server.address}"' for server in stage.servers)
    vips = f'{VIP4}, "{VIP6}"' if has_ipv6() else VIP4
    catalog = stage.folder / "catalog.yaml"
    catalog.write_text(
        f"services:\n- name: web\n  vips: [{vips}]\n  ports: [{{port: 80, name: http}}]\n"
        f"  endpoints: [{endpoints}]\n"
    )
    stage.admin_port = _free_port("127.0.0.1")
    stage.config.write_text(
        f"rung: {rung}\nworkers: 1\ncatalog: {{file: {catalog}}}\n"
        f"paths: {{control: {stage.control}, pins: {stage.pins}}}\n"
        f"ports: {{inbound: {_free_port('127.0.0.1')}, outbound: {_free_port('127.0.0.1')},"
        f" admin: {stage.admin_port}}}\n"
        "timeouts: {drain_s: 5}\nlog: {format: text}\n"
    )


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
    """Return our environment without settings: the demo's own configuration shall hold."""
    pairs = first_environment().items()
    return {
        os.fsdecode(k): os.fsdecode(v) for k, v in pairs if not k.startswith(b"MESHTRIO_") or b"TEST" in k
    }


def _nginx() -> str | None:
    return shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port
