"""Shell. The processes of the demo: run to their end, begun, ended. Does not know the play.

Each has the environment of whoever started the demo, but no settings of a mesh and no way around ours.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import trio

from meshtrio.cli.complaint import Complaint
from meshtrio.cli.process import first_environment

END_S = 10.0
PACKAGE_ROOT = Path(__file__).resolve().parents[2]


async def output(command: Sequence[str], *, called: str = "") -> str:
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


async def started(command: Sequence[str], log: Path) -> trio.Process:
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


async def ended(process: trio.Process) -> None:
    """End a process; what does not end in time is killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with trio.move_on_after(END_S):
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


def nginx() -> str | None:
    """Find nginx, also where only root looks for it."""
    return shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
