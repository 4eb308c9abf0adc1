"""Shell. Files with secrets, written whole or not at all, and still so after a power cut. Blocks.

Does not know what is in them.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE_S = 5.0
"""How long another process may be busy in the same folder, which takes it milliseconds."""


def write_whole(path: Path, text: bytes) -> None:
    """Replace a file, mode 0600: after a crash it is there whole, or the old one is. OSError if it cannot be,
    and then the old one is there."""
    fresh = path.with_name(f"{path.name}.new")
    write_new(fresh, text)
    fresh.replace(path)
    sync(path.parent)


def write_new(path: Path, text: bytes) -> None:
    """Write a file, mode 0600, down to the disk. OSError, and there is none, if that cannot be."""
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(text)
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


def sync(folder: Path) -> None:
    """Let what was renamed and linked there stay so, also after a power cut."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be alone in a folder, which is made (0700) if it is not there. OSError if somebody else stays there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise OSError(errno.EBUSY, "another process has locked it") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(file)
