"""Core. One Kubernetes object's JSON becomes what we use of it, however much else it carries. Does not know
about events, or about other objects.

An object that cannot be understood is poison: it is named, and never half taken.
"""

import enum
from collections.abc import Callable, Iterable

import msgspec

from meshtrio.address import V4_PREFIX
from meshtrio.catalog import kubernetes_wire as wire
from meshtrio.catalog.kubernetes_backends import read_endpoints, read_slice
from meshtrio.catalog.kubernetes_spec import (
    NamespaceSpec,
    PodSpec,
    PortSpec,
    ServiceSpec,
    Spec,
    bounded_labels,
    shared,
)
from meshtrio.catalog.kubernetes_wire import HOST, NAME, bounded, ip_of, name_of
from meshtrio.catalog.service import UDP
from meshtrio.config.wishes import Wishes, read_wishes

PROTOCOLS = {
    "http": "http",
    "grpc-web": "http",
    "kubernetes.io/ws": "http",
    "grpc": "grpc",
    "http2": "http2",
    "h2c": "http2",
    "kubernetes.io/h2c": "http2",
    "tls": "tls",
    "https": "tls",
    "kubernetes.io/wss": "tls",
    "tcp": "tcp",
    "mongo": "tcp",
    "mysql": "tcp",
    "postgres": "tcp",
    "redis": "tcp",
}
"""What an appProtocol means to us. Where there is none, the name of the port is read in the same way."""

_OURS = "meshtrio.io/"
_MESH = "meshtrio.io/mesh"
_WEIGHT = "meshtrio.io/weight"
_ZONE = "topology.kubernetes.io/zone"
_SAYS_MESHED = {"enabled": True, "disabled": False}


class Kind(enum.Enum):
    """The kinds that say something about services. The value is the word in the server's paths."""

    SERVICE = "services"
    SLICE = "endpointslices"
    """discovery.k8s.io, v1 and v1beta1."""
    ENDPOINTS = "endpoints"
    """The older form of the same news; wanted only where there are no slices."""
    POD = "pods"
    NAMESPACE = "namespaces"

    __hash__ = object.__hash__  # enum's own is a Python function, called for each look at the store


KINDS = tuple(Kind)


class Object(msgspec.Struct, frozen=True, gc=False):
    """One object as it was at one version."""

    kind: Kind
    namespace: str
    """Empty for a Namespace."""
    name: str
    uid: str
    version: str
    """The resourceVersion."""
    spec: Spec


class PoisonError(ValueError):
    """An object that cannot be understood."""

    def __init__(self, name: str, why: str) -> None:
        """Name the object, "namespace/name" (empty: not even that can be read), and say why."""
        self.name = name
        self.why = why[:200]
        super().__init__(f"{name or 'an object without a name'}: {self.why}")


def decode(kind: Kind, raw: bytes | msgspec.Raw) -> Object:
    """Read one object of this kind. PoisonError names what cannot be understood, and says why."""
    try:
        return _DECODED[kind](raw)
    except (ValueError, RecursionError) as wrong:
        raise PoisonError(_name_in(raw), str(wrong)) from None


def _name_in(raw: bytes | msgspec.Raw) -> str:
    try:
        named = _NAMED.decode(raw).metadata
    except (ValueError, RecursionError):
        return ""
    if not NAME.fullmatch(named.name) or not NAME.fullmatch(named.namespace or "x"):
        return ""
    return f"{named.namespace}/{named.name}" if named.namespace else named.name


def _object(kind: Kind, said: wire.Named, spec: Spec) -> Object:
    namespace = "" if kind is Kind.NAMESPACE else name_of(said.namespace or "", "metadata.namespace")
    return Object(
        kind,
        shared(namespace),
        name_of(said.name, "metadata.name"),
        bounded(said.uid, "metadata.uid"),
        bounded(said.resource_version, "metadata.resourceVersion"),
        spec,
    )


