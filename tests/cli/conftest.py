"""Shell. What the tests of commands share: run one as users do, an agent of one's own, a server to reach."""

import contextlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshtrio.cli.control_client import Control, NoAgent
from meshtrio.intercept import bpffs
from tests.support.tree import TREE

VIP = "198.51.100.80"
Run = Callable[..., subprocess.CompletedProcess[bytes]]
AGENT_S = 90.0
"""How long an agent has to be ready: a hundred times what it takes, for machines that others share."""
FIRST_PORT = 20_000 + 10 * (os.getpid() % 1_200)
"""The first of ten ports of this process, for its neighbours test, too. The kernel gives out none of them."""


@pytest.fixture(scope="session", autouse=True)
def bpffs_is_mounted() -> None:
    """Mount bpffs as an agent would, for tests that pin something before any agent ran."""
    if os.geteuid() == 0:
        bpffs.leave(bpffs.ensure(bpffs.DEFAULT / "meshtrio-cli-mount"))


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Give the environment of a command that meets nobody else on this machine."""
    kept = ("MESHTRIO_RUNG_MAX",)  # by --rung-max
    ours = {
        name: value for name, value in os.environ.items() if name in kept or not name.startswith("MESHTRIO_")
    }
    return ours | {
        "PYTHONPATH": str(TREE),
        "MESHTRIO_TEST_RUN": os.environ.get("MESHTRIO_TEST_RUN", ""),
        "MESHTRIO_PATHS__CONTROL": str(tmp_path / "run" / "control.sock"),
        "MESHTRIO_PATHS__PINS": f"/sys/fs/bpf/meshtrio-cli-{os.getpid()}",
        "MESHTRIO_IDENTITY__DIRECTORY": str(tmp_path / "identity"),
        "MESHTRIO_CONFIG": str(_write(tmp_path / "meshtrio.yaml", "node: test\n")),
    }


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def start(settings: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `meshtrio ...`; what still runs when the test ends is asked to end."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*words: str, **options: object) -> subprocess.Popen[bytes]:
        command = [*options.pop("before", ()), sys.executable, "-m", "meshtrio", *words]  # type: ignore[misc]
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        process = subprocess.Popen(command, env=settings, **options)  # type: ignore[call-overload]
        started.append(process)
        return process  # type: ignore[no-any-return]

    yield begin
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=15)
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def run(start: Callable[..., subprocess.Popen[bytes]]) -> Run:
    """Run `meshtrio ...` to its end."""

    def whole(
        *words: str, given: bytes | None = None, wait_s: float = 120, **options: object
    ) -> subprocess.CompletedProcess[bytes]:
        if given is not None:
            options["stdin"] = subprocess.PIPE
        process = start(*words, **options)
        out, err = process.communicate(given, timeout=wait_s)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    return whole


@pytest.fixture
def server() -> Iterator[int]:
    """Answer GET on a loopback port, as "hello from <path>"."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"hello from {self.path}\n".encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        yield listening.server_address[1]
        listening.shutdown()
        thread.join()


@pytest.fixture
def catalog(tmp_path: Path, server: int) -> str:
    """Name a file in which VIP is a service with that server as its endpoint."""
    endpoints = f"endpoints: ['127.0.0.1:{server}']"
    text = f"services:\n- {{name: web, vips: [{VIP}], ports: [{{port: 80}}], {endpoints}}}\n"
    return str(_write(tmp_path / "catalog.yaml", text))


@pytest.fixture
def agent(start: Callable[..., subprocess.Popen[bytes]], settings: dict[str, str], catalog: str) -> Control:
    """Give the control socket of an agent that runs with one worker, on ports of its own."""
    ports = {name: str(FIRST_PORT + n) for n, name in enumerate(("ADMIN", "INBOUND", "OUTBOUND", "DNS"))}
    settings |= {f"MESHTRIO_PORTS__{name}": port for name, port in ports.items()}
    settings["MESHTRIO_TIMEOUTS__DRAIN_S"] = "2"
    log = Path(catalog).with_name("agent.log")
    with log.open("wb") as words:
        process = start("agent", "--workers", "1", "--catalog", catalog, stderr=words)
    control = Control(settings["MESHTRIO_PATHS__CONTROL"])
    until = time.monotonic() + AGENT_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(NoAgent):
            if control.get("/readyz")["ready"]:
                return control
        time.sleep(0.05)
    pytest.fail(f"the agent did not become ready: {log.read_text()}")
