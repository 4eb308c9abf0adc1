"""Shell. What was worked out once, kept in a folder in which only we may write. Does not know what it is.

An entry that cannot be read or written costs time, never correctness: a broken one counts as none, and so
does one that somebody else could have written, for root loads what stands there, or believes it.
"""

import contextlib
import hashlib
import os
from pathlib import Path

_DIGEST_BYTES = 32


def read(entry: Path) -> bytes | None:
    """Return what was written, whole; None if there is nothing that may be believed."""
    try:
        if not (_is_ours_alone(entry.parent) and _is_ours_alone(entry)):
            return None
        raw = entry.read_bytes()
    except OSError:
        return None
    digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    return body if hashlib.sha256(body).digest() == digest else None


def write(entry: Path, body: bytes) -> None:
    """Put the entry there, whole or not at all. Its folder is made if need be, for the owner alone."""
    fresh = entry.with_suffix(f".{os.getpid()}")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _is_ours_alone(entry.parent):
            return
        fresh.touch(mode=0o600)
        fresh.write_bytes(hashlib.sha256(body).digest() + body)
        fresh.replace(entry)
    except OSError:
        with contextlib.suppress(OSError):  # the folder may be none, or read-only
            fresh.unlink()


def _is_ours_alone(path: Path) -> bool:
    status = path.stat()
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022
