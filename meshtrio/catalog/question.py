"""Core. What can be asked of a catalog: which services, which endpoints, from where on. Knows no answers.

A cursor names the last entry of the page before, and no position: what comes and goes between two pages makes
nothing else come twice or be left out.
"""

import fnmatch
import heapq
import re
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from meshtrio.address import Address
from meshtrio.catalog.service import UDP, Endpoint, Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot

PAGE = 1000
"""How many services or endpoints one answer holds at most: 0.4 MB."""
NEAR = 3
"""How many names are suggested for one that is none."""
_COMPARED = 100

_Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE)]
_Word = Annotated[str, msgspec.Meta(max_length=512)]
_Cursor = Annotated[str, msgspec.Meta(max_length=8192)]

Place = tuple[str, Address, str]
"""Where an endpoint stands in its service: port, address, id."""
Row = tuple[Service, ServicePort, Endpoint]


class ServicesWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which services are asked for. Empty: all."""

    namespace: _Word = ""
    source: _Word = ""
    name: _Word = ""
    """A pattern, as in order*."""
    level: _Word = ""
    limit: _Limit = PAGE
    after: _Cursor = ""

    def among(self, services: Iterable[Service]) -> Iterator[Service]:
        """Choose what is wanted, but for its level, which a service does not know itself."""
        matches = re.compile(fnmatch.translate(self.name or "*")).match
        for one in services:
            if (
                self.namespace in ("", one.namespace)
                and matches(one.name)
                and (not self.source or self.source in sources_of(one))
            ):
                yield one


class EndpointsWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which endpoints are asked for. Empty: all."""

    service: _Word = ""
    """name, or namespace/name."""
    namespace: _Word = ""
    limit: _Limit = PAGE
    after: _Cursor = ""


class NoSuchService(Exception):
    """There is no such service; the message says which one may have been meant."""


class WhichNamespace(Exception):
    """Several services have this name; the message says in which namespaces."""


class WrongCursor(Exception):
    """What a page should go on after is no cursor of ours."""


def sources_of(one: Service) -> set[str]:
    """Name who speaks of a service, and of its endpoints."""
    return {one.source} | {endpoint.source for endpoint in one.endpoints}


def named(snapshot: Snapshot, namespace: str, name: str) -> Service:
    """Find the service of this name, in this namespace or (empty) in any.

    NoSuchService or WhichNamespace if it is not one.
    """
    if namespace:
        exact = snapshot.service(f"{namespace}/{name}")
        if exact is not None:
            return exact
    same = sorted(one.namespace for one in snapshot.unordered() if one.name == name)
    if not namespace and len(same) == 1:
        found = snapshot.service(f"{same[0]}/{name}")
        assert found is not None, "it was just seen"
        return found
    if not namespace and same:
        more = f" and {len(same) - 10} more" if len(same) > 10 else ""
        raise WhichNamespace(
            f"{name} is in {len(same)} namespaces: {', '.join(same[:10])}{more}"
            f" (want one, as in {same[0]}/{name})"
        )
    near = [f"{one}/{name}" for one in same[:NEAR]] or _near(snapshot, namespace, name)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    raise NoSuchService(f"there is no service {namespace + '/' if namespace else ''}{name}{meant}")


def page_of(chosen: Iterable[Service], after: str, count: int) -> list[Row]:
    """Return the next so many endpoints, ordered by service, port and address. WrongCursor if it is none."""
    begin, place = _read_cursor(after)
    rows: list[Row] = []
    for one in sorted((one for one in chosen if one.key >= begin), key=_key):
        rows += _following(one, place if one.key == begin else None, count - len(rows))
        if len(rows) >= count:
            break
    return rows


def cursor(row: Row) -> str:
    """Name the place of an endpoint, for the next page to go on after it."""
    one, port, endpoint = row
    return msgspec.json.encode((one.key, _label(port), str(endpoint.address), endpoint.id)).decode()


def _label(port: ServicePort) -> str:
    """Name a port so that one of UDP is told from one of TCP, whatever they are called."""
    return f"{port.name}/{UDP}" if port.protocol == UDP else port.name


def _following(one: Service, place: Place | None, count: int) -> Iterable[Row]:
    places = {
        (_label(port), endpoint.address, endpoint.id): (one, port, endpoint)
        for port in one.every_port
        for endpoint in port.endpoints
    }
    following = places if place is None else [at for at in places if at > place]
    return [places[at] for at in heapq.nsmallest(count, following)]


def _read_cursor(text: str) -> tuple[str, Place | None]:
    if not text:
        return "", None
    try:
        key, port, address, ident = msgspec.json.decode(text, type=tuple[str, str, str, str])
        return key, (port, Address.parse(address), ident)
    except ValueError:  # msgspec's own are ValueErrors too
        raise WrongCursor("`after` is no cursor (want what the page before says as its `after`)") from None


def _near(snapshot: Snapshot, namespace: str, name: str) -> list[str]:
    """Find keys that look like what was asked for, at a cost that 10,000 services can bear."""
    keys = {one.key: one.name for one in snapshot.unordered()}
    letters = {letter: name.count(letter) for letter in name}

    def likeness(key: str) -> tuple[bool, int, str]:
        known = keys[key]
        shared = sum(min(count, known.count(letter)) for letter, count in letters.items())
        return name in known, shared - abs(len(known) - len(name)), key

    # 0.2 MB that only an agent that was asked for what is not there has.
    import difflib

    # difflib takes 50 us a pair, so it only sees the likeliest.
    likely = heapq.nlargest(_COMPARED, keys, key=likeness)
    near = difflib.get_close_matches(name, [keys[key] for key in likely], n=NEAR)
    near += [keys[key] for key in likely[:NEAR] if len(name) > 2 and name in keys[key]]
    found = [key for word in dict.fromkeys(near) for key in likely if keys[key] == word]
    found.sort(key=lambda key: not key.startswith(f"{namespace}/"))
    return found[:NEAR]


def _key(one: Service) -> str:
    return one.key
