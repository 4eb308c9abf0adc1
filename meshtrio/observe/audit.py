"""Shell. The audit log: who became whom, who was refused, what was rotated; one JSON object a line.

Without a file of its own it goes to the log. The file is appended to, mode 0600, and opened anew when it was
moved away, so that whoever rotates logs needs to tell nobody. Does not know who reads it.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import trio

from meshtrio.messages import Connection
from meshtrio.observe import log
from meshtrio.outcome import Outcome

WAITING = 10_000
"""Lines that wait for the disk. Full: the newest is given up, and counted in the next one that is written."""
AGAIN_S = 1.0
_REFUSED = {
    Outcome.NO_IDENTITY: "handshake failed",
    Outcome.UPSTREAM_TLS: "handshake failed",
    Outcome.CLIENT_TLS: "handshake failed",
    Outcome.PLAINTEXT: "plaintext refused",
    Outcome.DENIED: "denied",
}
_TOLD = ("direction", "workload", "peer", "source", "destination", "endpoint", "policy")


class Trail:
    """The lines that one process has to write."""

    def __init__(self) -> None:
        """Begin without a file."""
        self.path = ""
        self.fault = ""
        """Why lines cannot be written now."""
        self.omitted = 0
        self.waiting: deque[bytes] = deque()
        self.more = trio.Event()
        self._file = -1

    def record(self, kind: str, fields: dict[str, object]) -> None:
        """Take a line. Never waits."""
        if not self.path:
            log.info(f"audit: {kind}", **fields)
            return
        if len(self.waiting) >= WAITING:
            self.omitted += 1
            return
        line: dict[str, object] = {"at": round(time.time(), 3), "kind": kind, **fields}
        if self.omitted:
            line["omitted_before"], self.omitted = self.omitted, 0
        self.waiting.append(msgspec.json.encode(line, enc_hook=str) + b"\n")
        self.more.set()

    async def write(self) -> None:
        """Write what waits, until cancelled; what waits then is written, too, if the disk takes it."""
        try:
            while True:
                await self.more.wait()
                self.more = trio.Event()
                while self.waiting and self.path:
                    batch = b"".join(self.waiting)
                    count, path = len(self.waiting), self.path
                    self.fault = await trio.to_thread.run_sync(self._append, path, batch)
                    if self.fault:
                        log.rarely("the audit log cannot be written", path=path, why=self.fault)
                        await trio.sleep(AGAIN_S)
                    else:
                        for _ in range(count):
                            self.waiting.popleft()
        finally:
            if self.waiting and self.path:
                self._append(self.path, b"".join(self.waiting))
                self.waiting.clear()
            self._close()

    def _append(self, path: str, batch: bytes) -> str:
        """Append lines; say why not. A line that was written in part is written again, whole."""
        try:
            self._open(path)
            while batch:
                batch = batch[os.write(self._file, batch) :]
        except OSError as cause:
            self._close()
            return cause.strerror or str(cause)
        return ""

    def _open(self, path: str) -> None:
        if self._file >= 0:
            here = os.fstat(self._file)
            try:
                there = Path(path).stat()
            except FileNotFoundError:
                there = None
            if there is not None and (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                return
            self._close()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


_trail = Trail()


def set_up(path: str) -> None:
    """Write to this file from now on; empty: to the log. What waits goes to the new one."""
    _trail.path = path
    _trail.more.set()


def record(kind: str, **fields: object) -> None:
    """Note what an auditor wants to know. Never waits, and never fails. No secrets."""
    _trail.record(kind, fields)


def ended(connections: Sequence[Connection], omitted: int, ids: Callable[[], Mapping[str, str]]) -> None:
    """Note which of these connections were refused for who somebody is or is not, or would be.

    Would be: policy is in its dry run. `ids` gives those of our workloads. Without a file this does nothing,
    for workers log how connections end.
    """
    if not _trail.path:
        return
    for one in connections:
        kind = _REFUSED.get(one.outcome) if one.outcome is not None else None
        if kind is None and one.policy:
            kind = "would be denied"  # policy.dry_run
        if kind is not None:
            told = {name: getattr(one, name) for name in _TOLD}
            outcome = one.outcome.value if one.outcome is not None else ""
            record(kind, **told, spiffe_id=ids().get(one.workload, ""), outcome=outcome, why=one.detail)
    if omitted:
        record("connections not listed", omitted=omitted)


def fault() -> str:
    """Say why lines cannot be written now; empty: they can."""
    return _trail.fault


async def keep_writing() -> None:
    """Write what is recorded, until cancelled. One task of a process has to."""
    await _trail.write()
