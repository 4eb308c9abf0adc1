"""Shell. The admin port (TCP, read only) and the control socket (Unix, 0600, everything), served.

The sockets are opened before anything else is done, so that a port
that is taken is said at once and costs nothing. Does not know what is answered.
"""

import contextlib
import fcntl
import os
import socket
from pathlib import Path
from typing import Any, NamedTuple

import trio

from meshtrio.observe import log
from meshtrio.places import lock_path
from meshtrio.web.conversation import converse
from meshtrio.web.message import Caller
from meshtrio.web.router import App


class AdminError(Exception):
    """A socket cannot be opened; the message says why and what to do."""


class Sockets(NamedTuple):
    """What the agent answers on, and the lock that says that it is the only one."""

    admin: socket.socket
    control: socket.socket
    path: Path
    lock: int

    def close(self) -> None:
        """Close all, and take the files of the control socket and of the lock away."""
        self.path.unlink(missing_ok=True)
        self.admin.close()
        self.control.close()
        lock_path(self.path).unlink(missing_ok=True)
        os.close(self.lock)


def open_sockets(control: Path, bind: str, port: int) -> Sockets:
    """Open both, and be the only agent at this control socket. AdminError if anything is taken."""
    with contextlib.ExitStack() as undo:
        try:
            control.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            lock = _locked(lock_path(control))
        except BlockingIOError:
            raise AdminError(f"another agent runs with {control}; stop it, or set paths.control") from None
        except OSError as cause:
            raise AdminError(f"cannot use {control.parent}: {cause.strerror}; set paths.control") from cause
        undo.callback(os.close, lock)
        admin = undo.enter_context(_admin(bind, port))
        unix = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        mask = os.umask(0o177)
        try:
            control.unlink(missing_ok=True)
            unix.bind(str(control))
        except OSError as cause:
            # "AF_UNIX path too long" has no strerror.
            why = cause.strerror or cause
            raise AdminError(f"cannot listen on {control}: {why}; set paths.control") from cause
        finally:
            os.umask(mask)
        unix.listen(64)
        undo.pop_all()
        return Sockets(admin, unix, control, lock)


def _locked(path: Path) -> int:
    """Hold the lock of this file. BlockingIOError if somebody else does.

    An agent that ends takes the file away while it holds the lock. Whoever has opened that file before, and
    got the lock after, holds the lock of a file that is no longer there; so it looks, and tries again.
    """
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(lock).st_ino:
                return lock
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _admin(bind: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    admin = socket.socket(family, socket.SOCK_STREAM)
    try:
        admin.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        admin.bind((bind, port))
        admin.listen(64)
    except OSError as cause:
        admin.close()
        raise AdminError(
            f"cannot listen on the admin port {bind} {port}: {cause.strerror}"
            f" (see: ss -ltnp 'sport = {port}'); set ports.admin or admin.bind"
        ) from cause
    return admin


async def serve(
    app: App,
    listener: socket.socket,
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer on a listening socket until cancelled; ready when the first answer can be given.

    Cancelled, it hangs up on everybody, also on those who do not read. `listener` stays open.
    """

    async def answer(stream: trio.SocketStream) -> None:
        try:
            await converse(stream, app, Caller())
        except Exception as bug:  # noqa: BLE001  the border: one client must not end the others
            log.bug("an admin connection ended by a bug of ours", bug)

    copy = socket.socket(fileno=os.dup(listener.fileno()))
    copy.setblocking(False)
    ours = trio.SocketListener(trio.socket.from_stdlib_socket(copy))
    await trio.serve_listeners(answer, [ours], task_status=task_status)
