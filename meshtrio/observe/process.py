"""Shell. What the kernel says of a process: memory and processor time. Read from /proc."""

import contextlib
import ctypes
import os

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """One process, now. All zero if it is gone."""

    rss_bytes: int = 0
    cpu_s: float = 0.0
    descriptors: int = 0


def is_alive(pid: int) -> bool:
    """Say whether there is such a process; one that has ended and was not waited for counts as ended."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):
        return False


def give_memory_back() -> None:
    """Let the kernel have what the C library holds free, as after importing. Not without glibc."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def usage(pid: int | str = "self") -> Usage:
    """Return what a process uses, processor time with the kernel's part."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{pid}/statm") as statm:
            pages = int(statm.read().split()[1])
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return Usage(
            rss_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
            cpu_s=ticks / os.sysconf("SC_CLK_TCK"),
            descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        )
    return Usage()
