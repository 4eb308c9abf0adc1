"""Shell. How each hazard is tried on a pair of connected sockets. Does not know how sk_msg got there.

A probe returns what was not as with TCP, or nothing. Each also sees to it that bytes did go past TCP (or did
not), for what was not tried proves nothing. A socket that is silent for too long raises TimeoutError.
"""

import fcntl
import os
import select
import socket
import struct
import termios
import time
from collections.abc import Callable

from meshtrio.accelerate.bulk import bulk, memory
from meshtrio.accelerate.hazards import Hazard
from meshtrio.accelerate.lab import ENDLESS, PATIENCE_S, Lab, take
from meshtrio.forward.tcp import unacked_bytes

SOME = b"some bytes that are sent at once"
NOTHING_S = 0.02
"""How long is waited for what must not come. It would be there already."""

Probe = Callable[[Lab, str], str]


def order(lab: Lab, host: str) -> str:
    """Send once while the other end is not enrolled, then enrol it and send on."""
    with lab.only_callers(), lab.pair(host, ENDLESS) as (client, server):
        client.sendall(b"early ")
        lab.enrol(server)
        client.sendall(b"late")
        got = take(server, 10)
        if lab.lane(client).fast_bytes:
            return "what began with TCP was redirected later"
        return "" if got == b"early late" else f"late bytes came before early ones: {got!r}"


def latch(lab: Lab, host: str) -> str:
    """Send many messages of which only the first have credit."""
    messages = [b"%05d" % number for number in range(64)]
    with lab.pair(host, 8 * 5) as (client, server):
        for message in messages:
            client.sendall(message)
        got, lane = take(server, 5 * 64), lab.lane(client)
        if (lane.fast_bytes, lane.tcp_bytes) != (40, 5 * 56):
            return f"{lane.fast_bytes} bytes were redirected, with credit for 40"
        return "" if got == b"".join(messages) else "bytes changed places at the latch"


def early(lab: Lab, host: str) -> str:
    """Send before the server has accepted, and after."""
    with lab.pair(host, ENDLESS, early=SOME) as (client, server):
        client.sendall(b"after")
        got = take(server, len(SOME) + 5)
        return "" if got == SOME + b"after" else f"{got!r} came"


def edges(lab: Lab, host: str) -> str:
    """Send and read twice, before and after the latch; each must be an edge."""
    with lab.pair(host, 2) as (client, server), select.epoll() as epoll:
        epoll.register(server, select.EPOLLIN | select.EPOLLET)
        for turn in range(4):
            client.sendall(b"x")
            if not epoll.poll(PATIENCE_S):
                return f"no edge for {'redirected' if turn < 2 else 'native'} bytes"
            take(server, 1)
        return _went(lab, client, 2)


def short_read(lab: Lab, host: str) -> str:
    """Let redirected and native bytes wait together, and read once with room for more."""
    with lab.pair(host, len(SOME)) as (client, server):
        client.sendall(SOME)
        client.sendall(SOME)
        until = time.monotonic() + PATIENCE_S
        while unacked_bytes(client) and time.monotonic() < until:
            time.sleep(0.001)
        got = server.recv(100 * len(SOME))
        if got != SOME + SOME:
            return f"a read with room for more gave {len(got)} of {2 * len(SOME)} bytes"
        return _went(lab, client, len(SOME))


def low_water(lab: Lab, host: str) -> str:
    """Send less than the reader asked for, then the rest."""
    with lab.pair(host, ENDLESS) as (client, server):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 100)
        client.sendall(bytes(10))
        if _readable(server, NOTHING_S):
            return "readable with 10 redirected bytes, though 100 were asked for"
        client.sendall(bytes(90))
        return _went(lab, client, 100) if _readable(server, PATIENCE_S) else "not readable with all there"


