"""Shell. What agents leave behind when they are killed: found, and taken away. Does not ask anybody.

Everything of ours carries our name: pins under paths.pins, cgroups under meshtrio/, nf_tables tables with
an owner, rules with our protocol number, the control socket and the list beside it. What belongs to
somebody of us who lives (a `meshtrio exec`) stays.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from meshtrio.cli.child import populated
from meshtrio.config.schema import Config
from meshtrio.intercept import bpf, cgroup, nft, routing
from meshtrio.intercept.cgroup import CgroupError
from meshtrio.intercept.netns import Netns, NetnsError
from meshtrio.intercept.nft_request import ErrandRefused
from meshtrio.intercept.workload import read_list
from meshtrio.observe.process import is_alive
from meshtrio.places import list_path, lock_path

PINNED = ("links", "netns", "maps")
NAMED_NETNS = Path("/run/netns")


class Remain(NamedTuple):
    """One thing, or one thing that could not be taken away and why."""

    kind: str
    name: str
    why_kept: str = ""


def processes_named(name: str) -> list[int]:
    """Return the processes of this name (as in /proc/PID/comm) that have not ended."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                if (folder / "comm").read_text().strip() == name and is_alive(int(folder.name)):
                    found.append(int(folder.name))
    return sorted(found)


def orphans() -> list[int]:
    """Return workers whose agent has gone: their parent is none of ours."""
    found = []
    for pid in processes_named("meshtrio-worker"):
        with contextlib.suppress(OSError):
            parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
            if not Path(f"/proc/{parent}/comm").read_text().startswith("meshtrio"):
                found.append(pid)
    return found


def owner_lives(owner: str) -> bool:
    """Say whether the owner of a table lives: "<pid>.<start time>", so that a reused pid is no lie."""
    pid, _, began = owner.partition(".")
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19] == began
    return False


def pins(config: Config) -> list[Path]:
    """List what is pinned, deepest first, with its folders: only in the three folders of our layout."""
    top = Path(config.paths.pins)
    found = [
        Path(folder, name)
        for kind in PINNED
        for folder, below, names in os.walk(top / kind, topdown=False)
        for name in (*names, *below)
    ]
    return [*found, *(top / kind for kind in PINNED if (top / kind).is_dir())]


def remove_pins(config: Config) -> Iterator[Remain]:
    """Detach pinned links, and unpin everything: the connect hooks first, so that no door is missed."""
    found = pins(config)
    for path in sorted(found, key=lambda path: not path.name.startswith("connect")):
        if path.parent.parent.name in ("links", "netns") and not path.is_dir():
            _detach(path)
    for path in found:
        try:
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
                yield Remain("pin", str(path))
        except OSError as cause:
            yield Remain("pin", str(path), str(cause.strerror))
    with contextlib.suppress(OSError):
        Path(config.paths.pins).rmdir()


def _detach(path: Path) -> None:
    # What is pinned there may be a map; then there is nothing to detach.
    with contextlib.suppress(OSError):
        link = bpf.open_pinned(str(path))
        try:
            bpf.detach_link(link)
        finally:
            os.close(link)


def cgroups() -> list[Path]:
    """List the cgroups of our workloads."""
    with contextlib.suppress(CgroupError, OSError):
        return sorted(path for path in (cgroup.mount_point() / cgroup.OURS).iterdir() if path.is_dir())
    return []


def remove_cgroups() -> Iterator[Remain]:
    """Remove cgroups in which nothing runs. Those that are in use are named with their processes."""
    for path in cgroups():
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield Remain("cgroup", str(path), "a `meshtrio exec` that runs has it")
            continue
        finally:
            os.close(lock)
        if populated(path):
            running = ", ".join(map(str, cgroup.processes(path)[:8]))
            yield Remain("cgroup", str(path), f"processes run in it: {running}")
        elif cgroup.remove(path):
            yield Remain("cgroup", str(path))
        else:
            yield Remain("cgroup", str(path), "it is busy")
    with contextlib.suppress(CgroupError, OSError):
        (cgroup.mount_point() / cgroup.OURS).rmdir()


def namespaces(config: Config) -> list[str]:
    """List the network namespaces to look into: our own (""), those with a name, those on the list."""
    listed = [kept.spec.netns for kept in read_list(list_path(Path(config.paths.control))) if kept.spec.netns]
    named = [str(path) for path in sorted(NAMED_NETNS.iterdir())] if NAMED_NETNS.is_dir() else []
    return ["", *dict.fromkeys((*named, *listed))]


async def remove_rules(where: str) -> list[Remain]:
    """Delete our tables, rules and routes in one network namespace, unless their owner lives."""
    place = f" in {where}" if where else ""
    try:
        space = Netns.at(where) if where else Netns.current()
    except NetnsError:
        return []  # it has gone, and everything in it
    descriptor = None if space.is_own else space.descriptor
    try:
        owners = {table.owner for table in await nft.tables(descriptor)}
        living = {owner for owner in owners if owner_lives(owner)}
        gone = await nft.cleanup(descriptor, spare=living)
        removed = [Remain("nf_tables table", f"{name}{place}") for name in gone]
        if not living:
            count = await routing.remove(descriptor)
            removed += [Remain("routing", f"{count} rules and routes{place}")] if count else []
    except ErrandRefused as refused:
        return [Remain("nf_tables and routing", f"rules{place}", str(refused))]
    finally:
        space.close()
    return removed


def files(config: Config) -> list[Path]:
    """List the files that an agent leaves when it is killed."""
    control = Path(config.paths.control)
    return [path for path in (control, lock_path(control), list_path(control)) if path.exists()]


def remove_files(config: Config) -> Iterator[Remain]:
    """Delete those files, and their folder if nothing else is in it and it is called after us."""
    for path in files(config):
        try:
            path.unlink()
            yield Remain("file", str(path))
        except OSError as cause:
            yield Remain("file", str(path), str(cause.strerror))
    folder = Path(config.paths.control).parent
    if folder.name.startswith("meshtrio"):
        with contextlib.suppress(OSError):
            folder.rmdir()
