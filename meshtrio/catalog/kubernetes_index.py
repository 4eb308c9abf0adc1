"""Core. Which slices are for a service, and which services name a pod: so news cost what they concern. Does
not know about versions, or what is late.
"""

from collections.abc import Mapping

import msgspec

from meshtrio.catalog.kubernetes_objects import Kind, Object
from meshtrio.catalog.kubernetes_spec import Backend, BackendsSpec, Group, shared

_Pods = frozenset[tuple[str, str]]

_SHARED_REFERENCES = 4
"""More references to one pod than these are rare, and not worth remembering to be shared."""
_NO_PODS: _Pods = frozenset()


class Index:
    """What is bounded by the objects that were put in and not taken out again."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._slices: dict[str, dict[str, BackendsSpec]] = {}
        """By the key of the service, by the name of the slice."""
        self._naming: dict[str, dict[str, tuple[str, ...]]] = {}
        """By namespace, by pod: the key of a service, once for each object of it that names the pod."""

    def put(self, before: Object | None, after: Object | None) -> set[str]:
        """Put in a slice or an Endpoints object in place of what it was. Returns the services that it was and
        is for."""
        old, new = _key(before), _key(after)
        pods_before, pods_after = _pods(before), _pods(after)
        stay = pods_before & pods_after if old == new else _NO_PODS
        for pod in pods_before - stay:
            self._unname(pod, old)
        for pod in pods_after - stay:
            self._name(pod, new)
        if before is not None and old and before.kind is Kind.SLICE:
            del self._slices[old][before.name]
            if not self._slices[old]:
                del self._slices[old]
        if after is not None and new and after.kind is Kind.SLICE:
            assert isinstance(after.spec, BackendsSpec)
            self._slices.setdefault(new, {})[after.name] = after.spec
        return {old, new} - {""}

    def slices(self, key: str) -> list[BackendsSpec]:
        """Give the slices for a service, ordered by name."""
        held = self._slices.get(key, {})
        return [held[name] for name in sorted(held)]

    def naming(self, namespace: str, pod: str) -> set[str]:
        """Give the services that name a pod."""
        return set(self._naming.get(namespace, {}).get(pod, ()))

    def naming_any(self, namespace: str) -> set[str]:
        """Give the services that name any pod of a namespace. Takes time by the number of those pods."""
        return {key for keys in self._naming.get(namespace, {}).values() for key in keys}

    def _name(self, pod: tuple[str, str], key: str) -> None:
        of_namespace = self._naming.setdefault(pod[0], {})
        of_namespace[pod[1]] = _thrifty((*of_namespace.get(pod[1], ()), key))

    def _unname(self, pod: tuple[str, str], key: str) -> None:
        of_namespace = self._naming[pod[0]]
        keys = list(of_namespace[pod[1]])
        keys.remove(key)
        if keys:
            of_namespace[pod[1]] = _thrifty(tuple(keys))
            return
        del of_namespace[pod[1]]
        if not of_namespace:
            del self._naming[pod[0]]


def thrifty(before: Object | None, news: Object, pods: Mapping[str, Object]) -> Object:
    """Make the same object of what is held already, as far as it is equal: of itself before, and of `pods`,
    those of its own namespace by name.

    Without this, nothing would be shared any more once every object has changed once.
    """
    spec = news.spec
    if isinstance(spec, BackendsSpec):
        spec = _thrifty_backends(before.spec if before is not None else None, spec, pods)
    if before is None:
        return news if spec is news.spec else msgspec.structs.replace(news, spec=spec)
    uid = before.uid if before.uid == news.uid else news.uid
    spec = before.spec if spec == before.spec else spec
    return Object(news.kind, before.namespace, before.name, uid, news.version, spec)


def _thrifty_backends(before: object, spec: BackendsSpec, pods: Mapping[str, Object]) -> BackendsSpec:
    groups_before = before.groups if isinstance(before, BackendsSpec) else ()
    known = {one.ip: one for group in groups_before for one in group.backends}

    def of(backend: Backend) -> Backend:
        before = known.get(backend.ip)
        if before is not None and before == backend:
            return before
        pod = pods.get(backend.target)
        if pod is None or pod.uid != backend.pod_uid or pod.namespace != backend.pod_namespace:
            return backend
        return msgspec.structs.replace(backend, target=pod.name, pod_uid=pod.uid)

    groups = tuple(
        Group(group.ports, tuple(map(of, group.backends)), group.datagrams) for group in spec.groups
    )
    return BackendsSpec(spec.service, groups)


def _thrifty(keys: tuple[str, ...]) -> tuple[str, ...]:
    return shared(keys) if len(keys) <= _SHARED_REFERENCES else keys


def _key(held: Object | None) -> str:
    """Say which service is served; empty: none."""
    if held is None or not isinstance(held.spec, BackendsSpec) or not held.spec.service:
        return ""
    return f"{held.namespace}/{held.spec.service}"


def _pods(held: Object | None) -> _Pods:
    if held is None or not isinstance(held.spec, BackendsSpec) or not held.spec.service:
        return _NO_PODS
    groups = held.spec.groups
    return frozenset(
        (b.pod_namespace, b.target) for group in groups for b in group.backends if b.pod_namespace
    )
