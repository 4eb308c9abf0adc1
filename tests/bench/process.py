"""Shell. Starts one process on one core, and stops it. Ends nothing that it did not start."""

import contextlib
import ctypes
import itertools
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bench.wire import Spot

PR_SET_PDEATHSIG = 1
STOP_S = 10.0
FIRST_PORT = 21_000

# From the pid, so that two runs at a time do not try the same ones; never the last one again at once.
_candidates = itertools.cycle(
    (*range(FIRST_PORT + os.getpid() * 17 % 8_000, 31_000), *range(FIRST_PORT, 30_000))
)

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def running(
    command: Sequence[str],
    core: int,
    *,
    log: Path,
    cwd: Path | None = None,
    piped: bool = False,
    spot: "Spot | None" = None,
    grouped: bool = False,
    leads: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """Run a command on one core while the block lasts; its words go to a log, or stdout to a pipe.

    With `spot` it runs in that namespace, and if `grouped` in its cgroup as well.

    Afterwards it has ended: by SIGTERM, or by SIGKILL after ten seconds. It gets SIGTERM too when this
    process dies, so that nothing stays behind whatever happens. If it `leads` a group of its own, all of that
    has ended.
    """

    def settle() -> None:
        os.sched_setaffinity(0, {core})
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if spot is not None and grouped:
            Path(spot.group, "cgroup.procs").write_text(str(os.getpid()))

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            list(command),
            preexec_fn=settle,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else words,
            stderr=words,
            cwd=cwd,
            text=True,
            process_group=0 if leads else None,
        )

    with log.open("ab") as words:
        process = start() if spot is None else spot.space.run(start)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if leads:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()


def end_on_sigterm() -> None:
    """Leave all blocks when this process is asked to end, so that nothing of the bench stays behind."""
    signal.signal(signal.SIGTERM, _end)


def _end(signal_number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signal_number)


def free_ports(count: int) -> list[int]:
    """Find TCP ports that are free on the loopback, below those that the kernel gives away by itself.

    They are not reserved: the one who asks binds them at once, and fails clearly if another was faster.
    """
    found: list[int] = []
    for port in _candidates:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError("no free ports: unreachable, the candidates never end")


def descriptor_limit() -> int:
    """Say how many descriptors a process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def wait_for_port(
    port: int,
    process: subprocess.Popen[str],
    *,
    within_s: float,
    log: Path,
    host: str = "127.0.0.1",
    spot: "Spot | None" = None,
) -> None:
    """Wait until something accepts there. RuntimeError with the log if it ends or is late."""
    until = time.monotonic() + within_s
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() if spot is None else spot.space.tcp_socket() as probe:
            probe.settimeout(1)
            with contextlib.suppress(OSError):
                probe.connect((host, port))
                return
        time.sleep(0.002)
    raise RuntimeError(f"{Path(str(process.args[0])).name} does not listen: {tail(log)}")  # type: ignore[index]


def tail(log: Path, most_characters: int = 600) -> str:
    """Give the end of a log, to be shown with an error."""
    return log.read_text(errors="replace")[-most_characters:].strip() or "it said nothing"
