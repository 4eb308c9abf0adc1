"""Shell. Network namespaces: open one, name it, make sockets inside it. Knows no BPF.

setns(2) changes the calling thread only, and between entering and leaving there is no await, so the
event loop never runs a task in a namespace that is not its own. `os.setns` exists from Python 3.12
on; ctypes serves 3.11.
"""

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator
from typing import Self

CLONE_NEWNET = 0x40000000
SO_NETNS_COOKIE = 71

_libc = ctypes.CDLL(None, use_errno=True)


class NetnsError(Exception):
    """A network namespace cannot be opened or entered; the message says which."""


class Netns:
    """An open network namespace. The descriptor keeps it alive, also when its last process has gone.

    `id` is the kernel's cookie (5.14 on), else the inode; unique on this machine as long as it is open.
    """

    def __init__(self, descriptor: int, *, home: "Netns | None" = None) -> None:
        """Take the descriptor over. `home` is where the calling thread belongs."""
        self.descriptor = descriptor
        self.inode = os.fstat(descriptor).st_ino
        self._home = home
        cookie = self._cookie()
        self.has_cookie = cookie is not None
        self.id = cookie if cookie is not None else self.inode

    @classmethod
    def current(cls) -> Self:
        """Open the namespace of the calling thread."""
        return cls(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def fresh(cls) -> Self:
        """Make a namespace in which nothing is yet, not even `lo` up. NetnsError if that is not allowed."""
        home = Netns.current()
        if _libc.unshare(CLONE_NEWNET):
            home.close()
            raise NetnsError(f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}")
        try:
            descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            # As in `entered`: nobody goes on in a namespace that is not his.
            try:
                _setns(home.descriptor)
            except OSError:
                os.abort()
        return cls(descriptor, home=home)

    @classmethod
    def at(cls, path: str) -> Self:
        """Open a namespace by path (/run/netns/NAME, /proc/PID/ns/net). NetnsError if it is none."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as cause:
            raise NetnsError(f"cannot open network namespace {path}: {cause.strerror}") from cause
        return cls.adopt(descriptor, named=path)

    @classmethod
    def adopt(cls, descriptor: int, *, named: str) -> Self:
        """Take over a descriptor; NetnsError (and it is closed) if it is no network namespace."""
        home: Netns | None = Netns.current()
        try:
            if home and _same(descriptor, home.descriptor):
                home.close()
                home = None
            return cls(descriptor, home=home)
        except OSError as cause:
            os.close(descriptor)
            if home:
                home.close()
            raise NetnsError(f"{named} is not a network namespace: {cause.strerror}") from cause

    def close(self) -> None:
        """Let the namespace go. Twice is fine."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        if self._home:
            self._home.close()

    @property
    def is_own(self) -> bool:
        """Say whether this is the namespace that the process runs in."""
        return self._home is None

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Run the calling thread inside; it is back home afterwards. Never await inside."""
        if self._home is None:
            yield
            return
        _setns(self.descriptor)
        try:
            yield
        finally:
            # Failing to come back would leave the event loop in the wrong namespace: do not go on.
            try:
                _setns(self._home.descriptor)
            except OSError:
                os.abort()

    def socket(self, family: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """Make a non-blocking socket inside: TCP, or UDP for SOCK_DGRAM."""
        if self._home is None:
            return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        with self.entered():
            return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def _cookie(self) -> int | None:
        with self.socket(socket.AF_INET) as probe:
            try:
                raw = probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
            except OSError:
                return None
        return int.from_bytes(raw, "little")


def _same(one: int, other: int) -> bool:
    return os.path.sameopenfile(one, other)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
