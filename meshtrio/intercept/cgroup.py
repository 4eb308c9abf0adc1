"""Shell. Control groups, version 2: where they are mounted, which one a workload has. Knows no BPF.

The mount point is read from /proc/mounts, because a hybrid machine has it at
/sys/fs/cgroup/unified and a unified one at /sys/fs/cgroup.
"""

import contextlib
import errno
import os
import time
from pathlib import Path

OURS = "meshtrio"
"""The folder, right under the mount point, in which we make groups."""
RACE_S = 1.0
"""How long others may take our folder away while we make a group in it."""

_ADVICE = {
    errno.EACCES: " (needs root)",
    errno.EPERM: " (needs root)",
    errno.EROFS: " (as in a container without privileges; it must be mounted to be written)",
}


class CgroupError(Exception):
    """A control group cannot be found, made or entered; the message says what to do."""


def mount_point() -> Path:
    """Return where cgroup2 is mounted. CgroupError says how to mount it if it is not."""
    with open("/proc/mounts") as mounts:
        for line in mounts:
            fields = line.split()
            if len(fields) > 2 and fields[2] == "cgroup2":
                return Path(fields[1].replace("\\040", " "))
    raise CgroupError("cgroup v2 is not mounted; mount it with: mount -t cgroup2 none /sys/fs/cgroup/unified")


def create(name: str) -> Path:
    """Make the group of a workload and return its path. An existing one is used again."""
    path = mount_point() / OURS / name
    until = time.monotonic() + RACE_S
    while True:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            # Somebody's `remove` took our folder away amid our steps: ENOENT between its mkdir and the
            # group's, EEXIST if it was there for mkdir, and gone when pathlib looked whether it is a folder.
            if cause.errno in (errno.ENOENT, errno.EEXIST) and time.monotonic() < until:
                continue
            todo = _ADVICE.get(cause.errno or 0, "")
            raise CgroupError(f"cannot make cgroup {path}: {cause.strerror}{todo}") from cause
        return path


def given(text: str) -> Path:
    """Return the path of a group that exists, named absolutely or from the mount point."""
    mount = mount_point()
    path = Path(text)
    if not path.is_relative_to(mount):
        path = mount / text.lstrip("/")
    if ".." in path.parts or not (path / "cgroup.procs").exists():
        raise CgroupError(f"{text!r} is not a cgroup v2 under {mount}")
    if path == mount:
        raise CgroupError("the root cgroup holds the agent itself; name the cgroup of the workload")
    return path


def refuse_own(path: Path) -> None:
    """Raise CgroupError if this very process is inside the group: the proxy would catch itself."""
    if own().is_relative_to(path):
        raise CgroupError(f"cgroup {path} holds meshtrio itself; name one that does not")


def own() -> Path:
    """Return the group that this process is in. CgroupError if there is no cgroup v2."""
    with open("/proc/self/cgroup") as memberships:
        for line in memberships:
            if line.startswith("0::"):
                return mount_point() / line[3:].strip().lstrip("/")
    raise CgroupError("this process is in no cgroup v2")


def identifier(path: Path) -> int:
    """Return the id that the kernel uses for the group: its inode number."""
    return path.stat().st_ino


def is_another(path: Path, known: int) -> bool:
    """Say whether the group at this path is another than the one of this id. None is no other."""
    try:
        return identifier(path) != known
    except OSError:
        return False


def depth(path: Path) -> int:
    """Return how many levels the group is below the root of the hierarchy."""
    return len(path.relative_to(mount_point()).parts)


def processes(path: Path) -> list[int]:
    """Return the processes of the group and of all below it; none if it is gone."""
    found: list[int] = []
    for folder, _, _ in os.walk(path):
        with contextlib.suppress(OSError):
            found += [int(word) for word in (Path(folder) / "cgroup.procs").read_text().split()]
    return found


def enter(path: Path, pid: int = 0) -> None:
    """Move a process (0: the calling one) into the group."""
    try:
        (path / "cgroup.procs").write_text(str(pid))
    except OSError as cause:
        raise CgroupError(f"cannot move process {pid or 'self'} into {path}: {cause.strerror}") from cause


def remove(path: Path, *, patience_s: float = 1.0) -> bool:
    """Remove a group of ours, and our folder if it was the last. False if processes are still in it.

    A group stays busy for a moment after its last process has gone, hence the patience.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            path.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            if time.monotonic() < until and not processes(path):
                time.sleep(0.01)
                continue
            return False
        break
    with contextlib.suppress(OSError):
        if path.parent.name == OURS:
            path.parent.rmdir()
    return True
