"""Shell. Network namespaces for tests, what can run in them, and wires between them. Does not know the mesh.

A `Namespace` is a thread that called unshare(CLONE_NEWNET) and waits for jobs. A job makes a socket or runs
a command; a socket stays in the namespace of its birth, whoever uses it, so trio need not care. There are no
names in /var/run/netns, and nothing to delete: it ends with its last socket, process and thread.
"""

import concurrent.futures
import ctypes
import os
import queue
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import trio

T = TypeVar("T")

_CLONE_NEWNET = 0x4000_0000


class Namespace:
    """A network namespace with `lo` up. As a context manager it lives as long as the block."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], concurrent.futures.Future[Any]] | None]
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="namespace", daemon=True)
        self.tid = 0
        self.fd = -1
        """A descriptor of the namespace, open until the block ends."""

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.run(self._unshare)
            self.ip("link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._jobs.put(None)
        self._thread.join()
        if self.fd >= 0:
            os.close(self.fd)

    def run(self, job: Callable[[], T]) -> T:
        """Call it on the thread that lives in the namespace, and return what it returns."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._jobs.put((job, future))
        return future.result(60)

    def command(self, *argv: str, check: bool = True) -> str:
        """Run a command in the namespace, and return what it wrote. CalledProcessError has its complaint."""
        done = self.run(lambda: subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60))
        if check and done.returncode:
            raise subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr + str(argv))
        return done.stdout

    def ip(self, *words: str) -> str:
        """Run iproute2's `ip`."""
        return self.command("ip", *words)

    def add_address(self, cidr: str, device: str) -> None:
        """Add an address that can be used at once (no duplicate detection)."""
        nodad = ("nodad",) if ":" in cidr else ()
        self.ip("address", "add", cidr, "dev", device, *nodad)

    def route_everything(self, device: str = "lo") -> None:
        """Add default routes, so that any address can be dialled (and is lost, if nobody redirects it)."""
        source = ("src", "127.0.0.1") if device == "lo" else ()  # or the kernel finds none
        self.ip("-4", "route", "add", "default", "dev", device, *source)
        self.ip("-6", "route", "add", "default", "dev", device)

    def set_sysctl(self, name: str, value: str) -> None:
        """Set a per-namespace sysctl."""
        self.run(lambda: Path("/proc/sys", *name.split(".")).write_text(value))

    def has_sysctl(self, name: str) -> bool:
        """Say whether this kernel has such a sysctl in a namespace."""
        return self.run(lambda: Path("/proc/sys", *name.split(".")).exists())

    def tcp_socket(self, family: int = socket.AF_INET) -> socket.socket:
        """Make a TCP socket in the namespace."""
        return self.run(lambda: socket.socket(family, socket.SOCK_STREAM))

    def bound(self, host: str, port: int) -> socket.socket:
        """Make a listening TCP socket in the namespace; "" listens on every address of both families."""
        made = self.tcp_socket(socket.AF_INET6 if ":" in host or not host else socket.AF_INET)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(host)))
        made.bind((host, port))
        made.listen(128)
        return made

    async def listen(self, port: int, host: str = "") -> trio.SocketListener:
        """Listen, for trio.serve_listeners."""
        made = self.bound(host, port)
        made.setblocking(False)
        return trio.SocketListener(trio.socket.from_stdlib_socket(made))

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        """Connect from inside the namespace to a numeric host."""
        made = trio.socket.from_stdlib_socket(
            self.tcp_socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        )
        try:
            await made.connect((host, port))
        except BaseException:
            made.close()
            raise
        return trio.SocketStream(made)

    def _unshare(self) -> None:
        # os.unshare comes with Python 3.12. Only this thread moves.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
        self.tid = threading.get_native_id()
        self.fd = os.open(f"/proc/self/task/{self.tid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 (raised where the result is awaited)
                future.set_exception(error)


def wire(left: Namespace, right: Namespace, *, device: str = "wire") -> None:
    """Connect two namespaces by a veth pair that is up on both ends and has no address yet."""
    peer = ("peer", "name", device, "netns", str(right.tid))
    left.ip("link", "add", device, "type", "veth", *peer)
    for end in (left, right):
        end.ip("link", "set", device, "up")
