"""Shell. Real programs as they are: start a server, run its client, see that the client got what it came for.

    for program in PROGRAMS:                                     # tests/programs/table.py
        with program.serving(("10.1.0.2", 8080)):
            program.try_out(("10.96.0.10", 8080), prefix=["meshtrio", "exec", "--name", "x", "--"])

Does not know the mesh: prefixes put processes into it. Does not know the programs: tests/programs/ does.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

Address = tuple[str, int]
READY_S = 30
STOP_S = 15
_LISTEN = "0A"  # the state column of /proc/net/tcp


class Service(NamedTuple):
    """How to run one server process in the foreground."""

    command: list[str]
    user: str = "root"
    stop: signal.Signals = signal.SIGTERM
    is_ready: Callable[[], bool] = lambda: True  # beyond listening


class Visit(NamedTuple):
    """What a client printed and left in its folder."""

    stdout: str
    stderr: str
    folder: Path


class Program(NamedTuple):
    """One server, one client, and what success looks like."""

    name: str
    needs: tuple[str, ...]
    service: Callable[[Address, Path], Service]  # may write files into the folder, which is its own
    client: Callable[[Address, Path], list[str]]  # the folder is the client's own, and its working directory
    check: Callable[[Visit], None]  # raises AssertionError
    timeout_s: float = 60
    user: str = "root"  # of the server: owns its folder

    @property
    def skip_reason(self) -> str | None:
        """Say what is missing here, None if nothing is."""
        missing = [name for name in self.needs if shutil.which(name) is None]
        return f"not installed: {', '.join(missing)}" if missing else None

    @contextmanager
    def serving(self, address: Address, *, prefix: Sequence[str] = ()) -> Iterator[int]:
        """Run the server; give its pid once it listens. Process and files are gone when the block ends."""
        with own_folder(self.user) as folder:
            service = self.service(address, folder)
            command = [*prefix, *as_user(service.user), *service.command]
            with open(folder / "log", "wb") as log:
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            try:
                _wait_ready(process, service, address[1], folder / "log")
                yield process.pid
            finally:
                _stop(process, service.stop)

    def try_out(self, address: Address, *, prefix: Sequence[str] = ()) -> Visit:
        """Run the client against this address to its end, and check. Raises AssertionError with its words."""
        with own_folder("root") as folder:
            command = [*prefix, *self.client(address, folder)]
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self.timeout_s,
                check=False,
            )
            words = f"{' '.join(command)[:600]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            assert done.returncode == 0, f"{self.name}: exit {done.returncode}: {words}"
            visit = Visit(done.stdout, done.stderr, folder)
            try:
                self.check(visit)
            except AssertionError as fault:
                raise AssertionError(f"{self.name}: {fault}: {words}") from fault
            return visit


def host_text(host: str) -> str:
    """Write a host as URLs want it."""
    return f"[{host}]" if ":" in host else host


def as_user(user: str) -> list[str]:
    """Give the words that run a command as this user; none if we are not root, or root is asked for."""
    if user == "root" or os.geteuid() != 0:
        return []
    # Not Popen(user=...): a prefix that enters the mesh or a namespace must still be root.
    return ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"]


@contextmanager
def own_folder(user: str) -> Iterator[Path]:
    """Give a folder that belongs to this user, and that others may pass through; gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="program-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        if user != "root" and os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        yield folder


def listens(pid: int, port: int) -> bool:
    """Say whether anybody listens on this TCP port in the network namespace of this process."""
    wanted = f":{port:04X}"
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        if any(line.split()[1].endswith(wanted) and line.split()[3] == _LISTEN for line in lines):
            return True
    return False


def _wait_ready(process: subprocess.Popen[bytes], service: Service, port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not (listens(process.pid, port) and service.is_ready()):
        if process.poll() is not None or time.monotonic() > deadline:
            why = "was not ready" if process.returncode is None else f"exited with {process.returncode}"
            raise RuntimeError(f"{service.command[0]} {why}: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Ask the process to stop, by its pid; after STOP_S end its whole session."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
