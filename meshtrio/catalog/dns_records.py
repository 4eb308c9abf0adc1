"""Core. What DNS says of one service's host becomes a port with endpoints, and when to ask what again.

Does not know how DNS is asked, nor the clock. There is one question for A and one for AAAA, or one for SRV
and two for each target. Each is asked by itself, when its TTL is over, so that one that fails delays no
other.

Failing takes nothing away: what was said last holds. That a name is not there (or has no such records) is
believed when nothing was known of it, or when it is said three times in a row.

Of SRV records only those of the least priority that have addresses count. Weights are kept as they are up to
1000, and scaled down to that above; of several, a weight of 0 is 1, which is what RFC 2782's way of choosing
comes to.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from meshtrio.address import Address
from meshtrio.catalog.diallable import why_undiallable
from meshtrio.catalog.service import UDP, Endpoint, Service, ServicePort, service_with
from meshtrio.config.discovery import DnsService

RECORDS = 64
"""How many records of one name and type are used. Of more, the least are: always the same ones."""
TTL_S = (5.0, 300.0)
"""A TTL below is taken for the first, one above for the last."""
JITTER = 0.1
"""By which part of the TTL asking again may be late. Never early: a cache would tell what we know."""
BACK_OFF_S = (1.0, 4.0)
"""No longer, for five seconds after an outage the truth must be known. A question that nobody answers takes
another five, so this is no burden."""
MISSES = 3
WEIGHT = 1000


class Srv(NamedTuple):
    """One SRV record. The target is absolute, as in "a.example.com."."""

    priority: int
    weight: int
    port: int
    target: str


class Question(NamedTuple):
    """What DNS is asked."""

    name: str
    kind: str
    """A, AAAA or SRV."""


class Said(NamedTuple):
    """What DNS answered; no records: there are none of that name and type."""

    records: tuple[str, ...] | tuple[Srv, ...]
    ttl_s: float


class _Known:
    """What is known of one question."""

    __slots__ = ("asked", "due_at", "failures", "misses", "records")

    def __init__(self) -> None:
        self.records: tuple[str, ...] | tuple[Srv, ...] = ()
        self.due_at = -math.inf
        self.misses = 0
        self.failures = 0
        self.asked = False


class Records:
    """What DNS said of one service."""

    def __init__(self, service: DnsService) -> None:
        self.service = service
        self.left_out = ""
        """Of what there is more than is used, in words; empty: of nothing."""
        self._srv = Question(service.host, "SRV") if service.host.startswith("_") else None
        self._known: dict[Question, _Known] = {}
        self._want()

    def due(self, now: float) -> list[Question]:
        """Say what should be asked now. It is not due again until it is answered."""
        due = [question for question, known in self._known.items() if known.due_at <= now]
        for question in due:
            self._known[question].due_at = math.inf
        return due

    @property
    def due_at(self) -> float:
        """When the next question is due; infinite while all are asked."""
        return min(known.due_at for known in self._known.values())

    def is_complete(self) -> bool:
        """Say whether every question was answered or has failed, so that `port` is no half truth."""
        return all(known.asked for known in self._known.values())

    def is_failing(self) -> bool:
        """Say whether DNS tells us nothing new: the SRV question fails, or all questions for addresses do.

        Those that brought none do not count beside those that did: few hosts have addresses of both families,
        and that there are none of the other is not asked again for minutes.
        """
        if self._srv is not None and self._known[self._srv].failures:
            return True
        addresses = [known for question, known in self._known.items() if question != self._srv]
        telling = [known for known in addresses if known.records] or addresses
        return bool(telling) and all(known.failures for known in telling)

    def take(self, question: Question, said: Said | None, now: float, luck: float) -> None:
        """Take an answer, or (None) that there was none. `luck` is 0 to 1."""
        known = self._known.get(question)
        if known is None:
            return  # a target that is none any more
        known.asked = True
        if said is None:
            known.failures += 1
            first_s, last_s = BACK_OFF_S
            pause_s = min(first_s * 2 ** min(known.failures - 1, 16), last_s)
            known.due_at = now + pause_s * (1 + JITTER * luck)
            return
        known.failures = 0
        known.misses = 0 if said.records else known.misses + 1
        wait_s = min(max(said.ttl_s, TTL_S[0]), TTL_S[1])
        if said.records or not known.records or known.misses >= MISSES:
            known.records = self._bounded(question, said.records)
        else:
            wait_s = TTL_S[0]
        known.due_at = now + wait_s * (1 + JITTER * luck)
        if question == self._srv:
            self._want()

    def port(self) -> ServicePort | None:
        """Make the port and its endpoints; None if there are no endpoints."""
        found = self._by_srv() if self._srv is not None else self._by_host()
        endpoints = {
            address: Endpoint(str(address), address, weight=weight)
            for address, weight in sorted(found)
            if not why_undiallable(address)
        }
        if not endpoints:
            return None
        number = self.service.port or _commonest(address.port for address in endpoints)
        ordered = sorted(endpoints.values(), key=lambda endpoint: endpoint.address)
        return ServicePort(self.service.port_name, number, tuple(ordered), UDP if self.service.udp else "")

    def _by_host(self) -> list[tuple[Address, int]]:
        return [(Address.of(ip, self.service.port), 1) for ip in self._addresses(self.service.host)]

    def _by_srv(self) -> list[tuple[Address, int]]:
        for priority in sorted({record.priority for record in self._targets()}):
            group = [record for record in self._targets() if record.priority == priority]
            heaviest = max(record.weight for record in group)
            scale = min(WEIGHT / heaviest, 1.0) if heaviest else 1.0
            found = [
                (Address.of(ip, record.port), max(round(record.weight * scale), 1))
                for record in group
                for ip in self._addresses(record.target)
            ]
            if found:
                return found
        return []

    def _targets(self) -> list[Srv]:
        known = self._known.get(self._srv) if self._srv is not None else None
        return [record for record in known.records if isinstance(record, Srv)] if known else []

    def _addresses(self, name: str) -> list[str]:
        known = [self._known.get(Question(name, kind)) for kind in ("A", "AAAA")]
        return [ip for one in known if one is not None for ip in one.records if isinstance(ip, str)]

    def _want(self) -> None:
        """Know the questions that there are, and forget others."""
        hosts = [self.service.host] if self._srv is None else [record.target for record in self._targets()]
        wanted = [Question(host, kind) for host in dict.fromkeys(hosts) for kind in ("A", "AAAA")]
        if self._srv is not None:
            wanted.insert(0, self._srv)
        self._known = {question: self._known.get(question) or _Known() for question in wanted}

    def _bounded(self, question: Question, records: tuple[str, ...] | tuple[Srv, ...]) -> tuple[Any, ...]:
        ordered: list[Any] = sorted(set(records))
        if len(ordered) > RECORDS:
            self.left_out = f"{question.name} has {len(ordered)} {question.kind} records; {RECORDS} are used"
        return tuple(ordered[:RECORDS])


def service_of(first: DnsService, ports: Iterable[ServicePort | None]) -> Service | None:
    """Make one service of the ports that several entries for it brought; None if there is none.

    Of two ports with one name, or one number and protocol, the first counts.
    """
    kept: list[ServicePort] = []
    for port in ports:
        if port is not None and not any(
            port.name == one.name or (port.port, port.protocol) == (one.port, one.protocol) for one in kept
        ):
            kept.append(port)
    return service_with(first.name, first.namespace, kept) if kept else None


def _commonest(numbers: Iterable[int]) -> int:
    counts = Counter(numbers)
    return min(counts, key=lambda number: (-counts[number], number))
