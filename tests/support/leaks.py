"""Shell. What a test run may leave behind, seen from outside: the kernel's objects, processes, descriptors.

Knows how to list what there is now, by name. Does not know which test made it: that is for who compares
two lists. Only what looks like ours is listed, for other programs share the machine.
"""

import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# A process that a test started carries this in its environment, also when its parent died and init took it.
# It has to be in os.environ before the first process is started.
RUN_NAME = "MESHTRIO_TEST_RUN"
RUN_ID = uuid.uuid4().hex
OURS = re.compile("mesh", re.IGNORECASE)
BPFFS = Path("/sys/fs/bpf")
NETNS = Path("/run/netns")


def left_now() -> frozenset[str]:
    """Name everything of ours that exists at this moment, each with the word for what it is."""
    return frozenset(
        f"{kind} {name}"
        for kind, names in (
            ("cgroup", _cgroups()),
            ("pin", _pins()),
            ("nf_tables table", _tables()),
            ("network namespace", _namespaces()),
            ("bpf", _programs_and_links()),
            ("process", _processes()),
        )
        for name in names
    )


def children_of(pid: int) -> frozenset[int]:
    """Say which processes have this one as their parent. Empty where the kernel does not keep the list."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found.update(int(child) for child in (task / "children").read_text().split())
        except OSError:
            continue  # that thread has just ended
    return frozenset(found)


def command_of(pid: int) -> str:
    """Say what a process runs, `?` if it is gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return (
            words.strip()[:120] or Path(f"/proc/{pid}/comm").read_text().strip() + " (ended, not waited for)"
        )
    except OSError:
        return "?"


def descriptors() -> dict[int, str]:
    """Say which file descriptors this process has open, and on what."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            found[int(path.name)] = str(path.readlink())
        except OSError:
            continue  # the one that listed the folder
    return found


def cgroup_mount() -> Path | None:
    """Say where cgroup v2 is mounted: not always /sys/fs/cgroup."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    return None


def _cgroups() -> Iterator[str]:
    mount = cgroup_mount()
    for folder, names, _ in os.walk(mount) if mount else ():
        for name in names:
            if OURS.search(name):
                pids = _read(Path(folder, name, "cgroup.procs")).split()
                if not pids or any(_is_ours(int(pid)) for pid in pids):
                    yield f"{folder}/{name}"


def _pins() -> Iterator[str]:
    for folder, names, files in os.walk(BPFFS):
        yield from (f"{folder}/{name}" for name in names + files if OURS.search(f"{folder}/{name}"))


def _namespaces() -> Iterator[str]:
    if NETNS.is_dir():
        yield from (path.name for path in NETNS.iterdir() if OURS.search(path.name))


def _tables() -> Iterator[str]:
    for entry in _answer("nft", "-j", "list", "tables").get("nftables", []):
        table = entry.get("table", {})
        if OURS.search(table.get("name", "")):
            yield f"{table['family']} {table['name']}"


def _programs_and_links() -> Iterator[str]:
    """Name what no process of someone else's holds: pinned, attached without a link, or held by us."""
    for kind in ("prog", "link"):
        for entry in _answer("bpftool", "-j", kind, "list").get("list", []):
            holders = [holder["pid"] for holder in entry.get("pids", [])]
            if all(_is_ours(pid) for pid in holders):
                yield f"{kind} {entry['id']} {entry.get('name') or entry.get('attach_type', '')}".rstrip()


def _processes() -> Iterator[str]:
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and int(path.name) != os.getpid() and _is_ours(int(path.name)):
            yield f"{path.name} {command_of(int(path.name))}"


def _is_ours(pid: int) -> bool:
    if pid == os.getpid():
        return True
    try:
        return f"{RUN_NAME}={RUN_ID}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False  # gone, or another user's


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _answer(*command: str) -> dict[str, Any]:
    """Ask a program for JSON. Nothing to tell where it is absent or refuses (no root)."""
    if os.geteuid() != 0 or shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin") is None:
        return {}
    answer = subprocess.run(command, capture_output=True, check=False, timeout=20)
    if answer.returncode != 0 or not answer.stdout.strip():
        return {}
    told = json.loads(answer.stdout)
    return told if isinstance(told, dict) else {"list": told}
