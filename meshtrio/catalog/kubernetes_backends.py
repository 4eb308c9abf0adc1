"""Core. Which addresses serve a service, as an EndpointSlice or an Endpoints object says it. Does not know
the service, or the pods behind the addresses.
"""

from collections.abc import Iterable, Sequence

import msgspec

from meshtrio.catalog import kubernetes_wire as wire
from meshtrio.catalog.kubernetes_spec import Backend, BackendsSpec, Condition, Group, shared
from meshtrio.catalog.kubernetes_wire import NAME, bounded, ip_of

_SLICES = msgspec.json.Decoder(wire.Slice)
_ENDPOINTS = msgspec.json.Decoder(wire.Endpoints)
_NOWHERE = wire.Topology()
_NO_CONDITIONS = wire.Conditions()
ZONES = 8
"""How many zones of a hint count: Kubernetes itself allows no more."""


def read_slice(raw: bytes | msgspec.Raw) -> tuple[wire.Named, BackendsSpec]:
    """Read an EndpointSlice, v1 or v1beta1. One of host names (FQDN) has no addresses, and so no backends.

    Raises ValueError for what cannot be understood.
    """
    read = _SLICES.decode(raw)
    labels = read.metadata.labels or wire.FewLabels()
    groups: tuple[Group, ...] = ()
    if read.address_type in ("IPv4", "IPv6"):
        at = shared(bounded(read.metadata.namespace, "metadata.namespace"))
        backends = tuple(
            _of_slice(one, one.addresses[0], at) for one in read.endpoints or () if one.addresses
        )
        groups = (_group(read.ports or (), backends),)
    return read.metadata, BackendsSpec(shared(bounded(labels.service, "metadata.labels")), groups)


def read_endpoints(raw: bytes | msgspec.Raw) -> tuple[wire.Named, BackendsSpec]:
    """Read an Endpoints object: its service is the one of its own name. ValueError as above."""
    read = _ENDPOINTS.decode(raw)
    at = shared(bounded(read.metadata.namespace, "metadata.namespace"))
    groups = tuple(
        _group(
            subset.ports or (),
            (
                *(_of_subset(one, Condition.READY, at) for one in subset.addresses or ()),
                *(_of_subset(one, Condition.NOT_READY, at) for one in subset.not_ready_addresses or ()),
            ),
        )
        for subset in read.subsets or ()
    )
    return read.metadata, BackendsSpec(read.metadata.name, groups)


def _group(ports: Sequence[wire.Port], backends: tuple[Backend, ...]) -> Group:
    return Group(_ports(ports, "TCP"), backends, _ports(ports, "UDP"))


def _ports(given: Iterable[wire.Port], protocol: str) -> tuple[tuple[str, int], ...]:
    """Take those of a protocol. One without a number means all numbers, which no service's port can mean."""
    return shared(
        tuple(
            (bounded(one.name, "ports.name"), one.port)
            for one in given
            if one.port is not None and (one.protocol or "TCP") == protocol
        )
    )


def _of_slice(said: wire.SliceEndpoint, ip: str, at: str) -> Backend:
    place = said.topology or _NOWHERE
    zone, node = said.zone or place.zone, said.node_name or place.node
    backend = Backend(
        ip_of(ip, "addresses"),
        _condition(said.conditions or _NO_CONDITIONS),
        shared(bounded(zone, "zone")) if zone else "",
        shared(bounded(node, "nodeName")) if node else "",
        *_behind(said.target_ref, at),
    )
    if said.hints is None or not said.hints.for_zones:
        return backend
    zones = tuple(sorted(bounded(one.name, "hints.forZones") for one in said.hints.for_zones[:ZONES]))
    return msgspec.structs.replace(backend, for_zones=shared(zones))


def _of_subset(said: wire.SubsetAddress, condition: Condition, at: str) -> Backend:
    node = shared(bounded(said.node_name, "nodeName"))
    return Backend(ip_of(said.ip, "addresses"), condition, "", node, *_behind(said.target_ref, at))


def _condition(said: wire.Conditions) -> Condition:
    if said.terminating:
        return Condition.LEAVING if said.serving is False else Condition.DRAINING
    return Condition.NOT_READY if said.ready is False else Condition.READY


def _behind(target: wire.Target | None, at: str) -> tuple[str, str, str]:
    """Say what is behind an address, and of a pod its namespace and uid."""
    name = (target.name or "") if target is not None else ""
    # Nobody checks what stands in a targetRef. What is no name becomes no id.
    if target is None or NAME.fullmatch(name) is None:
        return "", "", ""
    if (target.kind or "Pod") != "Pod":
        return name, "", ""
    elsewhere = target.namespace or at
    namespace = at if elsewhere == at else shared(bounded(elsewhere, "targetRef.namespace"))
    return name, namespace, bounded(target.uid, "targetRef.uid")
