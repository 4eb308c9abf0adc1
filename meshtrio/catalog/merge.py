"""Core. What several sources say of the same services becomes one catalog. Does not know how they know it.

The rules:

- A service is what the first source in `SOURCES` says of it, its ports and its endpoints.
- Except that registered endpoints are added to it, whoever says the rest.
- Except that a source which we have lost, and none of whose endpoints answers our probes, gives way to the
  next one. This is the ladder down: live, last known, DNS, static file. Nobody on it: passed through.
- Its virtual IPs are those of the first source that brings any, or else ours.
- A source that is lost takes nothing away. Only its own word does.

What is kept here is bounded by what the sources know and by what is probed. A service that only one source
knows, that brings its own virtual IPs, and of which nothing ill was found, is the very object that is kept.
"""

import enum
from collections.abc import Mapping

import msgspec

from meshtrio.address import Address
from meshtrio.catalog import distinct, health
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.catalog.vips import Vips

SOURCES = ("kubernetes", "consul", "dns", "file", "registered")
"""Who is asked first. A registry's word is live, DNS's as old as its TTL, a file's as old as its last edit.
Who registers adds itself to what others describe, and describes a service only where nobody else does."""

REGISTRIES = frozenset(("kubernetes", "consul"))

_Ports = tuple[ServicePort, ...]


class Level(enum.Enum):
    """How good what we know of a service is. The value is the word in status and metrics."""

    LIVE = "live"
    LAST_KNOWN = "last_known"
    """Its source is lost; this is what it said last, and our probes decide."""
    DNS = "dns"
    """A registry is configured, but DNS has to do."""
    STATIC = "static"
    """A registry is configured, but the file has to do."""


class Merge:
    """What each source said last, what probes found, and how that becomes one service."""

    def __init__(self, vips: Vips, configured: frozenset[str] = frozenset()) -> None:
        """Begin with nothing. `configured` are the sources that there are."""
        self.configured = configured
        self._vips = vips
        self._said: dict[str, dict[str, Service]] = {source: {} for source in SOURCES}
        self._lost: set[str] = set()
        self._probed: dict[str, dict[Address, Health]] = {}

    def say(
        self, source: str, changed: Mapping[str, Service | None], *, complete: bool = False, now: float
    ) -> set[str]:
        """Take a source's word: these services are so, or (None) gone; `complete`: and it knows no others.

        Returns the keys of those that became different by it.
        """
        said = self._said[source]
        gone = [key for key in said if key not in changed] if complete else []
        touched: set[str] = set()
        for key, service in (*changed.items(), *((key, None) for key in gone)):
            before = said.get(key)
            if service is None:
                if said.pop(key, None) is not None:
                    touched.add(key)
                continue
            known = said[key] = _known(service, before, source, now)
            if known is not before:
                touched.add(key)
        return touched

    def lose(self, source: str, *, lost: bool) -> set[str]:
        """Note that a source is lost, or back. Returns the keys that may be different by it."""
        if lost == (source in self._lost):
            return set()
        (self._lost.add if lost else self._lost.discard)(source)
        return {key for key in self._said[source] if key in self._probed}

    def probe(self, key: str, address: Address, found: Health) -> set[str]:
        """Note what a probe found; UNKNOWN: it is probed no more. Returns the keys that may differ by it."""
        of_service = self._probed.setdefault(key, {})
        before = of_service.get(address, Health.UNKNOWN)
        if found is Health.UNKNOWN:
            of_service.pop(address, None)
            if not of_service:
                del self._probed[key]
        else:
            of_service[address] = found
        return {key} if found is not before else set()

    def merged(self, key: str) -> Service | None:
        """Make what the catalog should say of a service; None: nothing."""
        speaking = self._speaking(key)
        if not speaking:
            # What probes found stays: the service may be back before they have noticed that it was gone.
            self._vips.release(key)
            return None
        service = self._said[speaking[0]][key]
        leader = self._leader(key, speaking)
        others = [source for source in (leader, "registered") if source in speaking and source != speaking[0]]
        for source in dict.fromkeys(others):
            service = _joined(service, self._said[source][key], replaced=source == leader)
        if not service.vips and not service.headless and not service.external and service.every_port:
            # Where another source knows addresses, callers may know them too: they stay, whoever leads.
            known = (self._said[source][key].vips for source in speaking)
            vips = next(filter(None, known), ()) or self._vips.of(key)
            service = msgspec.structs.replace(service, vips=vips)
        probed = self._probed.get(key)
        return self._overlaid(service, probed) if probed else service

    def level(self, key: str) -> Level | None:
        """Say how good what we know of a service is; None if we know nothing."""
        speaking = self._speaking(key)
        if not speaking:
            return None
        leader = self._leader(key, speaking)
        if leader in self._lost:
            return Level.LAST_KNOWN
        if leader in ("dns", "file") and self.configured & REGISTRIES:
            return Level.DNS if leader == "dns" else Level.STATIC
        return Level.LIVE

    def lost(self, source: str) -> bool:
        """Say whether this source is lost at the moment."""
        return source in self._lost

    def said(self, source: str) -> Mapping[str, Service]:
        """Give what a source says, by key, before anything is merged into it."""
        return self._said[source]

    def lost_words(self, key: str) -> list[Service]:
        """Give what the sources that are lost said last of a service, also while another leads.

        Their endpoints must go on being probed: an answer gives the lead back.
        """
        return [self._said[one][key] for one in SOURCES if one in self._lost and key in self._said[one]]

    def _speaking(self, key: str) -> list[str]:
        return [source for source in SOURCES if key in self._said[source]]

    def _leader(self, key: str, speaking: list[str]) -> str:
        """Find whose endpoints count: the first one's, unless that is lost and all its endpoints are dead."""
        probed = self._probed.get(key, {})
        for source in speaking[:-1]:
            if source not in self._lost:
                return source
            # Nobody probes by UDP.
            endpoints = [one for port in self._said[source][key].ports for one in port.endpoints]
            if not endpoints or any(probed.get(one.address) is not Health.UNHEALTHY for one in endpoints):
                return source
        return speaking[-1]

    def _overlaid(self, service: Service, probed: Mapping[Address, Health]) -> Service:
        def overlaid(endpoint: Endpoint) -> Endpoint:
            found = probed.get(endpoint.address, Health.UNKNOWN)
            holds = health.merged(endpoint.health, found, stale=endpoint.source in self._lost)
            return endpoint if holds is endpoint.health else msgspec.structs.replace(endpoint, health=holds)

        ports = tuple(
            msgspec.structs.replace(port, endpoints=tuple(map(overlaid, port.endpoints)))
            for port in service.ports
        )
        return service if ports == service.ports else msgspec.structs.replace(service, ports=ports)


