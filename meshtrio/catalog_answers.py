"""Shell. What the agent can say of its catalog, as plain values, a page at a time. Changes nothing.

Knows the hub and what probes found. Does not know sockets or the clock.
"""

import heapq
from collections.abc import Callable, Mapping
from typing import Protocol

from meshtrio.address import Address
from meshtrio.catalog import question
from meshtrio.catalog.merge import Level
from meshtrio.catalog.probing import Result
from meshtrio.catalog.question import EndpointsWanted, Row, ServicesWanted
from meshtrio.catalog.service import UDP, Endpoint, Health, Service, ServicePort
from meshtrio.discover.hub import Hub
from meshtrio.discovery_answers import discovery, stale_since
from meshtrio.route.directness import Way

Results = Mapping[tuple[str, Address], Result]
"""What probes found, by service key and address."""


class Datagrams(Protocol):
    """What is known of UDP services."""

    def way(self, service: Service, port: ServicePort) -> Way:
        """Say how datagrams to this port go, and why."""

    def flows_of(self, service: Service, port: ServicePort, endpoint: Endpoint) -> int:
        """Return how many flows began at an endpoint."""


def _nothing() -> Results:
    return {}


def _relayed(key: str, port: str) -> Way:
    return Way("relay")


class CatalogAnswers:
    """Answers about one agent's catalog."""

    def __init__(
        self,
        hub: Hub,
        results: Callable[[], Results] = _nothing,
        way: Callable[[str, str], Way] = _relayed,
        datagrams: Datagrams | None = None,
    ) -> None:
        """Answer from this hub; `results` gives what probes found, `way` how a port's connections go, and
        `datagrams` the same of UDP."""
        self._hub = hub
        self._tcp_way = way
        self._datagrams = datagrams
        self._results = results

    def services(self, wanted: ServicesWanted) -> dict[str, object]:
        """Return a page of services, ordered by key, how many there are, and where the next page begins."""
        hub = self._hub
        listed = {
            one.key: one
            for one in wanted.among(hub.snapshot.unordered())
            if not wanted.level or wanted.level == _level(hub, one).value
        }
        page = heapq.nsmallest(wanted.limit + 1, (key for key in listed if key > wanted.after))
        more, page = len(page) > wanted.limit, page[: wanted.limit]
        return {
            "services": [_service(hub, listed[key], self._way) for key in page],
            "total": len(listed),
            "after": page[-1] if more else "",
        }

    def service(self, namespace: str, name: str) -> dict[str, object]:
        """Return all of one service, with the first page of its endpoints. NoSuchService if there is none."""
        one = question.named(self._hub.snapshot, namespace, name)
        page = self.endpoints(EndpointsWanted(service=one.key))
        return {**_service(self._hub, one, self._way), "labels": dict(one.labels), "serving": page}

    def endpoints(self, wanted: EndpointsWanted) -> dict[str, object]:
        """Return a page of endpoints, ordered by service, port and address, and where the next page begins.

        NoSuchService, WhichNamespace or WrongCursor if that is not to be answered.
        """
        snapshot = self._hub.snapshot
        if wanted.service:
            namespace, _, name = wanted.service.rpartition("/")
            chosen = [question.named(snapshot, namespace or wanted.namespace, name)]
        else:
            chosen = [one for one in snapshot.unordered() if wanted.namespace in ("", one.namespace)]
        rows = question.page_of(chosen, wanted.after, wanted.limit + 1)
        more, rows = len(rows) > wanted.limit, rows[: wanted.limit]
        words = _Words(self._hub, self._results(), self._datagrams)
        return {
            "endpoints": [words.of(row) for row in rows],
            "total": sum(len(one.endpoints) for one in chosen),
            "after": question.cursor(rows[-1]) if more else "",
        }

    def _way(self, service: Service, port: ServicePort) -> Way:
        if port.protocol != UDP:
            return self._tcp_way(service.key, port.name)
        return self._datagrams.way(service, port) if self._datagrams is not None else Way("pass")

    def discovery(self) -> dict[str, object]:
        """Return how the sources and their streams are."""
        return discovery(self._hub)


