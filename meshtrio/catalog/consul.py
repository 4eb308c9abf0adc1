"""Core. What Consul's answers become: instances and their checks a service. Does not know how one asks.

Two answers speak of a service, and only both together take it away. The list of services says that it is
there; its own answer says which instances it has. Consul lists a name as long as it has an instance, so an
answer without instances for a name that is listed is either overtaken by a change, of which the list tells
next, or filtered by a token that may not see the nodes. In both cases what was known holds.

Sidecar proxies and gateways are instances with a kind, and instances without a port cannot be dialled: they
are no endpoints of ours, and no fault. What cannot be understood is skipped and named, and stays as it was
known before.
"""

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from meshtrio.address import Address
from meshtrio.catalog.diallable import why_undiallable
from meshtrio.catalog.service import UDP, Endpoint, Health, Labels, Service, ServicePort
from meshtrio.config.wishes import WORDS, read_wishes

LABELS = 32
LABEL_BYTES = 1024
"""How many tags and meta values of an instance are kept, and how large all of them may be. More are left out,
tags first, then those of the last names."""

# Not meshtrio.io/mesh, as in Kubernetes: a key has letters, digits, "-" and "_", or Consul refuses it.
_OURS = "meshtrio-"
MESHED = "meshtrio-mesh"
IDENTITY = "meshtrio-identity"
IDENTITY_CHARS = 2048
"""As long as a SPIFFE ID may be."""

_WISHES = tuple(f"{_OURS}{word}" for word in WORDS)
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PORT_NAME = re.compile(r"[-a-z0-9]{0,63}")
_PROTOCOLS = frozenset(("http", "http2", "grpc", "tcp", "tls", UDP))

_Shape = tuple[int, str, str, Labels]
"""What an instance says of the service: port, its name, protocol, wishes. What most say holds, of each."""


class Reading(NamedTuple):
    """What an answer says of one service, and what in it could not be understood."""

    service: Service | None
    """None: it has instances, but none of them serves a port."""
    skips: tuple[str, ...]


def read_names(body: object) -> tuple[frozenset[str], tuple[str, ...]]:
    """Read which services there are; beside it the names that cannot be ours. ValueError: no such answer."""
    if not isinstance(body, dict):
        raise ValueError("the list of services is no object")  # noqa: TRY004 - what was said, not what we did
    good = frozenset(name for name in body if _LABEL.fullmatch(name))
    return good, tuple(f"service {name[:100]!r}: the name is no DNS label" for name in body.keys() - good)


def read_service(name: str, body: object, before: Service | None = None, *, wan: bool = False) -> Reading:
    """Read the instances of a service. ValueError: no such answer.

    `wan`: they are in another datacenter, to be dialled by the addresses meant for that.
    """
    if not isinstance(body, list):
        raise ValueError(f"the answer for {name} is no list")  # noqa: TRY004 - as above
    known = {endpoint.id: endpoint for endpoint in before.endpoints} if before else {}
    found: dict[str, Endpoint] = {}
    skips: list[str] = []
    shapes: list[_Shape] = []
    shared: dict[Labels, Labels] = {}
    for raw in body:
        try:
            instance = _instance(raw)
            if instance is None:
                continue
            endpoint = _endpoint(instance, shared, wan=wan)
        except (ValueError, TypeError, KeyError, AttributeError) as wrong:
            id_ = _known_id(raw, wan=wan)
            why = f"it has no {wrong}" if isinstance(wrong, KeyError) else wrong
            skips.append(f"instance {id_ or '?'} of {name}: {why}"[:300])
            if id_ in known:
                found.setdefault(id_, known[id_])
            continue
        if endpoint.id in found:
            skips.append(f"instance {endpoint.id} of {name}: it is there twice")
            continue
        found[endpoint.id] = endpoint
        wished = tuple((name, instance.meta[name]) for name in _WISHES if name in instance.meta)
        shapes.append((endpoint.address.port, _port_name(instance), _protocol(instance), wished))
    return Reading(_service(name, found, shapes, before), tuple(skips))


class _Instance(NamedTuple):
    node: Mapping[str, Any]
    service: Mapping[str, Any]
    checks: list[Mapping[str, Any]]
    meta: Mapping[str, str]


def _instance(raw: Any) -> _Instance | None:
    service, node = raw["Service"], raw["Node"]
    if service.get("Kind") or not service.get("Port"):
        return None
    meta = service.get("Meta") or {}
    if not isinstance(meta, dict) or not all(isinstance(value, str) for value in meta.values()):
        raise ValueError("its meta values are no texts")
    return _Instance(node, service, raw.get("Checks") or [], meta)


def _endpoint(instance: _Instance, shared: dict[Labels, Labels], *, wan: bool) -> Endpoint:
    node, service, _, meta = instance
    health = _health(instance.checks)
    labels = _labels(service.get("Tags") or [], meta)
    node_meta = node.get("Meta") or {}
    return Endpoint(
        id=_id(node, service, wan=wan),
        address=_address(node, service, "wan" if wan else "lan"),
        weight=_weight(service.get("Weights") or {}, health),
        zone=sys.intern(_short(meta.get("zone") or node_meta.get("zone") or "")),
        health=health,
        node=sys.intern(_short(node["Node"])),
        version=sys.intern(meta.get("version", "")[:100]),
        labels=shared.setdefault(labels, labels),
        meshed=meta.get(MESHED) == "enabled",
        identity=_short(meta.get(IDENTITY, ""), IDENTITY_CHARS),
    )