def half_close(lab: Lab, host: str) -> str:
    """End each direction in turn, and use the other one meanwhile."""
    with lab.pair(host, ENDLESS) as (client, server):
        for sender, reader in ((client, server), (server, client)):
            sender.sendall(SOME)
            wrong = _went(lab, sender, len(SOME))  # before both have ended, for then they have no names
            if wrong:
                return wrong
            sender.shutdown(socket.SHUT_WR)
            got = _all(reader)
            if got != SOME:
                return f"{len(got)} of {len(SOME)} bytes came before the end"
    return ""


def reset(lab: Lab, host: str) -> str:
    """Reset a connection whose other end has read all."""
    with lab.pair(host, ENDLESS) as (client, server):
        client.sendall(SOME)
        take(server, len(SOME))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        return "" if _is_reset(server) else "a reset looked like an end"


def urgent(lab: Lab, host: str) -> str:
    """Send an urgent byte after others."""
    with lab.pair(host, ENDLESS) as (client, server):
        client.sendall(SOME)
        client.send(b"!", socket.MSG_OOB)
        take(server, len(SOME))
        if _readable(server, NOTHING_S):
            return "an urgent byte came as an ordinary one"
        select.select([], [], [server], PATIENCE_S)
        server.setblocking(False)  # with a timeout Python would wait for an ordinary byte first
        try:
            return "" if server.recv(1, socket.MSG_OOB) == b"!" else "another byte was urgent"
        except OSError as none:
            return f"an urgent byte was lost ({none.strerror})"


def unread(lab: Lab, host: str) -> str:
    """Close without having read what was redirected."""
    with lab.pair(host, ENDLESS) as (client, server):
        client.sendall(SOME)
        wrong = _went(lab, client, len(SOME))
        server.close()
        return wrong or ("" if _is_reset(client) else "the sender sees an end and no reset")


def count(lab: Lab, host: str) -> str:
    """Ask how much waits: redirected, native, and both."""
    wrong = []
    for name, credit, sizes in (
        ("redirected", ENDLESS, (400,)),
        ("native", 0, (400,)),
        ("mixed", 100, (100, 300)),
    ):
        with lab.pair(host, credit) as (client, server):
            for size in sizes:
                client.sendall(bytes(size))
            _readable(server, PATIENCE_S)
            told = struct.unpack("i", fcntl.ioctl(server, termios.FIONREAD, bytes(4)))[0]
            take(server, sum(sizes))
        if told != sum(sizes):
            wrong.append(f"{told} with {sum(sizes)} {name} bytes waiting")
    return ", ".join(wrong)


def splice(lab: Lab, host: str) -> str:
    """Splice what waits into a pipe."""
    with lab.pair(host, ENDLESS) as (client, server):
        client.sendall(SOME)
        wrong = _went(lab, client, len(SOME))
        _readable(server, PATIENCE_S)
        server.setblocking(False)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            moved = os.splice(server.fileno(), writing, 1000, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            return "redirected bytes are not found"
        finally:
            os.close(reading)
            os.close(writing)
        return wrong or ("" if moved == len(SOME) else f"{moved} of {len(SOME)} bytes were found")


PROBES: dict[Hazard, Probe] = {
    Hazard.ORDER: order,
    Hazard.LATCH: latch,
    Hazard.EARLY: early,
    Hazard.BULK: bulk,
    Hazard.MEMORY: memory,
    Hazard.EDGES: edges,
    Hazard.SHORT_READ: short_read,
    Hazard.LOW_WATER: low_water,
    Hazard.HALF_CLOSE: half_close,
    Hazard.RESET: reset,
    Hazard.URGENT: urgent,
    Hazard.UNREAD: unread,
    Hazard.COUNT: count,
    Hazard.SPLICE: splice,
}


def _went(lab: Lab, sender: socket.socket, count: int) -> str:
    fast = lab.lane(sender).fast_bytes
    return "" if fast == count else f"{fast} bytes were redirected, {count} should have been"


def _readable(sock: socket.socket, wait_s: float) -> bool:
    return bool(select.select([sock], [], [], wait_s)[0])


def _all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(4096), b""))


def _is_reset(sock: socket.socket) -> bool:
    try:
        sock.recv(1)
    except ConnectionResetError:
        return True
    return False
