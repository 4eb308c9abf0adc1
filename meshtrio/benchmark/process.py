"""Shell. A process on one core in one network namespace, for as long as a block lasts. Knows no mesh."""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from meshtrio.cli.players import PACKAGE_ROOT, environment
from meshtrio.intercept.netns import Netns

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""By which a user ends us."""
PR_SET_PDEATHSIG = 1
END_S = 15.0
"""An agent drains for five seconds."""
LOOK_S = 0.02

_libc = ctypes.CDLL(None, use_errno=True)


class ProcessFailed(Exception):
    """A process did not start, or did not do what it is for; the message has its last words."""


class Spot(NamedTuple):
    """Where a process runs, and where its words go."""

    netns: Netns
    core: int
    log: Path


@contextlib.contextmanager
def running(
    command: Sequence[str], spot: Spot, *, piped: bool = False, folder: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command while the block lasts, in our package's folder or another one.

    `piped`: its standard input and output are ours.

    Afterwards it has ended, by SIGTERM or at last by SIGKILL, and so have those whom it left behind in its
    group. It gets SIGTERM too if we die, so that nothing stays behind whatever happens. It is a session of
    its own: ^C is for us.
    """

    process: subprocess.Popen[bytes] | None = None
    try:
        with undisturbed():
            process = _started(command, spot, piped=piped, folder=folder)
        yield process
    finally:
        if process is not None:
            _end(process)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals to end wait until the block is over, so that what it makes is whole, and known to us."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def line_of(process: "subprocess.Popen[bytes]", within_s: float, log: Path) -> str:
    """Return the next line that a piped process prints. ProcessFailed if it ends or is late."""
    assert process.stdout is not None
    if select.select([process.stdout], (), (), within_s)[0]:
        line = process.stdout.readline()
        if line:
            return line.decode().strip()
        process.wait()
        raise ProcessFailed(last_words(log) or f"ended with {process.returncode} and said nothing")
    raise ProcessFailed(f"said nothing for {within_s:g} s")


def wait_until(
    is_ready: Callable[[], bool], process: "subprocess.Popen[bytes]", within_s: float, log: Path
) -> None:
    """Ask again and again until it is ready. ProcessFailed with its words if it ends or is late."""
    until = time.monotonic() + within_s
    while process.poll() is None and time.monotonic() < until:
        if is_ready():
            return
        time.sleep(LOOK_S)
    how = "was not ready in time" if process.poll() is None else f"ended with {process.returncode}"
    raise ProcessFailed(f"{how}: {last_words(log) or 'it said nothing'}")


def last_words(log: Path, most_characters: int = 400) -> str:
    """Return the end of a log as one line."""
    with contextlib.suppress(OSError):
        return " ".join(log.read_text(errors="replace")[-most_characters:].split())
    return ""


def _started(
    command: Sequence[str], spot: Spot, *, piped: bool, folder: Path | None
) -> "subprocess.Popen[bytes]":
    def settle() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.sched_setaffinity(0, {spot.core})
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    with spot.log.open("ab") as words, spot.netns.entered():
        try:
            return subprocess.Popen(
                list(command),
                preexec_fn=settle,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else words,
                stderr=words,
                cwd=folder or PACKAGE_ROOT,
                env=environment(),
                bufsize=0,
                start_new_session=True,
            )
        except OSError as cause:
            raise ProcessFailed(f"cannot run {command[0]}: {cause.strerror}") from cause


def _end(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