def _id(node: Mapping[str, Any], service: Mapping[str, Any], *, wan: bool) -> str:
    """Consul's ids are unique on a node, and its nodes in a datacenter."""
    id_ = f"{_short(node['Node'])}/{_short(service['ID'])}"
    return f"{_short(node['Datacenter'])}/{id_}" if wan else id_


def _known_id(raw: Any, *, wan: bool) -> str:
    try:
        return _id(raw["Node"], raw["Service"], wan=wan)
    except (ValueError, TypeError, KeyError):
        return ""


def _short(text: object, bound: int = 300) -> str:
    if not isinstance(text, str) or len(text) > bound:
        raise ValueError(f"{str(text)[:60]!r} is no name")
    return text


def _address(node: Mapping[str, Any], service: Mapping[str, Any], side: str) -> Address:
    """Find where it is dialled: as Consul does it when it translates addresses, service before node."""
    tagged = (service.get("TaggedAddresses") or {}).get(side) or {}
    port = tagged.get("Port") or service["Port"]
    if not isinstance(port, int):
        raise ValueError(f"the port {str(port)[:60]!r} is no number")  # noqa: TRY004 - as above
    host = (
        tagged.get("Address")
        or service.get("Address")
        or (node.get("TaggedAddresses") or {}).get(side)
        or node["Address"]
    )
    address = Address.of(_short(host), port)
    if why := why_undiallable(address):
        raise ValueError(f"its address is {address}, {why}")
    return address


def _health(checks: list[Mapping[str, Any]]) -> Health:
    """Judge by the checks of the instance and of its node. Maintenance is a check too, a critical one."""
    said = {check["Status"] for check in checks}
    if "critical" in said:
        return Health.UNHEALTHY
    if "warning" in said:
        return Health.WARNING
    return Health.HEALTHY if said == {"passing"} else Health.UNKNOWN


def _weight(weights: Mapping[str, Any], health: Health) -> int:
    weight = weights.get("Warning" if health is Health.WARNING else "Passing", 1)
    if not isinstance(weight, int) or not 0 <= weight <= 65535:
        raise ValueError(f"the weight {str(weight)[:60]} is not in 0 to 65535")
    return weight


def _labels(tags: list[str], meta: Mapping[str, str]) -> Labels:
    """Make labels of meta values and tags. "a=b" is a tag with a value; where both say it, meta counts."""
    split = (tag.partition("=") for tag in sorted(tags))
    said = [*sorted(meta.items()), *((name, value) for name, _, value in split if name not in meta)]
    kept: dict[str, str] = {}
    left = LABEL_BYTES
    for name, value in said:
        size = len(name.encode()) + len(value.encode())
        if len(kept) < LABELS and size <= left and name not in kept:
            kept[sys.intern(name)] = value
            left -= size
    return tuple(sorted(kept.items()))


def _port_name(instance: _Instance) -> str:
    name = instance.meta.get("port_name", "")
    return name if _PORT_NAME.fullmatch(name) else ""


def _protocol(instance: _Instance) -> str:
    protocol = instance.meta.get("protocol", "")
    return protocol if protocol in _PROTOCOLS else ""


def _service(
    name: str, found: Mapping[str, Endpoint], shapes: list[_Shape], before: Service | None
) -> Service | None:
    """Put the endpoints behind one port: a service has no more, whatever its instances listen on."""
    if not found:
        return None
    if shapes:
        number, port_name, protocol, wished = map(_of_most, zip(*shapes, strict=True))
        wishes, unheeded = read_wishes(dict(wished), _OURS)
    else:
        # Nothing was understood, and all that is left is what was known; so it was known.
        assert before is not None
        old = before.every_port[0]
        number, port_name, protocol = old.port, old.name, old.protocol
        wishes, unheeded = before.wishes, before.unheeded
    endpoints = tuple(found[id_] for id_ in sorted(found))
    port = ServicePort(port_name, number, endpoints, protocol)
    return _behind(Service(name, wishes=wishes, unheeded=unheeded), port)


def _behind(service: Service, port: ServicePort) -> Service:
    """Give the service this port and no other."""
    udp = port.protocol == UDP
    ports, datagrams = ((), (port,)) if udp else ((port,), ())
    return msgspec.structs.replace(service, ports=ports, datagrams=datagrams)


def _of_most(said: Sequence[Any]) -> Any:
    counts = Counter(said)
    return min(counts, key=lambda one: (-counts[one], one))


def with_elsewhere(local: Service | None, elsewhere: Service | None) -> Service | None:
    """Put instances of another datacenter behind those of our own, under our own port where there is one."""
    if local is None or elsewhere is None:
        return local if elsewhere is None else elsewhere
    port = local.every_port[0]
    both = msgspec.structs.replace(port, endpoints=port.endpoints + elsewhere.every_port[0].endpoints)
    return _behind(local, both)
