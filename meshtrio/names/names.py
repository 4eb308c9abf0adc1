"""Core. Which service does a name mean? Knows the forms of names, and no DNS message.

| form | means |
|---|---|
| orders | orders in the asker's namespace |
| orders.mesh | the same, or else orders in "default" |
| orders.shop.mesh, orders.shop, orders.shop.svc, orders.shop.svc.CLUSTER | orders in shop |
| orders.service.consul, orders.service.DC.consul | orders in "default"; DC must be our datacenter |
| TAG.orders.service[.DC].consul | the endpoints of it that have this tag |
| _http._tcp. and any of these | its port "http" |
| 10-0-0-1.orders.shop.mesh | its endpoint at this address, as SRV answers name it |
| 4.3.2.1.in-addr.arpa, ... .ip6.arpa | the service that has this virtual IP |

What is under `.mesh` is ours, whether there is such a service or not; but never what is under the cluster's
domain. Anywhere else a name is ours only if its service is there. `orders` and `orders.shop` are short: they
could also be public names, so they are ours only where a process wants to connect to them.
"""

import ipaddress
from collections.abc import Sequence

import msgspec

from meshtrio.address import V4_PREFIX
from meshtrio.catalog.service import Endpoint, Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.names.index import Index

ZONE = "mesh"
ALONE = frozenset(("localhost", ZONE))
"""Names that no service can take over (RFC 6761, section 6.3)."""


class Named(msgspec.Struct, frozen=True, gc=False):
    """A name that means a service, or less of it."""

    service: Service
    port: ServicePort | None = None
    """Only this port: the name says where it is served, and has no address itself."""
    ip: bytes = b""
    """Only the endpoints at this address."""
    tag: str = ""
    """Only the endpoints with this tag."""
    short: bool = False
    ours: bool = False
    """Whether it stands under `.mesh`."""
    reverse: bool = False


class Bare(msgspec.Struct, frozen=True, gc=False):
    """A name under `.mesh` that means no service. It may still be there, because of what is below it."""

    exists: bool
    apex: bool = False


class Asker(msgspec.Struct, frozen=True, gc=False):
    """Who asks, and what is known: the same name may mean different services to different askers."""

    snapshot: Snapshot
    namespace: str
    cluster: tuple[str, ...] = ("cluster", "local")
    datacenter: str = ""
    """Consul's own datacenter; empty: not known, and so names that say one are not ours."""


def labels_of(text: str) -> tuple[str, ...]:
    """Split a name as `question.read` does."""
    return tuple(text.lower().removesuffix(".").split(".")) if text else ()


def meaning(labels: tuple[str, ...], asker: Asker, index: Index) -> Named | Bare | None:
    """Say what a name means here; None: nothing to us, so somebody else has to be asked."""
    count = len(labels)
    if not count:
        return None
    if labels[-1] == "arpa":
        ip = reversed_ip(labels)
        owner = index.owner(ip, asker.snapshot) if ip else None
        return Named(owner, reverse=True) if owner else None
    prefixed = count > 2 and labels[0][:1] == "_"
    named = _port(labels, asker) if prefixed else _service(labels, asker)
    if named is not None or not _is_ours(labels, asker.cluster):
        return named
    return _bare(labels, asker, index)


def reversed_ip(labels: Sequence[str]) -> bytes:
    """Read the address (16 bytes) that a name under in-addr.arpa or ip6.arpa is for; empty if it is none."""
    try:
        if len(labels) == 6 and labels[4] == "in-addr":
            return V4_PREFIX + ipaddress.IPv4Address(".".join(labels[3::-1])).packed
        if len(labels) == 34 and labels[32] == "ip6" and all(len(one) == 1 for one in labels[:32]):
            return bytes.fromhex("".join(labels[31::-1]))
    except ValueError:
        pass
    return b""


