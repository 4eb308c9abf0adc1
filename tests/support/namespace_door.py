"""Shell. A door in a namespace, and cgroups, for tests of redirection. Does not know who redirects.

A `Door` says in its first line who it is and what it was dialled as, and then repeats what it hears.
"""

import contextlib
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from meshtrio.intercept.original_dst import original_destination
from tests.support.namespace import Namespace

_numbers = itertools.count()


class Door:
    """A listening socket with a thread behind it, for as long as the block lasts."""

    def __init__(self, namespace: Namespace, port: int, name: str, *, host: str = "") -> None:
        self._listener = namespace.bound(host, port)
        self._name = name
        self._accepted: list[tuple[socket.socket, threading.Thread]] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for connection, thread in self._accepted:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._accepted.append((connection, thread))
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall((json.dumps(self._greeting(connection)) + "\n").encode())
            while heard := connection.recv(100):
                connection.sendall(heard)

    def _greeting(self, connection: socket.socket) -> dict[str, object]:
        original = original_destination(connection)
        return {
            "name": self._name,
            "original": str(original) if original else None,
            "local": connection.getsockname()[:2],
            "peer": connection.getpeername()[:2],
        }


@contextlib.contextmanager
def cgroup(below: Path | None = None) -> Iterator[Path]:
    """Make a cgroup, under the root of the cgroup2 mount or another one, and remove it when it is empty."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    parent = below or next(Path(fields[1]) for fields in mounts if fields[2] == "cgroup2")
    made = parent / f"meshtrio_test_{os.getpid()}_{next(_numbers)}"
    made.mkdir()
    try:
        yield made
    finally:
        for patience in range(50):
            try:
                made.rmdir()
                break
            except OSError:
                # A process that was killed leaves its cgroup a moment later.
                time.sleep(0.02 * (patience + 1))
