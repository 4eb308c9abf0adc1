"""Core. What is known of Consul's services so far, folded from its answers. Does not know how they came.

An answer counts as what its stream says now, whichever index it has: who asks has one question about the
same thing under way at a time, so the last answer is the newest. Answers may repeat, get lost, and come in
any order between streams; when each has said its last word, what is known is what Consul knows.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from meshtrio.catalog.consul import read_names, read_service, with_elsewhere
from meshtrio.catalog.service import Service


class News(NamedTuple):
    """What an answer changed: for `Sink.say` and for the stream's record."""

    changed: dict[str, Service | None]
    skips: tuple[str, ...] = ()


class Knowledge:
    """The list of services, and the instances of each, here and in other datacenters.

    Bounded by what Consul knows: nothing is kept of a name that is listed nowhere.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.names: frozenset[str] = frozenset()
        """Listed in our own datacenter."""
        self._names_elsewhere: frozenset[str] = frozenset()
        self._here: dict[str, Service | None] = {}
        self._elsewhere: dict[str, Service] = {}
        self._skipped: dict[str, frozenset[str]] = {}

    def listed(self, body: object) -> News:
        """Take the list of services. ValueError: it is none, and nothing changes."""
        names, skips = read_names(body)
        gone = self.names - names
        self.names = names
        for name in gone:
            self._here.pop(name, None)
            self._skipped.pop(name, None)
        return News(self._said(gone), self._fresh("", skips))

    def answered(self, name: str, body: object) -> News:
        """Take the instances of a service. ValueError: the answer is none, and nothing changes."""
        if name not in self.names:
            return News({})
        before = self._here.get(name)
        if body == []:
            self._here.setdefault(name, None)
            return News({})
        reading = read_service(name, body, before)
        self._here[name] = reading.service
        return News(self._said([name]), self._fresh(name, reading.skips))

    def listed_elsewhere(self, names: frozenset[str]) -> News:
        """Note which services all the other datacenters together have."""
        gone = (self._names_elsewhere - names) & self._elsewhere.keys()
        self._names_elsewhere = names
        for name in gone:
            del self._elsewhere[name]
            self._skipped.pop(f"{name} elsewhere", None)
        return News(self._said(gone))

    def answered_elsewhere(self, name: str, body: object) -> News:
        """Take the instances of a service in another datacenter. ValueError: as in `answered`."""
        reading = read_service(name, body, self._elsewhere.get(name), wan=True)
        if reading.service is None or not self.wants(name):
            self._elsewhere.pop(name, None)
        else:
            self._elsewhere[name] = reading.service
        return News(self._said([name]), self._fresh(f"{name} elsewhere", reading.skips))

    def wants(self, name: str) -> bool:
        """Say whether other datacenters have this service, and no instance of our own serves it."""
        if name not in self._names_elsewhere or (name in self.names and name not in self._here):
            return False
        return not _is_served(self._here.get(name))

    @property
    def wanting(self) -> list[str]:
        """Name the services for which other datacenters are to be asked."""
        return sorted(filter(self.wants, self._names_elsewhere))

    @property
    def complete(self) -> bool:
        """Say whether each listed service has answered once."""
        return len(self._here) == len(self.names)

    @property
    def services(self) -> dict[str, Service | None]:
        """All that is known, as `Sink.say` wants it."""
        return self._said({*self._here, *self._elsewhere})

    def on_nodes(self, nodes: Iterable[str]) -> set[str]:
        """Name the services that have instances on one of these nodes."""
        wanted = frozenset(nodes)
        return {
            name
            for name, service in (self._here.items() if wanted else ())
            if service and any(endpoint.node in wanted for endpoint in service.endpoints)
        }

    def _said(self, names: Iterable[str]) -> dict[str, Service | None]:
        return {f"default/{name}": self._joined(name) for name in names}

    def _joined(self, name: str) -> Service | None:
        here = self._here.get(name)
        if _is_served(here):
            self._elsewhere.pop(name, None)
        return with_elsewhere(here, self._elsewhere.get(name))

    def _fresh(self, name: str, skips: tuple[str, ...]) -> tuple[str, ...]:
        """Leave out what was told already: an answer that is repeated is no further fault."""
        before = self._skipped.get(name, frozenset())
        if skips:
            self._skipped[name] = frozenset(skips)
        else:
            self._skipped.pop(name, None)
        return tuple(skip for skip in skips if skip not in before)


def _is_served(service: Service | None) -> bool:
    return service is not None and any(endpoint.ready for endpoint in service.endpoints)


class Checks:
    """What the checks said when they were last seen, as one number for each service and each node."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._services: dict[str, int] = {}
        self._nodes: dict[str, int] = {}

    def changed(self, body: object) -> tuple[set[str], set[str]]:
        """Take all checks; name the services and the nodes with others than before. ValueError: no checks.

        What cannot be understood here is passed over: the service's own answer names it.
        """
        if not isinstance(body, list):
            raise ValueError("the answer for the checks is no list")  # noqa: TRY004 - said, not done
        services: dict[str, int] = {}
        nodes: dict[str, int] = {}
        for raw in body:
            if isinstance(raw, Mapping):
                _add(services, nodes, raw)
        found = _different(self._services, services), _different(self._nodes, nodes)
        self._services, self._nodes = services, nodes
        return found


def _add(services: dict[str, int], nodes: dict[str, int], raw: Mapping[str, Any]) -> None:
    node, service = raw.get("Node"), raw.get("ServiceName") or ""
    if isinstance(node, str) and isinstance(service, str):
        # Order does not count in a sum.
        into, key = (services, service) if service else (nodes, node)
        one = hash((node, repr(raw.get("ServiceID")), repr(raw.get("CheckID")), repr(raw.get("Status"))))
        into[key] = (into.get(key, 0) + one) & 0xFFFF_FFFF_FFFF_FFFF


def _different(before: dict[str, int], now: dict[str, int]) -> set[str]:
    return {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
