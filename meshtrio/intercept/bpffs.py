"""Shell. The file system in which kernel objects are pinned: found, or mounted. Knows no programs."""

import contextlib
import ctypes
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

DEFAULT = Path("/sys/fs/bpf")


class BpffsError(Exception):
    """Nothing can be pinned; the message says what to do."""


def ensure(pins: Path) -> Path:
    """Make the folder for pins, mounting bpffs at /sys/fs/bpf if nobody has. BpffsError says why not."""
    if not _on_bpffs(pins):
        if not pins.is_relative_to(DEFAULT):
            raise BpffsError(f"{pins} is not on a bpffs; mount one there: mount -t bpf bpf {pins.parent}")
        _mount()
    try:
        pins.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as cause:
        raise BpffsError(
            f"cannot make {pins}: {cause.strerror}; use paths.pins on a bpffs that is writable"
        ) from cause
    return pins


@contextlib.contextmanager
def held(pins: Path, *, make: bool) -> Iterator[None]:
    """Be the only agent that pins there. BpffsError if another one does; what cannot be made is not held.

    Whoever came second would adopt what the first one uses, send its connections to doors of its own, and
    take all of it away in the end.
    """
    if make:
        with contextlib.suppress(BpffsError):
            ensure(pins)
    with contextlib.ExitStack() as undo:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            lock = os.open(pins, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            undo.callback(os.close, lock)
            _lock(lock, pins)
            undo.callback(leave, pins)
        yield


def is_held(pins: Path) -> bool:
    """Say whether an agent that runs pins there."""
    try:
        with held(pins, make=False):
            return False
    except BpffsError:
        return True


def _lock(folder: int, pins: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BpffsError(f"another agent uses {pins}; stop it, or set paths.pins") from None


def leave(pins: Path) -> None:
    """Remove the folder for pins if nothing was pinned in it."""
    with contextlib.suppress(OSError):
        pins.rmdir()


def _mount() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", str(DEFAULT).encode(), b"bpf", 0, b"mode=0700"):
        why = os.strerror(ctypes.get_errno())
        raise BpffsError(f"cannot mount bpffs at {DEFAULT}: {why}; as root: mount -t bpf bpf {DEFAULT}")


def _on_bpffs(path: Path) -> bool:
    with open("/proc/mounts") as mounts:
        points = [fields[1] for fields in map(str.split, mounts) if fields[2] == "bpf"]
    return any(path.is_relative_to(point) for point in points)