def _known(service: Service, before: Service | None, source: str, now: float) -> Service:
    """Stamp what a source said with its name and the time; what did not change stays the very object."""
    ports = _known_ports(service.ports, before.ports if before else (), source, now)
    datagrams = _known_ports(service.datagrams, before.datagrams if before else (), source, now)
    stamped = msgspec.structs.replace(service, ports=ports, source=source, datagrams=datagrams)
    return before if before is not None and before == stamped else stamped


def _known_ports(ports: _Ports, before: _Ports, source: str, now: float) -> _Ports:
    if not ports:
        return ()
    old = {port.name: port for port in before}
    return tuple(_known_port(port, old.get(port.name), source, now) for port in distinct.ports(ports))


def _known_port(port: ServicePort, before: ServicePort | None, source: str, now: float) -> ServicePort:
    olds = {endpoint.id: endpoint for endpoint in before.endpoints} if before else {}
    endpoints = []
    for endpoint in distinct.endpoints(port.endpoints):
        old = olds.get(endpoint.id)
        since = old.since if old is not None else endpoint.since or now
        stamped = msgspec.structs.replace(endpoint, source=source, since=since)
        if old is not None and old == stamped:
            endpoints.append(old)
        elif old is not None:
            endpoints.append(msgspec.structs.replace(stamped, since=endpoint.since or now))
        else:
            endpoints.append(stamped)
    made = msgspec.structs.replace(port, endpoints=tuple(endpoints))
    return before if before is not None and before == made else made


def _joined(service: Service, other: Service, *, replaced: bool) -> Service:
    """Put another source's endpoints behind the ports of a service, instead of its own or beside them."""
    return msgspec.structs.replace(
        service,
        ports=_joined_ports(service.ports, other.ports, replaced=replaced),
        datagrams=_joined_ports(service.datagrams, other.datagrams, replaced=replaced),
    )


def _joined_ports(ours: _Ports, others: _Ports, *, replaced: bool) -> _Ports:
    ports: list[ServicePort] = []
    used: set[str] = set()
    for port in ours:
        match = _matching(port, others, alone=len(ours) == 1)
        endpoints = () if replaced else port.endpoints
        if match is not None:
            used.add(match.name)
            there = {endpoint.address for endpoint in endpoints}
            ids = {endpoint.id for endpoint in endpoints}
            endpoints += tuple(
                msgspec.structs.replace(one, id=f"{one.source}:{one.id}") if one.id in ids else one
                for one in match.endpoints
                if one.address not in there
            )
        ports.append(msgspec.structs.replace(port, endpoints=distinct.endpoints(endpoints)))
    numbers = {port.port for port in ports}
    names = {port.name for port in ports}
    ports += [
        port
        for port in others
        if port.name not in used and port.name not in names and port.port not in numbers
    ]
    return tuple(ports)


def _matching(port: ServicePort, others: _Ports, *, alone: bool) -> ServicePort | None:
    for one in others:
        if one.name == port.name or one.port == port.port:
            return one
    return others[0] if alone and len(others) == 1 else None
