"""Shell. The sockets of one API client, which another thread can cut whatever they are doing.

The client library blocks: in connect, in the handshake, in waiting for an answer or for the next event. Each
socket is known here by a second descriptor from before it connects. `shutdown` on that wakes whoever waits
on the first one, at any stage and under TLS too, which closing would not do. Only the look-up of a name
cannot be cut. Does not know HTTP.

The second descriptor is closed with the connection, or the server would never hear that we are gone.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

# A stream that is idle must notice within some seconds that the other side is out of reach: the watch is
# silent for a minute when all is well. Linux gives up when nothing was acknowledged for TCP_USER_TIMEOUT.
_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 7000),
)


class CutError(Exception):
    """The sockets were cut while, or before, somebody wanted something of them."""


class Sockets:
    """The open sockets of one client, which makes one call at a time. Bounded by its pool of connections."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._twins: set[socket.socket] = set()
        self._calling = False
        self._after_call: list[socket.socket] = []
        self.is_cut = False

    def cut(self) -> None:
        """End what is waited for on any of them, now and for ever. From any thread; again does nothing."""
        with self._lock:
            self.is_cut = True
            for twin in self._twins:
                with contextlib.suppress(OSError):
                    twin.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """Keep hold of every socket that is used inside, though the library may close it before its answer is
        read. CutError whatever came of it, if they were cut: an answer may end with its connection."""
        self._calling = True
        cause: Exception | None = None
        try:
            yield
        except Exception as error:
            if not self.is_cut:
                raise
            cause = error
        finally:
            self._calling = False
            left, self._after_call = self._after_call, []
            for twin in left:
                self._close(twin)
        if self.is_cut:
            raise CutError from cause

    def connect(self, where: tuple[str, int], timeout_s: float | None) -> tuple[socket.socket, socket.socket]:
        """Connect, and give the socket and its twin. OSError, or CutError."""
        last: OSError = OSError("no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(*where, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            twin = sock.dup()
            try:
                self._add(twin)
                for option in _OPTIONS:
                    sock.setsockopt(*option)
                sock.settimeout(timeout_s)
                sock.connect(address)
            except BaseException as cause:
                sock.close()
                self._close(twin)
                if not isinstance(cause, OSError):
                    raise
                last = cause
            else:
                return sock, twin
        raise last

    def _add(self, twin: socket.socket) -> None:
        with self._lock:
            if self.is_cut:
                raise CutError
            self._twins.add(twin)

    def let_go(self, twin: socket.socket) -> None:
        """Note that a connection was closed."""
        if self._calling:
            # http.client closes the connection of an answer that ends with it before the answer is read.
            self._after_call.append(twin)
        else:
            self._close(twin)

    def _close(self, twin: socket.socket) -> None:
        with self._lock:
            self._twins.discard(twin)
            twin.close()


class _Connection(HTTPConnection):
    """Connects through `sockets`. The method is the one that urllib3's own SOCKS support overrides."""

    sockets: Sockets
    _twin: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        timeout_s = self.timeout if isinstance(self.timeout, int | float) else None
        where = (self._dns_host.strip("[]"), self.port or self.default_port)
        try:
            sock, self._twin = self.sockets.connect(where, timeout_s)
        except socket.gaierror as cause:
            raise NameResolutionError(self.host, self, cause) from cause
        except TimeoutError as cause:
            raise ConnectTimeoutError(self, "no connection in time") from cause
        except OSError as cause:
            raise NewConnectionError(self, cause.strerror or "no connection") from cause
        return sock

    def close(self) -> None:
        try:
            super().close()
        finally:
            twin, self._twin = self._twin, None
            if twin is not None:
                self.sockets.let_go(twin)


def make_cuttable(manager: urllib3.PoolManager, sockets: Sockets) -> None:
    """Let all connections that this manager will make go through these sockets."""

    def pool_class(pool: Any, connection: type[HTTPConnection]) -> Any:
        made = type("Connection", (_Connection, connection), {"sockets": sockets})
        return type("Pool", (pool,), {"ConnectionCls": made})

    manager.pool_classes_by_scheme = {
        "http": pool_class(urllib3.HTTPConnectionPool, HTTPConnection),
        "https": pool_class(urllib3.HTTPSConnectionPool, HTTPSConnection),
    }
