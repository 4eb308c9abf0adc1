"""Core. How Kubernetes writes its objects in JSON, as far as we read them, and what its texts may be. What is
not named here is skipped as it is read, and never kept. Does not know what it means.

Go writes null where there is nothing, so nearly everything may be null.
"""

import re
from typing import Annotated

from msgspec import Meta, Struct, field

from meshtrio.address import V4_PREFIX, Address

KEPT_CHARS = 253
"""No uid, version, zone or name is longer in Kubernetes."""

NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
HOST = re.compile(r"[A-Za-z0-9_]([-._A-Za-z0-9]{0,251}[A-Za-z0-9])?\.?")

PortNumber = Annotated[int, Meta(ge=1, le=65535)]


def name_of(text: str, path: str) -> str:
    """Give the text if it is a name. ValueError says where it is none."""
    if not NAME.fullmatch(text):
        raise ValueError(f"{path} is {text[:KEPT_CHARS]!r} (want a name)")
    return text


def bounded(text: str | None, path: str) -> str:
    """Give the text, empty for null, if it is not too long. ValueError says where it is."""
    if text and len(text) > KEPT_CHARS:
        raise ValueError(f"{path} has {len(text)} characters (want at most {KEPT_CHARS})")
    return text or ""


def ip_of(text: str, path: str) -> bytes:
    """Give the sixteen bytes of an address. ValueError says where there is none."""
    parts = text[:KEPT_CHARS].split(".")
    try:
        if len(parts) == 4 and text.isascii() and all(map(str.isdigit, parts)):
            # Once, 010 was read as ten and stored so; Kubernetes still reads it as ten. ipaddress refuses it.
            return V4_PREFIX + bytes(map(int, parts))
        return Address.of(text, 0).ip
    except ValueError:
        raise ValueError(f"{path} is {text[:KEPT_CHARS]!r} (want an address)") from None


class FewLabels(Struct, frozen=True, gc=False):
    mesh: str | None = field(default=None, name="meshtrio.io/mesh")
    service: str | None = field(default=None, name="kubernetes.io/service-name")


class Annotations(Struct, frozen=True, gc=False):
    weight: str | None = field(default=None, name="meshtrio.io/weight")
    balancing: str | None = field(default=None, name="meshtrio.io/balancing")
    hash_key: str | None = field(default=None, name="meshtrio.io/hash-key")
    slow_start: str | None = field(default=None, name="meshtrio.io/slow-start")
    direct: str | None = field(default=None, name="meshtrio.io/direct")
    breaker: str | None = field(default=None, name="meshtrio.io/breaker")
    retries: str | None = field(default=None, name="meshtrio.io/retries")
    hedge_after: str | None = field(default=None, name="meshtrio.io/hedge-after")


class Named(Struct, frozen=True, gc=False, rename="camel"):
    name: str
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None


class Metadata(Named, frozen=True, gc=False):
    labels: dict[str, str] | None = None
    annotations: Annotations | None = None


class FewMetadata(Named, frozen=True, gc=False):
    labels: FewLabels | None = None


class Port(Struct, frozen=True, gc=False, rename="camel"):
    port: PortNumber | None = None
    name: str | None = None
    protocol: str | None = None
    app_protocol: str | None = None


class ServiceBody(Struct, frozen=True, gc=False, rename="camel"):
    type: str | None = None
    cluster_ip: str | None = field(default=None, name="clusterIP")
    cluster_ips: list[str] | None = field(default=None, name="clusterIPs")
    ip_families: list[str] | None = None
    external_name: str | None = None
    ports: list[Port] | None = None
    publish_not_ready_addresses: bool | None = None


class Service(Struct, frozen=True, gc=False):
    metadata: Metadata
    spec: ServiceBody | None = None


class PodBody(Struct, frozen=True, gc=False, rename="camel"):
    service_account_name: str | None = None


class Pod(Struct, frozen=True, gc=False):
    metadata: Metadata
    spec: PodBody | None = None


class Namespace(Struct, frozen=True, gc=False):
    metadata: FewMetadata


class Conditions(Struct, frozen=True, gc=False):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Topology(Struct, frozen=True, gc=False):
    """Where v1beta1 says the zone and the node."""

    zone: str | None = field(default=None, name="topology.kubernetes.io/zone")
    node: str | None = field(default=None, name="kubernetes.io/hostname")


class Target(Struct, frozen=True, gc=False):
    kind: str | None = None
    name: str | None = None
    namespace: str | None = None
    uid: str | None = None


class ForZone(Struct, frozen=True, gc=False):
    name: str


class Hints(Struct, frozen=True, gc=False, rename="camel"):
    for_zones: list[ForZone] | None = None


class SliceEndpoint(Struct, frozen=True, gc=False, rename="camel"):
    addresses: list[str] | None = None
    conditions: Conditions | None = None
    node_name: str | None = None
    zone: str | None = None
    topology: Topology | None = None
    hints: Hints | None = None
    target_ref: Target | None = None


class Slice(Struct, frozen=True, gc=False, rename="camel"):
    metadata: FewMetadata
    address_type: str | None = None
    endpoints: list[SliceEndpoint] | None = None
    ports: list[Port] | None = None


class SubsetAddress(Struct, frozen=True, gc=False, rename="camel"):
    ip: str
    node_name: str | None = None
    target_ref: Target | None = None


class Subset(Struct, frozen=True, gc=False, rename="camel"):
    addresses: list[SubsetAddress] | None = None
    not_ready_addresses: list[SubsetAddress] | None = None
    ports: list[Port] | None = None


class Endpoints(Struct, frozen=True, gc=False):
    metadata: FewMetadata
    subsets: list[Subset] | None = None


class NameOnly(Struct, frozen=True, gc=False):
    metadata: Named
