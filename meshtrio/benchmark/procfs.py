"""Shell. Reads processor time and memory of process trees and of the machine from /proc. Changes nothing."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
KTHREADD = 2


class Process(NamedTuple):
    """One line of /proc/PID/stat. The times hold those of children that ended and were waited for."""

    pid: int
    parent: int
    user_s: float
    system_s: float


class MachineTime(NamedTuple):
    """The machine's time since it started, all cores together."""

    busy_s: float
    softirq_s: float
    steal_s: float


def processes() -> dict[int, Process]:
    """Read all processes. One that ends meanwhile is left out."""
    found = {}
    for name in (entry.name for entry in Path("/proc").iterdir()):
        if not name.isdigit():
            continue
        try:
            line = Path(f"/proc/{name}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The command stands in parentheses and may hold anything, so count from the last one.
        words = line.rpartition(")")[2].split()
        user, system, child_user, child_system = (int(word) * TICK_S for word in words[11:15])
        found[int(name)] = Process(int(name), int(words[1]), user + child_user, system + child_system)
    return found


def tree(found: dict[int, Process], roots: Iterable[int], without: Iterable[int] = ()) -> set[int]:
    """Give the pids of the roots and all that descend from them, leaving out some branches."""
    cut = set(without)
    children: dict[int, list[int]] = {}
    for process in found.values():
        children.setdefault(process.parent, []).append(process.pid)
    members: set[int] = set()
    waiting = [root for root in roots if root in found]
    while waiting:
        pid = waiting.pop()
        if pid in cut or pid in members:
            continue
        members.add(pid)
        waiting.extend(children.get(pid, ()))
    return members


def user_and_system(found: dict[int, Process], pids: Iterable[int]) -> tuple[float, float]:
    """Add up the times of these processes."""
    chosen = [found[pid] for pid in pids]
    return sum(process.user_s for process in chosen), sum(process.system_s for process in chosen)


def foreign_s(found: dict[int, Process], own_root: int) -> float:
    """Add up the time of everything that is neither ours nor a kernel thread."""
    not_foreign = tree(found, [own_root, KTHREADD])
    return sum(sum(user_and_system(found, [pid])) for pid in found if pid not in not_foreign)


def machine_time() -> MachineTime:
    """Read /proc/stat. Busy is everything but idle, waiting for disks, and stolen."""
    with open("/proc/stat") as stat:
        words = stat.readline().split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) * TICK_S for word in words[:8])
    return MachineTime(user + nice + system + irq + softirq, softirq, steal)


def rss_mb(pid: int) -> float:
    """Read the resident memory of one process, in MiB. 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20  # as ps and top count


def command_line(pid: int) -> list[str]:
    """Read the words of a process's command. Empty if it has ended."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [word.decode(errors="replace") for word in raw.rstrip(b"\0").split(b"\0")]
