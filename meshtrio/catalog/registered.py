"""Core. Endpoints that registered themselves, each until its time is up, folded into services.

Does not know the clock, nor what is kept over a restart. Time is any clock that only goes forward.

Callers dial a registration at its `port`, so registrations with one `port`, of TCP or of UDP, are one port of
the service. Its name is the least that they give it. Where two ports would have one name, the greater number
gets a longer one, and UDP after TCP. Of several registrations of one address the one that said something new
last is believed: an instance that was started again under another id is not counted twice.
"""

import enum
import math
from collections.abc import Iterator
from typing import NamedTuple

from meshtrio.catalog.registrant import Name, Registrant
from meshtrio.catalog.service import UDP, Endpoint, Service, ServicePort, service_with


class Verdict(enum.Enum):
    """What became of a registration that was put."""

    CREATED = "created"
    CHANGED = "changed"
    RENEWED = "renewed"
    """It was there as it is; only its time begins anew."""
    FULL = "full"
    """It is new, and there are as many as there may be. Nothing has changed."""


class Full(Exception):
    """There are as many registrations as there may be."""


class NotOpen(Exception):
    """Nothing can be registered now: the agent is starting or stopping."""


class Answer(NamedTuple):
    """A registration as it is now."""

    registrant: Registrant
    remaining_s: float
    """How long it holds without a heartbeat; infinite: for ever."""
    durable: bool
    """Whether it would survive a crash in this moment."""
    created: bool = False


class Held(NamedTuple):
    """A registration, and until when it holds."""

    registrant: Registrant
    deadline: float


class Registrations:
    """All registrations, at most `bound` of them. Full: a new one is refused."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.soonest = math.inf
        """Before this time nothing is due: `expire` may wait until then."""
        self._count = 0
        self._of: dict[str, dict[str, Held]] = {}
        """By service, by id, in the order in which they said something new."""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Held]:
        """Give all, in an order that makes the same services if they are put again in it."""
        for of_service in self._of.values():
            yield from of_service.values()

    @property
    def keys(self) -> list[str]:
        """The services that have registrations."""
        return list(self._of)

    def put(self, one: Registrant, now: float, *, for_s: float | None = None) -> Verdict:
        """Hold a registration from now on for its TTL, or for as long as `for_s` says."""
        before = self.held(one.name)
        if before is None and self._count >= self.bound:
            return Verdict.FULL
        lasts_s = for_s if for_s is not None else one.ttl_s or math.inf
        deadline = now + lasts_s
        self.soonest = min(self.soonest, deadline)
        of_service = self._of.setdefault(one.name.key, {})
        if before is not None and before.registrant == one:
            of_service[one.name.id] = Held(before.registrant, deadline)
            return Verdict.RENEWED
        # Taken out first, because a dictionary keeps the place of a key that is only replaced.
        of_service.pop(one.name.id, None)
        of_service[one.name.id] = Held(one, deadline)
        if before is not None:
            return Verdict.CHANGED
        self._count += 1
        return Verdict.CREATED

    def renew(self, name: Name, now: float) -> Held | None:
        """Let a registration's time begin anew; None if there is none."""
        before = self.held(name)
        if before is None:
            return None
        self.put(before.registrant, now)
        return self.held(name)

    def delete(self, name: Name) -> bool:
        """Drop a registration; False if there is none."""
        of_service = self._of.get(name.key, {})
        if of_service.pop(name.id, None) is None:
            return False
        self._count -= 1
        if not of_service:
            del self._of[name.key]
        return True

    def expire(self, now: float) -> list[Name]:
        """Drop what was not renewed in time, and say which. Looks at all, but only when something may be
        due."""
        if now < self.soonest:
            return []
        due = [held.registrant.name for held in self if held.deadline <= now]
        for name in due:
            self.delete(name)
        self.soonest = min((held.deadline for held in self), default=math.inf)
        return due

    def held(self, name: Name) -> Held | None:
        """Find a registration."""
        return self._of.get(name.key, {}).get(name.id)

    def service(self, key: str) -> Service | None:
        """Make the service that its registrations describe; None if it has none."""
        of_service = self._of.get(key)
        if of_service is None:
            return None
        by_address = {
            (held.registrant.udp, held.registrant.port, held.registrant.endpoint.address): held.registrant
            for held in of_service.values()
        }
        names: dict[tuple[bool, int], list[str]] = {}
        endpoints: dict[tuple[bool, int], list[Endpoint]] = {}
        for one in by_address.values():
            names.setdefault((one.udp, one.port), []).append(one.port_name)
            endpoints.setdefault((one.udp, one.port), []).append(one.endpoint)
        namespace, _, name = key.partition("/")
        ports: dict[str, ServicePort] = {}
        for udp, number in sorted(names):
            port_name = min(filter(None, names[udp, number]), default="")
            while port_name in ports:
                port_name = f"{port_name}-{number}".lstrip("-")
            serving = tuple(sorted(endpoints[udp, number], key=_id))
            ports[port_name] = ServicePort(port_name, number, serving, UDP if udp else "")
        return service_with(name, namespace, ports.values())


def _id(endpoint: Endpoint) -> str:
    return endpoint.id