def _level(hub: Hub, one: Service) -> Level:
    # None: its last source has just let it go, and the next snapshot is without it.
    return hub.merge.level(one.key) or Level.LIVE


def _service(hub: Hub, one: Service, way: Callable[[Service, ServicePort], Way]) -> dict[str, object]:
    lost = [source for source in question.sources_of(one) if hub.merge.lost(source)]
    return {
        "namespace": one.namespace,
        "name": one.name,
        "source": one.source,
        "level": _level(hub, one).value,
        "vips": [Address(vip, 0).host for vip in one.vips],
        "ports": [_port(port, way(one, port)) for port in one.every_port],
        "ready": sum(endpoint.ready for endpoint in one.endpoints),
        "endpoints": len(one.endpoints),
        "stale_since": min((stale_since(hub, source) for source in lost), default=0.0),
        "headless": one.headless,
        "external": one.external,
        "unheeded": list(one.unheeded),
    }


def _port(port: ServicePort, way: Way) -> dict[str, object]:
    return {
        "name": port.name,
        "port": port.port,
        "protocol": port.protocol,
        "path": way.path,
        "why": way.why,
    }


class _Words:
    """Turns endpoints into words, each with whose word its health is."""

    def __init__(self, hub: Hub, probed: Results, datagrams: Datagrams | None) -> None:
        self._hub = hub
        self._datagrams = datagrams
        self._probed = probed
        self._said: dict[tuple[str, str], dict[tuple[str, Address], Health]] = {}

    def of(self, row: Row) -> dict[str, object]:
        one, port, endpoint = row
        found = self._probed.get((one.key, endpoint.address))
        said = self._said_by_source(one.key, endpoint) if found is not None else endpoint.health
        return {
            "namespace": one.namespace,
            "service": one.name,
            "port": port.name,
            "flows": self._flows_of(row),
            "address": str(endpoint.address),
            "id": endpoint.id,
            "health": endpoint.health.value,
            "why": _why(endpoint, said, found),
            "said": said.value,
            "probe": None if found is None else _probe(found),
            "ready": endpoint.ready,
            "draining": endpoint.draining,
            "weight": endpoint.weight,
            "zone": endpoint.zone,
            "node": endpoint.node,
            "version": endpoint.version,
            "source": endpoint.source,
            "since": endpoint.since,
            "stale": self._hub.merge.lost(endpoint.source),
            "meshed": endpoint.meshed,
            "identity": endpoint.identity,
            "labels": dict(endpoint.labels),
        }

    def _flows_of(self, row: Row) -> int | None:
        if self._datagrams is None or row[1].protocol != UDP:
            return None
        return self._datagrams.flows_of(*row)

    def _said_by_source(self, key: str, endpoint: Endpoint) -> Health:
        """Find what its source says of an endpoint, before a probe's word was laid over it."""
        asked = (endpoint.source, key)
        if asked not in self._said:
            said = self._hub.merge.said(endpoint.source).get(key)
            known = said.endpoints if said is not None else ()
            self._said[asked] = {(one.id, one.address): one.health for one in known}
        return self._said[asked].get((endpoint.id, endpoint.address), endpoint.health)


def _why(endpoint: Endpoint, said: Health, found: Result | None) -> str:
    """Name whose word the health is: the source's, the probe's, or both of theirs."""
    agree = [endpoint.source or "source"] if said is endpoint.health else []
    if found is not None and found.health is endpoint.health and found.health is not Health.UNKNOWN:
        agree.append("probe")
    return "+".join(agree) or "probe"


def _probe(found: Result) -> dict[str, object]:
    return {
        "health": found.health.value,
        "since": found.since,
        "last": found.last,
        "text": found.text,
        "latency_s": found.latency_s,
    }