def _service(raw: bytes | msgspec.Raw) -> Object:
    read = _SERVICES.decode(raw)
    body = read.spec or wire.ServiceBody()
    external = (body.external_name or "") if body.type == "ExternalName" else ""
    if body.type == "ExternalName" and not HOST.fullmatch(external):
        raise ValueError(f"spec.externalName is {external[:100]!r} (want a host name)")
    given = body.cluster_ips or ([body.cluster_ip] if body.cluster_ip else [])
    vips = (
        ()
        if external
        else tuple(
            dict.fromkeys(ip_of(text, "spec.clusterIPs") for text in given if text not in ("", "None"))
        )
    )
    wishes, unheeded = _wishes(read.metadata.annotations)
    spec = ServiceSpec(
        vips=vips,
        ports=_service_ports(body.ports or ()),
        headless="None" in given and not external,
        external=external,
        dual_stack=len(set(body.ip_families or ())) > 1 or len({vip[:12] == V4_PREFIX for vip in vips}) > 1,
        publish_not_ready=bool(body.publish_not_ready_addresses),
        labels=bounded_labels(read.metadata.labels or {}),
        wishes=wishes,
        unheeded=unheeded,
    )
    return _object(Kind.SERVICE, read.metadata, spec)


def _wishes(given: wire.Annotations | None) -> tuple[Wishes, tuple[str, ...]]:
    said: dict[str, str | None] = msgspec.to_builtins(given) if given is not None else {}
    wishes, unheeded = read_wishes({name: text for name, text in said.items() if text is not None}, _OURS)
    return shared(wishes), unheeded


def _service_ports(given: Iterable[wire.Port]) -> tuple[PortSpec, ...]:
    ports = [
        PortSpec(
            bounded(one.name, "spec.ports.name"),
            one.port,
            UDP if one.protocol == "UDP" else protocol_of(one.app_protocol or one.name or ""),
        )
        for one in given
        if one.port is not None and (one.protocol or "TCP") in ("TCP", "UDP")
    ]
    numbers = {(one.protocol == UDP, one.port) for one in ports}
    if len({one.name for one in ports}) < len(ports) or len(numbers) < len(ports):
        raise ValueError("spec.ports has two TCP or UDP ports of one name or number")
    return tuple(ports)


def protocol_of(said: str) -> str:
    """Say what an appProtocol means, or, as Istio has it, a port's name up to its first hyphen."""
    said = said.lower()
    first = "grpc-web" if said.startswith("grpc-web") else said.partition("-")[0]
    return PROTOCOLS.get(said) or PROTOCOLS.get(first, "")


def _pod(raw: bytes | msgspec.Raw) -> Object:
    read = _PODS.decode(raw)
    labels = read.metadata.labels or {}
    annotations = read.metadata.annotations or wire.Annotations()
    account = (read.spec.service_account_name if read.spec else "") or "default"
    spec = PodSpec(
        labels=bounded_labels(labels),
        account=name_of(account, "spec.serviceAccountName"),
        meshed=_SAYS_MESHED.get(labels.get(_MESH, "")),
        weight=_weight(annotations.weight or labels.get(_WEIGHT, "")),
        version=bounded(labels.get("app.kubernetes.io/version") or labels.get("version"), "metadata.labels"),
        zone=bounded(labels.get(_ZONE), "metadata.labels"),
    )
    return _object(Kind.POD, read.metadata, shared(spec))


def _weight(text: str) -> int:
    digits = len(text) <= 4 and text.isascii() and text.isdigit()
    return int(text) if digits and int(text) <= 1000 else 1


def _namespace(raw: bytes | msgspec.Raw) -> Object:
    read = _NAMESPACES.decode(raw)
    labels = read.metadata.labels or wire.FewLabels()
    return _object(Kind.NAMESPACE, read.metadata, NamespaceSpec(labels.mesh == "enabled"))


_Reader = Callable[[bytes | msgspec.Raw], Object]


def _backends(kind: Kind, read: Callable[[bytes | msgspec.Raw], tuple[wire.Named, Spec]]) -> _Reader:
    return lambda raw: _object(kind, *read(raw))


_NAMED = msgspec.json.Decoder(wire.NameOnly)
_SERVICES = msgspec.json.Decoder(wire.Service)
_PODS = msgspec.json.Decoder(wire.Pod)
_NAMESPACES = msgspec.json.Decoder(wire.Namespace)
_DECODED: dict[Kind, _Reader] = {
    Kind.SERVICE: _service,
    Kind.SLICE: _backends(Kind.SLICE, read_slice),
    Kind.ENDPOINTS: _backends(Kind.ENDPOINTS, read_endpoints),
    Kind.POD: _pod,
    Kind.NAMESPACE: _namespace,
}
