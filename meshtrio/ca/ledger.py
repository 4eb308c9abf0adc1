"""Shell. What the CA must not forget: join tokens (hashed), and which node may have which identities. Blocks.

An SQLite file, 0600, in which the server and `meshtrio ca token` write at the same time; what was answered
is on the disk. May be used from any thread. Does not know HTTP, nor certificates.
"""

import hmac
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from meshtrio.ca.grants import TOKEN_PREFIX, Denied, Why, digest

SCHEMA = 1
BUSY_S = 5.0
"""How long one waits for the other process's transaction, which takes milliseconds."""
KEPT_S = 30 * 86_400.0
"""How long used and expired tokens are kept, so that who brings one hears which of both it is."""
_TABLES = """
CREATE TABLE tokens (
    digest BLOB PRIMARY KEY, node TEXT NOT NULL, allow TEXT NOT NULL, until REAL NOT NULL, key BLOB
) WITHOUT ROWID;
CREATE TABLE nodes (name TEXT PRIMARY KEY, allow TEXT NOT NULL, since REAL NOT NULL) WITHOUT ROWID;
"""


class LedgerError(Exception):
    """The file cannot be used now; nothing was changed."""


class Node(msgspec.Struct, frozen=True):
    """A node that has joined."""

    name: str
    allow: tuple[str, ...]
    since: float


class Ledger:
    """The file, open."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it. LedgerError."""
        self._path = path
        self._alone = threading.Lock()
        with self._telling():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._line = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            with self._telling():
                self._set_up()
        except BaseException:
            self._line.close()
            raise

    def close(self) -> None:
        """Close it."""
        self._line.close()

    def _set_up(self) -> None:
        self._line.execute("PRAGMA journal_mode = WAL")
        self._line.execute("PRAGMA synchronous = FULL")
        with self._writing() as line:
            version = line.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _TABLES.split(";"):
                    line.execute(statement)
                line.execute(f"PRAGMA user_version = {SCHEMA}")
            elif version != SCHEMA:
                raise LedgerError(f"{self._path} has schema {version}, and this meshtrio knows {SCHEMA}")

    def new_token(self, node: str, allow: tuple[str, ...], now: float, life_s: float) -> str:
        """Make a token by which this node can join once. It is told here and never again. LedgerError."""
        token = f"{TOKEN_PREFIX}{secrets.token_urlsafe(32)}"
        written = msgspec.json.encode(allow).decode()
        with self._telling(), self._writing() as line:
            line.execute("DELETE FROM tokens WHERE until < ?", (now - KEPT_S,))
            row = (digest(token), node, written, now + life_s)
            line.execute("INSERT INTO tokens (digest, node, allow, until) VALUES (?, ?, ?, ?)", row)
        return token

    def redeem(self, token: str, node: str, key: bytes, now: float) -> Node:
        """Let a node in by its token, and remember it. Denied if the token is not good for that; LedgerError.

        `key` is what the certificate will be for. The same token for the same key is good again, as long as
        it lives: the answer to the first time may have been lost.
        """
        with self._telling(), self._writing() as line:
            select = "SELECT node, allow, until, key FROM tokens WHERE digest = ?"
            row = line.execute(select, (digest(token),)).fetchone()
            if row is None:
                raise Denied(Why.TOKEN_UNKNOWN, "this join token is not known here")
            owner, allow, until, used_for = row
            if owner != node:
                raise Denied(Why.TOKEN_OTHER_NODE, f"this join token is another node's, not {node}'s")
            if used_for is not None and not hmac.compare_digest(used_for, key):
                raise Denied(
                    Why.TOKEN_USED, "this join token has been used; make another (meshtrio ca token)"
                )
            if now > until:
                raise Denied(
                    Why.TOKEN_EXPIRED, "this join token has expired; make another (meshtrio ca token)"
                )
            line.execute("UPDATE tokens SET key = ? WHERE digest = ?", (key, digest(token)))
            line.execute("INSERT OR REPLACE INTO nodes VALUES (?, ?, ?)", (node, allow, now))
        return _node((node, allow, now))

    def node(self, name: str) -> Node | None:
        """Find a node that has joined. LedgerError."""
        with self._telling(), self._alone:
            row = self._line.execute(
                "SELECT name, allow, since FROM nodes WHERE name = ?", (name,)
            ).fetchone()
        return row and _node(row)

    def nodes(self) -> list[Node]:
        """List all that have joined. LedgerError."""
        with self._telling(), self._alone:
            rows = self._line.execute("SELECT name, allow, since FROM nodes ORDER BY name").fetchall()
        return [_node(row) for row in rows]

    def forget(self, name: str) -> bool:
        """Let a node get nothing any more, by its certificate or by tokens; False if it is not known.
        LedgerError."""
        with self._telling(), self._writing() as line:
            tokens = line.execute("DELETE FROM tokens WHERE node = ?", (name,)).rowcount
            return line.execute("DELETE FROM nodes WHERE name = ?", (name,)).rowcount + tokens > 0

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._alone, self._line:
            self._line.execute("BEGIN IMMEDIATE")
            yield self._line

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as cause:
            words = getattr(cause, "strerror", None) or str(cause)
            raise LedgerError(f"{self._path} cannot be used: {words}") from cause


def _node(row: tuple[str, str, float]) -> Node:
    name, allow, since = row
    return Node(name, msgspec.json.decode(allow, type=tuple[str, ...]), since)
