"""Core. A Kubernetes Service, its backends and their pods become one of our services. Does not know how any
of them became known.

The same objects always make an equal service: endpoints are ordered by address, not by who spoke first.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from meshtrio.address import Address
from meshtrio.catalog.kubernetes_objects import Object
from meshtrio.catalog.kubernetes_spec import (
    Backend,
    BackendsSpec,
    Condition,
    PodSpec,
    ServiceSpec,
    shared,
)
from meshtrio.catalog.service import UDP, Endpoint, Health, Service, ServicePort

_RANKS = {Condition.READY: 0, Condition.DRAINING: 1, Condition.NOT_READY: 2, Condition.LEAVING: 3}
"""Where two slices name one address, as they do while it moves, the better word counts."""
_PUBLISHED = {Condition.NOT_READY: Condition.READY, Condition.LEAVING: Condition.DRAINING}
_MEANING = {
    Condition.READY: (Health.HEALTHY, False),
    Condition.DRAINING: (Health.HEALTHY, True),
    Condition.NOT_READY: (Health.UNHEALTHY, False),
    Condition.LEAVING: (Health.UNHEALTHY, True),
}
_UNKNOWN = PodSpec(labels=(), account="", meshed=False, weight=1, version="", zone="")


class Surroundings:
    """What is known around a service: pods, and which namespaces are in the mesh."""

    def __init__(
        self,
        pods: Callable[[str], Mapping[str, Object]],
        meshed: Callable[[str], bool],
        named: Callable[[str, str], str],
    ) -> None:
        """`pods` gives the pods of a namespace by name, `named` the id of a namespace's account."""
        self._pods = pods
        self._meshed = meshed
        self._named = named

    def pod(self, backend: Backend) -> PodSpec:
        """Find what is known of the pod behind an address. A later one of its name is another."""
        if backend.pod_namespace:
            pod = self._pods(backend.pod_namespace).get(backend.target)
            if pod is not None and backend.pod_uid in ("", pod.uid):
                assert isinstance(pod.spec, PodSpec)
                return pod.spec
        return _UNKNOWN

    def identity(self, pod: PodSpec, namespace: str) -> str:
        """Say which SPIFFE ID a pod has; empty if it is not in the mesh."""
        if pod.meshed is False or (pod.meshed is None and not self._meshed(namespace)):
            return ""
        return shared(self._named(namespace, pod.account))


_Serving = dict[tuple[bytes, int], Backend]


def built(service: Object, said: Iterable[BackendsSpec], around: Surroundings) -> Service:
    """Make the service as these objects have it now."""
    spec = service.spec
    assert isinstance(spec, ServiceSpec)
    streams: dict[str, _Serving] = {port.name: {} for port in spec.ports if port.protocol != UDP}
    datagrams: dict[str, _Serving] = {port.name: {} for port in spec.ports if port.protocol == UDP}
    # Nobody dials an ExternalName; who dials the other name finds the endpoints there.
    for one in said if not spec.external else ():
        for group in one.groups:
            for serving, ports in ((streams, group.ports), (datagrams, group.datagrams)):
                for name, number in ports:
                    if name in serving:
                        _unite(serving[name], group.backends, number, published=spec.publish_not_ready)

    def of(serving: Mapping[str, _Serving]) -> tuple[ServicePort, ...]:
        return tuple(
            ServicePort(port.name, port.port, _endpoints(serving[port.name], spec, around), port.protocol)
            for port in spec.ports
            if port.name in serving
        )

    return Service(
        name=service.name,
        namespace=service.namespace,
        vips=spec.vips,
        ports=of(streams),
        headless=spec.headless,
        external=spec.external,
        labels=spec.labels,
        wishes=spec.wishes,
        unheeded=spec.unheeded,
        datagrams=of(datagrams),
    )


def _unite(serving: _Serving, backends: Iterable[Backend], number: int, *, published: bool) -> None:
    for backend in backends:
        if published and backend.condition in _PUBLISHED:
            backend = msgspec.structs.replace(backend, condition=_PUBLISHED[backend.condition])
        at = (backend.ip, number)
        before = serving.get(at)
        if before is None or _RANKS[backend.condition] < _RANKS[before.condition]:
            serving[at] = backend


def _endpoints(serving: _Serving, spec: ServiceSpec, around: Surroundings) -> tuple[Endpoint, ...]:
    endpoints: list[Endpoint] = []
    ids: set[str] = set()
    for at in sorted(serving):
        backend = serving[at]
        address = Address(*at)
        id_ = backend.target or str(address)
        # A pod of two families has two addresses. That of IPv6 has the longer id even while it is alone, so
        # that no id changes hands.
        if id_ in ids or (backend.target and spec.dual_stack and not address.is_v4):
            id_ = f"{backend.target}@{address}"
        ids.add(id_)
        pod = around.pod(backend)
        identity = around.identity(pod, backend.pod_namespace)
        health, draining = _MEANING[backend.condition]
        endpoints.append(
            Endpoint(
                id=id_,
                address=address,
                weight=pod.weight,
                zone=backend.zone or pod.zone,
                health=health,
                draining=draining,
                node=backend.node,
                version=pod.version,
                labels=pod.labels,
                meshed=identity != "",
                identity=identity,
                for_zones=backend.for_zones,
            )
        )
    return tuple(endpoints)
