"""Core. What we use of Kubernetes objects, as values. Does not know how it is written in JSON.

What many objects have in common is kept once: labels, zones, nodes, and all that the pods of one Deployment
share.
"""

import enum
import functools
from typing import TypeVar

import msgspec

from meshtrio.catalog.service import Labels
from meshtrio.config.wishes import NO_WISHES, Wishes

LABELS = 32
LABELS_BYTES = 1024
"""How many labels of an object are kept, and how long they may be together. Full: the rest is left out, from
the end of the alphabet."""

SHARED = 4096
"""How many values are remembered to be shared. Full: the one that was longest of no use is forgotten, and
what equals it is kept a second time."""

_T = TypeVar("_T")


class Condition(enum.Enum):
    """What an object says of an endpoint's state."""

    READY = "ready"
    DRAINING = "draining"
    """Terminating, and still serving."""
    NOT_READY = "not ready"
    LEAVING = "leaving"
    """Terminating, and serving no more."""


class PortSpec(msgspec.Struct, frozen=True, gc=False):
    """A port that callers dial."""

    name: str
    port: int
    protocol: str
    """As a ServicePort has it: udp, or what is spoken by TCP."""


class ServiceSpec(msgspec.Struct, frozen=True, gc=False):
    """What a Service says."""

    vips: tuple[bytes, ...]
    ports: tuple[PortSpec, ...]
    headless: bool
    external: str
    dual_stack: bool
    publish_not_ready: bool
    labels: Labels
    wishes: Wishes = NO_WISHES
    unheeded: tuple[str, ...] = ()


class Backend(msgspec.Struct, frozen=True, gc=False):
    """One address that serves. Of several addresses of one endpoint the first counts, as for kube-proxy."""

    ip: bytes
    condition: Condition
    zone: str = ""
    node: str = ""
    target: str = ""
    """The name of what is behind the address, mostly a pod; empty: not said."""
    pod_namespace: str = ""
    """Where the pod is; empty: what is behind it is no pod."""
    pod_uid: str = ""
    for_zones: tuple[str, ...] = ()


class Group(msgspec.Struct, frozen=True, gc=False):
    """Addresses that all serve the same ports: names and numbers, of TCP and of UDP."""

    ports: tuple[tuple[str, int], ...]
    backends: tuple[Backend, ...]
    datagrams: tuple[tuple[str, int], ...] = ()


class BackendsSpec(msgspec.Struct, frozen=True, gc=False):
    """What a slice or an Endpoints object says: which service of its namespace it is for, and what serves."""

    service: str
    """Empty: no service's."""
    groups: tuple[Group, ...]


class PodSpec(msgspec.Struct, frozen=True, gc=False):
    """What a pod says. Pods of one Deployment mostly share this."""

    labels: Labels
    account: str
    """Its service account."""
    meshed: bool | None
    """None: as its namespace says."""
    weight: int
    version: str
    zone: str


class NamespaceSpec(msgspec.Struct, frozen=True, gc=False):
    """What a namespace says."""

    meshed: bool


Spec = ServiceSpec | BackendsSpec | PodSpec | NamespaceSpec


@functools.lru_cache(SHARED)
def _shared(value: object) -> object:
    return value


def shared(value: _T) -> _T:
    """Give the value, or an equal one that somebody holds already."""
    return _shared(value)  # type: ignore[return-value]


def bounded_labels(given: dict[str, str]) -> Labels:
    """Order labels by name, and leave out what is too much."""
    kept: list[tuple[str, str]] = []
    room = LABELS_BYTES
    for label in sorted(given.items()):
        size = len(label[0].encode()) + len(label[1].encode())
        if size <= room and len(kept) < LABELS:
            kept.append(shared(label))
            room -= size
    return shared(tuple(kept))