def instance_label(ip: bytes) -> str:
    """Write an address as one label: 10-0-0-1, or all eight groups of an IPv6 address."""
    if ip.startswith(V4_PREFIX):
        return "-".join(map(str, ip[12:]))
    return "-".join(f"{high << 8 | low:x}" for high, low in zip(ip[::2], ip[1::2], strict=True))


def has_tag(endpoint: Endpoint, tag: str) -> bool:
    """Say whether an endpoint carries this tag of Consul's, which is a label without a value."""
    if endpoint.source != "consul":
        return False
    return any(not value and name.lower() == tag for name, value in endpoint.labels)


def _service(labels: tuple[str, ...], asker: Asker) -> Named | None:
    match labels:
        case (name,):
            return None if name in ALONE else _found(asker, asker.namespace, name, short=True)
        case (name, "mesh"):
            return _found(asker, asker.namespace, name, ours=True) or _found(
                asker, "default", name, ours=True
            )
        case (name, namespace):
            return _found(asker, namespace, name, short=True)
        case (name, namespace, "svc", *rest) if not rest or tuple(rest) == asker.cluster:
            return _found(asker, namespace, name)
        case (name, namespace, "mesh"):
            return _found(asker, namespace, name, ours=True)
        case (instance, name, namespace, "mesh"):
            return _instance(_found(asker, namespace, name, ours=True), instance)
        case (*_, "consul"):
            return _consul(labels[:-1], asker)
    return None


def _found(
    asker: Asker, namespace: str, name: str, *, short: bool = False, ours: bool = False
) -> Named | None:
    service = asker.snapshot.service(f"{namespace}/{name}")
    # A label may hold a slash, and so make the key of another service.
    if service is None or service.name != name:
        return None
    return Named(service, short=short, ours=ours)


def _instance(named: Named | None, label: str) -> Named | None:
    if named is None:
        return None
    for endpoint in named.service.endpoints:
        if instance_label(endpoint.address.ip) == label:
            return Named(named.service, ip=endpoint.address.ip, ours=True)
    return None


def _consul(labels: tuple[str, ...], asker: Asker) -> Named | None:
    match labels:
        case (name, "service"):
            tag = datacenter = ""
        case (tag, name, "service"):
            datacenter = ""
        case (name, "service", datacenter):
            tag = ""
        case (tag, name, "service", datacenter):
            pass
        case _:
            return None
    named = _found(asker, "default", name)
    if named is None or datacenter not in ("", asker.datacenter):
        return None
    if not tag:
        return named
    # A tag that nobody has is somebody else's to answer: we may not know tags at all.
    known = any(has_tag(endpoint, tag) for endpoint in named.service.endpoints)
    return Named(named.service, tag=tag) if known else None


def _port(labels: tuple[str, ...], asker: Asker) -> Named | None:
    if labels[1] not in ("_tcp", "_udp"):
        return None
    named = _service(labels[2:], asker)
    if named is None or named.ip or named.tag:
        return None
    for port in _ports_by(named.service, labels[1]):
        if port.name == labels[0][1:]:
            return msgspec.structs.replace(named, port=port)
    return None


def _is_ours(labels: tuple[str, ...], cluster: tuple[str, ...]) -> bool:
    if labels[-1] != ZONE:
        return False
    return cluster == (ZONE,) or not cluster or labels[-len(cluster) :] != cluster


def _bare(labels: tuple[str, ...], asker: Asker, index: Index) -> Bare:
    """Say whether a name under .mesh exists: if not, nothing below it may either (RFC 8020)."""
    match labels:
        case ("mesh",):
            return Bare(exists=True, apex=True)
        case (namespace, "mesh"):
            return Bare(exists=index.has_namespace(namespace, asker.snapshot))
        case ("_tcp" | "_udp" as how, *rest):
            named = _service(tuple(rest), asker)
            return Bare(exists=named is not None and any(port.name for port in _ports_by(named.service, how)))
    return Bare(exists=False)


def _ports_by(service: Service, label: str) -> tuple[ServicePort, ...]:
    return service.datagrams if label == "_udp" else service.ports
