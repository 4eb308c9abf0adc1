"""Shell. A real DNS server on loopback, UDP and TCP on one port, that answers from a scripted zone.

    zone = Zone({("web.example.com", "A"): Records("10.0.0.1", "10.0.0.2", ttl=30)})
    async with dns_server(zone) as server:      # server.port, server.address
        zone["web.example.com", "A"] = SILENT   # from now on

Names are written without the dot at the end, in any case. What is not in the zone is NXDOMAIN, or no data
where the name has other records. An alias is followed within the zone. Answers that are larger than the asker
takes are truncated over UDP, and whole over TCP. `zone.asked` tells what came.
"""

import contextlib
import struct
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import trio

SOA = "ns.example.com. admin.example.com. 1 3600 600 86400 {minimum}"


class Records:
    """Records of one name and type, as zone files write them: "10.0.0.1", or "10 5 80 a.example.com."."""

    def __init__(self, *values: str, ttl: int = 60) -> None:
        self.values = values
        self.ttl = ttl


class Fails(NamedTuple):
    """Answered with an error, as in Fails("SERVFAIL")."""

    rcode: str


class Slow(NamedTuple):
    """Answered later."""

    after_s: float
    then: "Answer"


class Raw(NamedTuple):
    """These bytes for an answer; the first two are replaced by the id of the question."""

    content: bytes


class _Silent:
    """Never answered."""


SILENT = _Silent()
Answer = Records | Fails | Slow | Raw | _Silent


class Asked(NamedTuple):
    """A question that came, with the name as it was written but for the dot at its end."""

    name: str
    kind: str
    transport: str
    payload: int
    """What the asker takes over UDP: by EDNS, else 512."""


class Zone:
    """What is answered. Change it at any time."""

    def __init__(self, answers: Mapping[tuple[str, str], Answer] | None = None) -> None:
        self.negative_ttl = 60
        """The TTL of answers that there is nothing."""
        self.truncates = False
        """Whether everything is truncated over UDP, however small."""
        self.asked: list[Asked] = []
        self._answers: dict[tuple[str, str], Answer] = {}
        for key, answer in (answers or {}).items():
            self[key] = answer

    def __setitem__(self, key: tuple[str, str], answer: Answer) -> None:
        self._answers[key[0].lower().rstrip("."), key[1]] = answer

    def __delitem__(self, key: tuple[str, str]) -> None:
        del self._answers[key[0].lower().rstrip("."), key[1]]

    def count(self, name: str, kind: str) -> int:
        """Say how often something was asked."""
        return sum(one.name.lower() == name and one.kind == kind for one in self.asked)

    def find(self, name: str, kind: str) -> Answer | None:
        """Find what is said of a name; None: nothing."""
        return self._answers.get((name, kind))

    def has(self, name: str) -> bool:
        """Say whether there is anything of this name."""
        return any(known == name for known, _ in self._answers)


class Server(NamedTuple):
    """Where it listens."""

    host: str
    port: int
    zone: Zone

    @property
    def address(self) -> str:
        """Give ip:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@contextlib.asynccontextmanager
async def dns_server(zone: Zone, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Server]:
    """Answer from this zone until the block ends. Port 0: any that is free for both."""
    family = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
    while True:
        udp = trio.socket.socket(family, trio.socket.SOCK_DGRAM)
        await udp.bind((host, port))
        bound: int = udp.getsockname()[1]
        try:
            listeners = await trio.open_tcp_listeners(bound, host=host)
        except OSError:
            # Somebody has the TCP port of that number. A port that was asked for must be the one.
            udp.close()
            if port:
                raise
            continue
        break

    async def talk(stream: trio.SocketStream) -> None:
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError, EOFError, OSError):
                while True:
                    (length,) = struct.unpack("!H", await _exactly(stream, 2))
                    answer = await _answer(zone, await _exactly(stream, length), "tcp")
                    if answer is not None:
                        await stream.send_all(struct.pack("!H", len(answer)) + answer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_datagrams, zone, udp)
        nursery.start_soon(trio.serve_listeners, talk, listeners)
        try:
            yield Server(host, bound, zone)
        finally:
            nursery.cancel_scope.cancel()
            udp.close()


async def _datagrams(zone: Zone, udp: trio.socket.SocketType) -> None:
    async def settle(question: bytes, asker: tuple[object, ...]) -> None:
        answer = await _answer(zone, question, "udp")
        if answer is not None:
            await udp.sendto(answer, asker)

    async with trio.open_nursery() as answering:
        while True:
            question, asker = await udp.recvfrom(65_535)
            answering.start_soon(settle, question, asker)


async def _exactly(stream: trio.SocketStream, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = await stream.receive_some(count - len(got))
        if not more:
            raise EOFError
        got += more
    return got


async def _answer(zone: Zone, question: bytes, transport: str) -> bytes | None:
    try:
        asked = dns.message.from_wire(question)
    except dns.exception.DNSException:
        return None
    name = asked.question[0].name.to_text(omit_final_dot=True)
    kind = dns.rdatatype.to_text(asked.question[0].rdtype)
    payload = max(asked.payload, 512) if asked.edns >= 0 else 512
    zone.asked.append(Asked(name, kind, transport, payload))
    said = _said(zone, name.lower(), kind)
    while isinstance(said, Slow):
        await trio.sleep(said.after_s)
        said = said.then
    if isinstance(said, _Silent):
        return None
    if isinstance(said, Raw):
        return question[:2] + said.content[2:]
    answer = dns.message.make_response(asked, recursion_available=True)
    if isinstance(said, Fails):
        answer.set_rcode(dns.rcode.from_text(said.rcode))
    else:
        _fill(answer, zone, kind)
    return _packed(answer, transport, payload, zone.truncates)


def _said(zone: Zone, name: str, kind: str) -> Answer | None:
    """Find what holds for a name, at the end of its aliases if that is no plain record."""
    for _ in range(8):
        said = zone.find(name, kind)
        alias = zone.find(name, "CNAME")
        if said is not None or not isinstance(alias, Records):
            return said
        name = alias.values[0].lower().rstrip(".")
    return None


def _fill(answer: dns.message.Message, zone: Zone, kind: str) -> None:
    name = answer.question[0].name
    for _ in range(8):
        plain = name.to_text(omit_final_dot=True).lower()
        for type_ in (kind, "CNAME"):
            found = zone.find(plain, type_)
            while isinstance(found, Slow):
                found = found.then
            if isinstance(found, Records) and found.values:
                answer.answer.append(dns.rrset.from_text(name, found.ttl, "IN", type_, *found.values))
                break
        else:
            if not zone.has(plain):
                answer.set_rcode(dns.rcode.NXDOMAIN)
            minimum = SOA.format(minimum=zone.negative_ttl)
            answer.authority.append(dns.rrset.from_text(name.parent(), 3600, "IN", "SOA", minimum))
            return
        if type_ == kind:
            return
        name = dns.name.from_text(found.values[0])


def _packed(answer: dns.message.Message, transport: str, payload: int, truncates: bool) -> bytes:
    if transport == "udp" and truncates:
        return _truncated(answer)
    try:
        return answer.to_wire(max_size=payload if transport == "udp" else 65_535)
    except dns.exception.TooBig:
        return _truncated(answer)


def _truncated(answer: dns.message.Message) -> bytes:
    answer.answer.clear()
    answer.authority.clear()
    answer.flags |= dns.flags.TC
    return answer.to_wire()
