"""Shell. The command of `meshtrio exec`: started inside a cgroup, sent our signals, waited for.

Knows nothing of the mesh. The command has our terminal, our process group, our standard streams and
every other descriptor that we were given.
"""

import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import trio

from meshtrio.cli import launch
from meshtrio.cli.process import first_environment, has_terminal, own_umask

FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
"""A terminal sends these to the command as well; then we only outlive them."""
FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
LOOK_S = 0.2


def caught_signals() -> tuple[signal.Signals, ...]:
    """Return the signals to catch: not those ignored already (nohup): the command shall ignore them, too."""
    return tuple(one for one in (*FROM_TERMINAL, *FORWARDED) if signal.getsignal(one) is not signal.SIG_IGN)


class Child:
    """One command, from before it starts until it has ended."""

    def __init__(self, command: Sequence[str], user: str, soft_limit: int) -> None:
        """Prepare; nothing is started yet."""
        self._command = command
        self._user = user
        self._soft_limit = soft_limit
        self._process: trio.Process | None = None
        self.interrupted = trio.Event()
        """A signal came when there was nobody to send it to: not yet, or no more."""
        self.signal = 0

    @property
    def ended(self) -> bool:
        """Say whether it was started and is gone."""
        return self._process is not None and self._process.returncode is not None

    async def forward(self, signals: AsyncIterator[int]) -> None:
        """Send the command what is sent to us, until cancelled."""
        async for number in signals:
            if self._process is None or self.ended:
                self.signal = number
                self.interrupted.set()
            elif number in FORWARDED or not has_terminal():
                self._process.send_signal(number)

    async def run(self, cgroup: Path) -> int:
        """Start the command in a cgroup, wait until it ends, and return its exit code as a shell would."""
        self._process = await trio.lowlevel.open_process(
            launch.argv(str(cgroup), self._user, self._soft_limit, self._command),
            env=first_environment(),  # type: ignore[arg-type]  # bytes do as well, and lose nothing
            # Ours are close-on-exec; what is not was meant for the command (`3<file`, a jobserver).
            close_fds=False,
            # As it is. Saying so keeps Python off posix_spawn, which lets children ignore signals 32 and 33.
            umask=own_umask(),
        )
        if self.interrupted.is_set():
            self._process.send_signal(self.signal)  # it came while the process was being made
        code = await self._process.wait()
        return code if code >= 0 else 128 - code


async def emptied(cgroup: Path) -> None:
    """Wait until the last process of a cgroup, and of those below it, has ended."""
    while populated(cgroup):
        await trio.sleep(LOOK_S)


def populated(cgroup: Path) -> bool:
    """Say whether a process lives in a cgroup or below it."""
    with contextlib.suppress(OSError):
        return "populated 1" in (cgroup / "cgroup.events").read_text()
    return False


def known_user(name: str) -> bool:
    """Say whether there is a user of this name or number."""
    import pwd

    try:
        _ = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        return False
    return True


def own_netns_inode() -> int:
    """Return the number by which our network namespace is known."""
    return Path("/proc/self/ns/net").stat().st_ino
