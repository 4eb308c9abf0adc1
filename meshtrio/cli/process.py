"""Shell. This process: what it may do, how many descriptors it may open, what it was started with.

Knows no commands. Reads /proc, because Python changes some of it while it starts.
"""

import contextlib
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

from meshtrio.cli.complaint import Code, Complaint

T = TypeVar("T")
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CAPABILITIES = {"NET_ADMIN": 12, "SYS_ADMIN": 21, "PERFMON": 38, "BPF": 39}
"""What the rungs need, by the numbers of include/uapi/linux/capability.h."""


def missing_capabilities() -> list[str]:
    """Name those of CAPABILITIES that this process does not have. SYS_ADMIN contains BPF and PERFMON."""
    have = int(_status("CapEff"), 16)
    if have >> CAPABILITIES["SYS_ADMIN"] & 1:
        have |= 1 << CAPABILITIES["BPF"] | 1 << CAPABILITIES["PERFMON"]
    return [f"CAP_{name}" for name, number in CAPABILITIES.items() if not have >> number & 1]


def require_privilege(command: str) -> None:
    """Raise Complaint unless connections can be caught from here at all, by whatever rung."""
    missing = missing_capabilities()
    if "CAP_NET_ADMIN" not in missing:
        return
    if os.geteuid() != 0:
        raise Complaint(f"this changes the kernel's networking and needs root; run: sudo meshtrio {command}")
    raise Complaint(
        f"root lacks {', '.join(missing)} here, as in an unprivileged container; give it those capabilities"
    )


async def uninterrupted(do: Callable[..., Awaitable[T]], *given: object) -> T:
    """Do it. Complaint if a signal to end comes first; what was begun has been taken down then."""
    import trio

    # Who began us under nohup, or in the background, wants those to be ignored.
    ends = [one for one in ENDING if signal.getsignal(one) is not signal.SIG_IGN]
    with trio.open_signal_receiver(*ends) as signals:
        async with trio.open_nursery() as doing:

            async def end() -> None:
                await anext(aiter(signals))
                doing.cancel_scope.cancel()

            doing.start_soon(end)
            done = await do(*given)
            doing.cancel_scope.cancel()
            return done
    raise Complaint("interrupted; everything has been taken down", Code.INTERRUPTED)


def raise_descriptor_limit(wanted: int = 0) -> int:
    """Let this process open as many descriptors as it may, and return how many it could before.

    `wanted` raises what it may, where root is allowed that (CAP_SYS_RESOURCE) and the kernel has as many
    (fs.nr_open).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return soft
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def first_environment() -> dict[bytes, bytes]:
    """Return the environment that this process was started with.

    Not os.environ: in the C locale Python sets LC_CTYPE for its children (PEP 538).
    """
    with open("/proc/self/environ", "rb") as block:
        pairs = (entry.partition(b"=") for entry in block.read().split(b"\0") if b"=" in entry)
        return {name: value for name, _, value in pairs}


def own_umask() -> int:
    """Return the umask, without setting it."""
    return int(_status("Umask"), 8)


def has_terminal() -> bool:
    """Say whether a terminal sends its ^C to us and to our children alike."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _status(name: str) -> str:
    with open("/proc/self/status") as lines:
        return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))
