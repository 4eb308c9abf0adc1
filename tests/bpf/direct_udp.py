"""Shell. A UDP service for tests of the hooks: sockets of the pod's namespace that are its members."""

import contextlib
import select
import socket
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from meshtrio.address import Address
from meshtrio.intercept.direct_layout import Pick
from meshtrio.intercept.udp_maps import UdpMaps
from tests.bpf.pod import Pod

PORT = 5300

SPEAK = r"""
def udp(host, source=None):
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(3)
    if source: made.bind((source, 0))
    return made
def heard(made):
    data, source = made.recvfrom(100)
    return [data.decode(), *source[:2]]
"""
"""Lines that teach a process of a workload to speak by UDP."""


class Heard(NamedTuple):
    """A datagram that came to a member."""

    member: int
    text: str
    source: Address


class Datagrams:
    """Members that the test speaks for. Each service of these tests has some of them, by number."""

    def __init__(self, pod: Pod, hosts: Sequence[str]) -> None:
        self.pod = pod
        self.maps = UdpMaps(pod.kernel.maps)
        self.sockets = [self.bound(host) for host in hosts]
        self.members = [Address.of(*one.getsockname()[:2]) for one in self.sockets]
        pod.app.do(SPEAK)

    def bound(self, host: str) -> socket.socket:
        """Make a socket in the pod's namespace, outside of the workload."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = self.pod.space.run(lambda: socket.socket(family, socket.SOCK_DGRAM))
        made.bind((host, 0))
        return made

    def serve(self, vip: str, order: Sequence[int], pick: Pick = Pick.TURNS, port: int = PORT) -> None:
        """Let these members serve there; none: nobody may."""
        self.maps.put(Address.of(vip, port), pick, [self.members[at] for at in order])

    def heard(self) -> Heard:
        """Return what has come to a member."""
        ready = select.select(self.sockets, [], [], 3)[0]
        assert ready, "nothing came"
        text, peer = ready[0].recvfrom(100)
        return Heard(self.sockets.index(ready[0]), text.decode(), Address.of(*peer[:2]))

    def answer(self, heard: Heard, text: str = "answer") -> None:
        """Let the member answer whoever spoke."""
        self.sockets[heard.member].sendto(text.encode(), (heard.source.host, heard.source.port))

    def send(self, name: str, vip: str, text: str = "question", port: int = PORT) -> Heard:
        """Let the process send from its socket of this name, and return what came to whom."""
        self.pod.app.do(f"{name}.sendto(text.encode(), (host, port))", text=text, host=vip, port=port)
        return self.heard()

    def ask(self, name: str, vip: str, port: int = PORT) -> int:
        """The same with an answer, which seems to come from where it was asked; return who gave it."""
        heard = self.send(name, vip, port=port)
        self.answer(heard)
        assert self.pod.app.do(f"said = heard({name})") == ["answer", vip, port]
        return heard.member

    def flows(self, vip: str) -> list[int]:
        """Return how many flows to this address began at each member."""
        told = self.maps.flows()
        return [told.get((Address.of(vip, PORT), member), 0) for member in self.members]


@contextlib.contextmanager
def datagrams_in(pod: Pod, hosts: Sequence[str]) -> Iterator[Datagrams]:
    """Have members until the block ends; nothing of them is left then."""
    made = Datagrams(pod, hosts)
    try:
        yield made
    finally:
        for one in made.sockets:
            one.close()
        for service in list(made.maps.standing):
            made.maps.drop(service)
