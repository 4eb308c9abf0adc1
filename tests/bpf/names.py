"""Shell. Queries for names in tests: who asks, the resolver that was meant, and ours behind its door.

An answer is one A record, by which it can be seen who answered. None of this knows a name.
"""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator

from meshtrio.address import Address
from meshtrio.intercept.dns_door import DnsDoor
from tests.support.namespace import Namespace

OURS, REAL = "192.0.2.1", "192.0.2.2"
"""Who answered."""

QUERY = b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0\4name\4test\0\0\1\0\1"

ASK = (
    f"QUERY = {QUERY!r}\n"
    + r"""
import contextlib
def udp(host, *, source=None, source_port=0, options=()):
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(2)
    for option in options: made.setsockopt(*(x if isinstance(x, int) else x.encode() for x in option))
    if source: made.bind((source, source_port))
    return made
def send(made, host, how, port=53):
    if how == "connect":
        made.connect((host, port)); made.send(QUERY)
    elif how == "connect, sendmsg":
        made.connect((host, port)); made.sendmsg([QUERY])
    elif how == "sendto":
        made.sendto(QUERY, (host, port))
    else:
        made.sendmsg([QUERY[:5], QUERY[5:]], [], 0, (host, port))
def heard(made):
    data, source = made.recvfrom(512)
    said = {"answer": socket.inet_ntoa(data[-4:]), "from": list(source[:2])}
    with contextlib.suppress(OSError): said["peer"] = list(made.getpeername()[:2])
    return said
def ask(host, how="sendto", port=53, **options):
    with udp(host, **options) as made:
        send(made, host, how, port)
        return heard(made)
def ask_tcp(host, port=53):
    with dial(host, port) as made:
        made.sendall(struct.pack("!H", len(QUERY)) + QUERY)
        size = struct.unpack("!H", made.recv(2, socket.MSG_WAITALL))[0]
        data = made.recv(size, socket.MSG_WAITALL)
        return {"answer": socket.inet_ntoa(data[-4:]), "peer": list(made.getpeername()[:2])}
"""
)
"""Lines that teach a process of a workload to ask."""


def answer(query: bytes, address: str) -> bytes:
    """Answer any query with one A record; one for AAAA with none."""
    end = query.index(b"\0", 12) + 5
    question = query[12:end]
    if question[-4:-2] != b"\0\1":
        return query[:2] + b"\x81\x80\0\1\0\0\0\0\0\0" + question
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x05\0\4" + socket.inet_aton(address)
    return query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question + record


class Resolver:
    """A thread that answers on sockets. At a door of ours it notes whom each query was meant for."""

    def __init__(self, door: DnsDoor | None, *sockets: socket.socket) -> None:
        """Begin at once."""
        self.door = door
        self.heard: list[tuple[str, Address | None]] = []
        """How each query came, and whom it was meant for (of a real resolver: where it came from)."""
        self._sockets = [*door.udp, *door.tcp] if door else list(sockets)
        self._wake, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it. The sockets stay open. Twice is fine."""
        if self._wake.fileno() < 0:
            return
        self._wake.close()
        self._thread.join()
        self._ended.close()

    def _serve(self) -> None:
        while True:
            for ready in select.select([*self._sockets, self._ended], [], [])[0]:
                if ready is self._ended:
                    return
                if ready.type == socket.SOCK_DGRAM:
                    query, peer = ready.recvfrom(512)
                    self._note("udp", Address.of(*peer[:2]), None)
                    # Who asked may be gone.
                    with contextlib.suppress(OSError):
                        ready.sendto(self._answer(query), peer)
                else:
                    self._answer_connection(ready)

    def _answer_connection(self, listener: socket.socket) -> None:
        client, peer = listener.accept()
        with client:
            client.settimeout(2)
            self._note("tcp", Address.of(*peer[:2]), client)
            size = int.from_bytes(client.recv(2, socket.MSG_WAITALL), "big")
            said = self._answer(client.recv(size, socket.MSG_WAITALL))
            client.sendall(len(said).to_bytes(2, "big") + said)

    def _note(self, how: str, source: Address, client: socket.socket | None) -> None:
        self.heard.append((how, self.door.resolver_of(source, tcp=client) if self.door else source))

    def _answer(self, query: bytes) -> bytes:
        return answer(query, OURS if self.door else REAL)


@contextlib.contextmanager
def real_resolver(space: Namespace, *hosts: str, port: int = 53) -> Iterator[Resolver]:
    """Have a resolver at some addresses of the namespace, by UDP and TCP."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for host in hosts:
            tcp = stack.enter_context(space.bound(host, port))
            udp = stack.enter_context(_datagrams(space, tcp.family))
            udp.bind((host, port))
            sockets += [tcp, udp]
        resolver = Resolver(None, *sockets)
        stack.callback(resolver.stop)
        yield resolver


def _datagrams(space: Namespace, family: int) -> socket.socket:
    return space.run(lambda: socket.socket(family, socket.SOCK_DGRAM))
