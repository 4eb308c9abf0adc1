"""Shell. A small relay that is right, or wrong in exactly one way: what the instrument is tried on.

What a relay owes to TCP: a FIN is passed on behind the last byte, a reset as a reset, and a reset that came
behind a FIN (EPIPE on writing) neither cuts what that FIN ended nor is forgotten: the other side is reset
once its queue is empty (SIOCOUTQ), for SO_LINGER 0 throws the queue away.
"""

import enum
import fcntl
import selectors
import socket
import struct
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integrity.side import RST_ON_CLOSE

_MOST_BYTES = 1 << 16


class Fault(enum.StrEnum):
    """What is wrong with the relay."""

    NONE = "none"
    DROPS_LAST_BYTE = "drops_last_byte"
    INVENTS_BYTE = "invents_byte"
    FLIPS_BIT = "flips_bit"
    SWAPS_CHUNKS = "swaps_chunks"
    REPEATS_CHUNK = "repeats_chunk"
    TRUNCATES_AT_SERVER_END = "truncates_at_server_end"
    RESET_BECOMES_FIN = "reset_becomes_fin"  # as HAProxy in tcp mode
    FIN_BECOMES_RESET = "fin_becomes_reset"
    NO_HALF_CLOSE = "no_half_close"  # closes both on the first EOF
    LATE_FIN = "late_fin"  # half-closes only when both sides have
    HOLDS_SMALL = "holds_small"  # waits for more before it passes on a few bytes
    DIALS_LATE = "dials_late"  # only at the client's first byte; gives up without one
    DIALS_TWICE = "dials_twice"  # replays the first bytes on a second connection
    FORGETS_LATE_RESET = "forgets_late_reset"  # swallows what it cannot deliver, and half-closes no more
    RESETS_TOO_SOON = "resets_too_soon"  # a failed write cuts the other direction


class Pipe:
    """One direction."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.held = bytearray()
        self.kept_back = b""
        self.passed = 0
        self.ended = self.fin = self.mute = False

    @property
    def reads(self) -> bool:
        """Say whether it has room."""
        return not self.ended and not self.mute and len(self.held) < _MOST_BYTES


class Link:
    """Two sockets and the bytes between them."""

    def __init__(self, client: socket.socket, server: socket.socket, fault: Fault) -> None:
        self.up, self.down = Pipe(client, server), Pipe(server, client)
        self.client, self.server = client, server
        self.over = False
        self.waits = False  # for a queue to empty, which nothing tells
        self._fault = fault

    def step(self) -> None:
        """Pass on what can be passed on; `over` once both sockets are closed."""
        for pipe in (self.up, self.down):
            try:
                self._pull(pipe)
                self._push(pipe)
            except (BlockingIOError, InterruptedError):
                continue
            except BrokenPipeError:
                pipe.mute = True
                pipe.held.clear()
            except OSError:
                self.reset()
                return
        self.waits = False
        for pipe, other in ((self.up, self.down), (self.down, self.up)):
            if pipe.mute and self._fault is Fault.RESETS_TOO_SOON:
                self.reset()
                return
            if pipe.mute and other.fin and self._fault is not Fault.FORGETS_LATE_RESET:
                if struct.unpack("i", fcntl.ioctl(pipe.source, termios.TIOCOUTQ, bytes(4)))[0]:
                    self.waits = True
                else:
                    self.reset()
                    return
        if self.up.fin and self.down.fin:
            self.close()

    def close(self) -> None:
        """Close both in order."""
        for sock in (self.client, self.server):
            sock.close()
        self.over = True

    def reset(self) -> None:
        """Close both by RST."""
        for sock in (self.client, self.server):
            if self._fault is Fault.RESET_BECOMES_FIN:
                _half_close(sock)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
        self.close()

    def _pull(self, pipe: Pipe) -> None:
        if not pipe.reads:
            return
        try:
            chunk = pipe.source.recv(_MOST_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        if chunk:
            pipe.held += self._spoilt(pipe, chunk)
            pipe.passed += len(chunk)
            return
        pipe.ended = True
        match self._fault:
            case Fault.INVENTS_BYTE:
                pipe.held += b"!"
            case Fault.TRUNCATES_AT_SERVER_END if pipe is self.down:
                pipe.held.clear()

    def _spoilt(self, pipe: Pipe, chunk: bytes) -> bytes:
        """Give what is passed on instead of this chunk. Headers stay whole: they would be caught too soon."""
        behind_header = pipe.passed >= 32
        match self._fault:
            case Fault.DROPS_LAST_BYTE:
                chunk, pipe.kept_back = pipe.kept_back + chunk[:-1], chunk[-1:]
            case Fault.TRUNCATES_AT_SERVER_END if pipe is self.down:
                chunk, pipe.kept_back = pipe.kept_back + chunk[:-1000], chunk[-1000:]
            case Fault.FLIPS_BIT if behind_header and len(chunk) > 1000:
                chunk = chunk[:700] + bytes([chunk[700] ^ 4]) + chunk[701:]
            case Fault.SWAPS_CHUNKS if behind_header and len(chunk) > 400:
                chunk = chunk[200:400] + chunk[:200] + chunk[400:]
            case Fault.REPEATS_CHUNK if behind_header and len(chunk) > 400:
                chunk = chunk[:200] + chunk
        return chunk

    def _push(self, pipe: Pipe) -> None:
        if self._fault is Fault.HOLDS_SMALL and len(pipe.held) < 100 and not pipe.ended:
            return
        if pipe.held:
            del pipe.held[: pipe.sink.send(pipe.held)]
        if not pipe.ended or pipe.held or pipe.fin:
            return
        if self._fault is Fault.LATE_FIN and not (self.up.ended and self.down.ended):
            return
        pipe.fin = True
        if self._fault is Fault.NO_HALF_CLOSE:
            self.up.fin = self.down.fin = True
        elif self._fault is Fault.FIN_BECOMES_RESET and self.up.fin and self.down.fin:
            self.reset()
        else:
            _half_close(pipe.sink)


def _half_close(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:  # already reset: reading will say so
        return


@contextmanager
def faulty_relay(server: tuple[str, int], fault: Fault) -> Iterator[tuple[str, int]]:
    """Relay from the address given to this server, in a thread, until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    stop = threading.Event()
    thread = threading.Thread(target=_relay, args=(listener, server, fault, stop))
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        stop.set()
        thread.join()
        listener.close()


