"""Shell. The SQLite file of what survives a restart: opened, checked, and begun anew if it is broken. Blocks.

Does not know what is in its rows, nor which thread it is in; one at a time. The file is ours alone: 0600, and
locked exclusively, so that it needs no shared memory beside it. It is a write-ahead log with a sync at every
commit, so what was committed survives kill -9 and a power cut.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from meshtrio.observe import log

SCHEMA = 1
ASIDE = 3
"""How many broken files are kept beside the good one. Older ones are deleted."""

_BROKEN = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
_ENDINGS = ("-wal", "-shm", "-journal", "")
_TABLES = """
CREATE TABLE registrations (
    seq INTEGER PRIMARY KEY, key TEXT NOT NULL, id TEXT NOT NULL, until REAL NOT NULL, said BLOB NOT NULL,
    UNIQUE (key, id)
);
CREATE TABLE vips (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
"""
_CARRIED = {
    "SELECT key, id, until, said FROM registrations ORDER BY seq": (
        "INSERT OR REPLACE INTO registrations (key, id, until, said) VALUES (?, ?, ?, ?)"
    ),
    "SELECT number, key FROM vips": "INSERT OR REPLACE INTO vips (number, key) VALUES (?, ?)",
}

T = TypeVar("T")


class StateError(Exception):
    """The file cannot be used now."""


class StateFile:
    """One SQLite file, opened (or made) when it is first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._line: sqlite3.Connection | None = None

    def use(self, do: Callable[[sqlite3.Connection], T]) -> T:
        """Do something in one transaction. StateError: it cannot be done now, and nothing was.

        If the file turns out to be broken, that is a StateError too, and the next try finds it mended.
        """
        try:
            return self._use(do)
        except sqlite3.Error as cause:
            raise StateError(str(cause)) from cause
        except OSError as cause:
            raise StateError(cause.strerror or str(cause)) from cause

    def close(self) -> None:
        """Close it. It is opened again if it is used again."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _use(self, do: Callable[[sqlite3.Connection], T]) -> T:
        if self._line is None:
            self._line = self._opened()
        try:
            with self._line:
                self._line.execute("BEGIN IMMEDIATE")
                return do(self._line)
        except sqlite3.Error as cause:
            if _is_broken(cause):
                broken, self._line = self._line, None
                self._line = self._renewed(broken, str(cause))
            raise

    def _opened(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(file, 0o600)
        finally:
            # Before SQLite opens it: closing any descriptor of a file gives up all locks that we have on it.
            os.close(file)
        line = sqlite3.connect(self.path, timeout=0.2, isolation_level=None, check_same_thread=False)
        try:
            why = _set_up(line)
        except sqlite3.Error as cause:
            if not _is_broken(cause):
                line.close()
                raise
            why = str(cause)
        return self._renewed(line, why) if why else line

    def _renewed(self, line: sqlite3.Connection, why: str) -> sqlite3.Connection:
        """Move the file aside, and begin another one with what can be read of it."""
        carried = {put: _readable(line, select) for select, put in _CARRIED.items()}
        line.close()
        aside = f"{self.path.name}.corrupt-{time.time_ns() // 1_000_000}"
        for ending in _ENDINGS:
            with suppress(FileNotFoundError):
                Path(f"{self.path}{ending}").rename(self.path.with_name(aside + ending))
        log.warning(
            "the state file is broken; it is moved aside, and begun anew with what could be read of it",
            path=str(self.path),
            aside=aside,
            why=why,
            read=sum(map(len, carried.values())),
        )
        self._clear_away()
        fresh = self._opened()
        with fresh:
            fresh.execute("BEGIN IMMEDIATE")
            for put, rows in carried.items():
                for row in rows:
                    # A row that does not fit any more has lost its meaning with its place.
                    with suppress(sqlite3.IntegrityError):
                        fresh.execute(put, row)
        return fresh

    def _clear_away(self) -> None:
        stamp = f"{self.path.name}.corrupt-"
        aside = [
            old for old in self.path.parent.glob(f"{stamp}*") if old.name.removeprefix(stamp).isdecimal()
        ]
        for old in sorted(aside)[:-ASIDE]:
            for ending in _ENDINGS:
                old.with_name(old.name + ending).unlink(missing_ok=True)


def _is_broken(cause: sqlite3.Error) -> bool:
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _BROKEN


def _set_up(line: sqlite3.Connection) -> str:
    """Make the file ours to use; returns why its content cannot be used, or nothing."""
    # With the exclusive lock set first, the log's index is on the heap and not in a shared file.
    line.execute("PRAGMA locking_mode = EXCLUSIVE")
    line.execute("PRAGMA journal_mode = WAL")
    line.execute("PRAGMA synchronous = FULL")
    line.execute("PRAGMA journal_size_limit = 4194304")
    line.execute("PRAGMA cache_size = -256")
    version = line.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        line.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT")
    elif version != SCHEMA:
        return f"it has schema {version}, and this meshtrio knows {SCHEMA}"
    sound = line.execute("PRAGMA quick_check(1)").fetchone()[0]
    return "" if sound == "ok" else str(sound)


def _readable(line: sqlite3.Connection, select: str) -> list[tuple[object, ...]]:
    """Read rows for as long as they can be read."""
    rows: list[tuple[object, ...]] = []
    with suppress(sqlite3.Error):
        for row in line.execute(select):
            rows.append(row)
    return rows
