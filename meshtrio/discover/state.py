"""Shell. What survives a restart: registrations, and the numbers of virtual IPs. Does not know what a
registration says.

The file is used by one thread at a time, never by the loop. A file that cannot be used now (a full disk, no
permission, locked) is tried again by whoever calls next; its fault is logged once, and not again while it
stays the same.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import trio

from meshtrio.discover.state_file import StateError, StateFile
from meshtrio.observe import log

T = TypeVar("T")


class Row(NamedTuple):
    """A registration as it is kept. What it says is JSON, or None: it is gone."""

    key: str
    id: str
    until: float
    """Wall time; 0: for ever."""
    said: bytes | None


class Until(NamedTuple):
    """A new end for a registration that is kept already."""

    until: float
    key: str
    id: str


class Store:
    """What is kept, in the file at `path`."""

    def __init__(self, path: str) -> None:
        """Name the file. It is opened, or made, when it is first needed."""
        self.fault = ""
        """Why it cannot be used; empty: it can."""
        self._file = StateFile(Path(path))
        self._one = trio.CapacityLimiter(1)
        self._unwritten: dict[str, int] = {}
        """Numbers of virtual IPs that could not be written yet. Full: as many as there are numbers."""

    async def registrations(self) -> list[Row]:
        """Read all registrations, those that changed last at the end. StateError if they cannot be read."""
        return await self._use(_registrations)

    async def write(self, rows: Iterable[Row], *, untils: Iterable[Until] = (), whole: bool = False) -> None:
        """Write what has changed, all or nothing; `whole`: and there are no other registrations.

        It is on the disk when this returns. StateError: nothing was written. Cancelled: it may be, later.
        """

        def write(line: sqlite3.Connection) -> None:
            if whole:
                line.execute("DELETE FROM registrations")
            for row in rows:
                _write(line, row)
            line.executemany("UPDATE registrations SET until = ? WHERE key = ? AND id = ?", untils)

        await self._use(write)

    async def vips(self) -> dict[str, int]:
        """Read which service has which number; none if that cannot be read."""
        try:
            return await self._use(_vips)
        except StateError:
            return {}

    async def keep_vips(self, fresh: Mapping[str, int]) -> None:
        """Keep these numbers beside the others; a number that was another service's is that one's no more.

        They are on the disk when this returns, unless the disk does not want them: then they are written with
        the next ones.
        """
        self._unwritten.update(fresh)
        pairs = tuple((number, key) for key, number in self._unwritten.items())

        def keep(line: sqlite3.Connection) -> None:
            line.executemany("INSERT OR REPLACE INTO vips (number, key) VALUES (?, ?)", pairs)

        with suppress(StateError):
            await self._use(keep)
            for number, key in pairs:
                if self._unwritten.get(key) == number:
                    del self._unwritten[key]

    async def aclose(self) -> None:
        """Close the file. It is opened again if it is used again."""
        await trio.to_thread.run_sync(self._file.close, limiter=self._one)

    async def _use(self, do: Callable[[sqlite3.Connection], T]) -> T:
        try:
            # Given up when cancelled: a dead disk may hold a thread for ever, and must not hold the agent.
            # The thread keeps its place in the limiter, so nobody meets it at the file.
            done = await trio.to_thread.run_sync(
                self._file.use, do, limiter=self._one, abandon_on_cancel=True
            )
        except StateError as fault:
            if str(fault) != self.fault:
                self.fault = str(fault)
                log.warning(
                    "the state file cannot be used; what is registered now would not survive a restart",
                    path=str(self._file.path),
                    why=self.fault,
                )
            raise
        if self.fault:
            self.fault = ""
            log.info("the state file can be used again", path=str(self._file.path))
        return done


def _registrations(line: sqlite3.Connection) -> list[Row]:
    return [Row(*row) for row in line.execute("SELECT key, id, until, said FROM registrations ORDER BY seq")]


def _vips(line: sqlite3.Connection) -> dict[str, int]:
    return dict(line.execute("SELECT key, number FROM vips").fetchall())


def _write(line: sqlite3.Connection, row: Row) -> None:
    if row.said is None:
        line.execute("DELETE FROM registrations WHERE key = ? AND id = ?", (row.key, row.id))
    else:
        # Replaced and not updated: so it gets the greatest number, and is read last.
        line.execute("INSERT OR REPLACE INTO registrations (key, id, until, said) VALUES (?, ?, ?, ?)", row)