def _relay(listener: socket.socket, server: tuple[str, int], fault: Fault, stop: threading.Event) -> None:
    links: dict[socket.socket, Link] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while not stop.is_set():
            ready = {key.fileobj for key, _ in selector.select(0.005)}
            if listener in ready:
                _accept(listener, server, fault, links)
            touched = {links[sock] for sock in ready if isinstance(sock, socket.socket) and sock in links}
            for link in {*links.values()}:
                known = link.client in selector.get_map() or link.server in selector.get_map()
                if link in touched or link.waits or not known:
                    _move(link, selector, links)
        for link in {*links.values()}:
            link.close()


def _accept(
    listener: socket.socket, server: tuple[str, int], fault: Fault, links: dict[socket.socket, Link]
) -> None:
    try:
        client, _ = listener.accept()
    except BlockingIOError:
        return
    if fault is Fault.DIALS_LATE and not _speaks(client):
        client.close()
        return
    upstream = socket.create_connection(server)
    if fault is Fault.DIALS_TWICE:
        with socket.create_connection(server) as replay:
            if _speaks(client):
                replay.sendall(client.recv(64, socket.MSG_PEEK))
    client.setblocking(False)
    upstream.setblocking(False)
    links[client] = links[upstream] = Link(client, upstream, fault)


def _speaks(client: socket.socket) -> bool:
    client.settimeout(0.1)
    try:
        return bool(client.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def _move(link: Link, selector: selectors.BaseSelector, links: dict[socket.socket, Link]) -> None:
    """Step once, and watch for what would let the next step do something."""
    for sock in (link.client, link.server):
        if sock in selector.get_map():
            selector.unregister(sock)
    link.step()
    if link.over:
        del links[link.client], links[link.server]
        return
    for sock, inward, outward in ((link.client, link.up, link.down), (link.server, link.down, link.up)):
        mask = selectors.EVENT_READ * inward.reads | selectors.EVENT_WRITE * bool(outward.held)
        if mask:
            selector.register(sock, mask)
