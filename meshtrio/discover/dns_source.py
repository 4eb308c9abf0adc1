"""Shell. The source that asks DNS for endpoints: dnspython on trio, the system's resolvers or others.

Each service is followed by a task of its own, and each question is asked by one, so none waits for another.
Does not know what the answers mean.
"""

import random
import time
from collections.abc import Awaitable, Callable

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver
import trio

from meshtrio.address import Address
from meshtrio.catalog.dns_records import Question, Records, Said, Srv, service_of
from meshtrio.catalog.service import ServicePort
from meshtrio.catalog.stream import Stream
from meshtrio.config.discovery import DnsService
from meshtrio.discover.hub import Sink

ASK_S = 5.0
"""How long one question may take, all tries and servers together."""
TRY_S = 2.0
"""How long one server has for one try."""
READ_EVERY_S = 5.0
"""How old what we know of /etc/resolv.conf may be."""
AT_ONCE = 32
"""How many questions are asked at once; the others wait for their turn."""

Ask = Callable[[Question], Awaitable[Said]]


class _NoAnswer(Exception):
    """DNS did not say; the message says why."""


async def follow_dns(services: tuple[DnsService, ...], sink: Sink, servers: tuple[str, ...] = ()) -> None:
    """Ask DNS for the endpoints of these services until cancelled, and say what it says.

    `servers` are asked instead of those of /etc/resolv.conf; each is an IP, or ip:port.
    """
    resolvers = _Resolvers(servers)
    hosts: dict[str, list[_Host]] = {}
    for service in services:
        hosts.setdefault(f"{service.namespace}/{service.name}", []).append(_Host(service, resolvers.ask))
    sink.say(dict.fromkeys(sink.said() - hosts.keys()))

    def changed(key: str) -> None:
        entries = hosts[key]
        sink.say({key: service_of(entries[0].records.service, [entry.port for entry in entries])})

    async with trio.open_nursery() as following:
        for key, entries in hosts.items():
            for at, entry in enumerate(entries):
                stream = sink.stream(_stream_name(entry.records.service, at))
                following.start_soon(entry.follow, stream, changed, key)
        await trio.sleep_forever()


class _Host:
    """One entry of the configuration, and what DNS says of it."""

    def __init__(self, service: DnsService, ask: Ask) -> None:
        self.records = Records(service)
        self.port: ServicePort | None = None
        self._ask = ask
        self._news = trio.Event()

    async def follow(self, stream: Stream, changed: Callable[[str], None], key: str) -> None:
        async with trio.open_nursery() as questions:
            while True:
                # Bounded by the questions that there are, for none is due while it is asked.
                for question in self.records.due(trio.current_time()):
                    questions.start_soon(self._settle, question, stream)
                with trio.move_on_at(self.records.due_at):
                    await self._news.wait()
                self._news = trio.Event()
                if self.records.is_complete() and self.port != (port := self.records.port()):
                    self.port = port
                    stream.heard(1, time.time())
                    changed(key)

    async def _settle(self, question: Question, stream: Stream) -> None:
        try:
            said = await self._ask(question)
        except _NoAnswer as fault:
            self._note(question, None, stream)
            why = f"{question.kind} {question.name}: {fault}"
            if self.records.is_failing():
                stream.failed(why, time.time())
            else:
                stream.errors, stream.last_error = stream.errors + 1, why[:500]
            return
        self._note(question, said, stream)
        if not self.records.is_failing():
            port = self.records.port()
            stream.lives(f"{len(port.endpoints) if port else 0} addresses", time.time())

    def _note(self, question: Question, said: Said | None, stream: Stream) -> None:
        before = self.records.left_out
        self.records.take(question, said, trio.current_time(), random.random())
        if self.records.left_out != before:
            stream.skips(self.records.left_out)
        self._news.set()


class _Resolvers:
    """Whom to ask, and how."""

    def __init__(self, servers: tuple[str, ...]) -> None:
        self._servers = [_server(text) for text in servers]
        self._turns = trio.CapacityLimiter(AT_ONCE)
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._read_at = 0.0

    async def ask(self, question: Question) -> Said:
        """Ask one question. _NoAnswer if nobody can or wants to answer it."""
        async with self._turns:
            try:
                with trio.fail_after(ASK_S):
                    answer = await self._current().resolve(
                        question.name,
                        question.kind,
                        raise_on_no_answer=False,
                        search=True,
                        backend=dns.asyncbackend.get_backend("trio"),
                    )
            except dns.resolver.NXDOMAIN as none:
                return Said((), _negative_ttl_s(none))
            except trio.TooSlowError:
                raise _NoAnswer(f"no answer in {ASK_S:.0f} s") from None
            except (dns.exception.DNSException, OSError, ValueError) as fault:
                # What a server sends that cannot be read is a ValueError in some corners of dnspython.
                raise _NoAnswer(str(fault) or type(fault).__name__) from fault
        return Said(_records(answer, question.kind), answer.chaining_result.minimum_ttl)

    def _current(self) -> dns.asyncresolver.Resolver:
        now = trio.current_time()
        if self._resolver is None or (not self._servers and now - self._read_at > READ_EVERY_S):
            self._resolver = dns.asyncresolver.Resolver(configure=not self._servers)
            self._resolver.timeout, self._resolver.lifetime = TRY_S, ASK_S
            if self._servers:
                self._resolver.nameservers = self._servers
            self._read_at = now
        return self._resolver


def _server(text: str) -> dns.nameserver.Nameserver:
    try:
        address = Address.of(text, 53)
    except ValueError:
        address = Address.parse(text)
    return dns.nameserver.Do53Nameserver(address.host, address.port)


def _records(answer: dns.resolver.Answer, kind: str) -> tuple[str, ...] | tuple[Srv, ...]:
    if kind != "SRV":
        return tuple(rdata.address for rdata in answer)
    # A target of "." says that the service is decidedly not available there (RFC 2782).
    return tuple(
        Srv(rdata.priority, rdata.weight, rdata.port, rdata.target.to_text().lower())
        for rdata in answer
        if rdata.target.to_text() != "."
    )


def _negative_ttl_s(none: dns.resolver.NXDOMAIN) -> float:
    try:
        responses = none.kwargs["responses"].values()
        return min(float(response.resolve_chaining().minimum_ttl) for response in responses)
    except (dns.exception.DNSException, ValueError):
        return 0.0


def _stream_name(service: DnsService, at: int) -> str:
    name = service.name if service.namespace == "default" else f"{service.namespace}/{service.name}"
    return f"{name} via {service.host}" + (f", {service.port_name or service.port}" if at else "")
