"""Core. What the configuration can say about where services become known, and how we look after them.

A part of schema.py, which says the rest. Empty sections are off.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from meshtrio.config.kinds import Ip, Label, OptionalPath, ServiceName
from meshtrio.config.shape import Means

_Seconds = Annotated[float, Meta(ge=0.1, le=86_400, description="seconds, 0.1 to 86400")]
_Threshold = Annotated[int, Meta(ge=1, le=100, description="a count, 1 to 100")]
_HostName = Annotated[
    str,
    Meta(
        pattern=r"^([A-Za-z0-9_]([-._A-Za-z0-9]{0,251}[A-Za-z0-9])?\.?)?\Z",
        description="a host name, as in db.example.com",
    ),
]


def _server_url(text: str) -> None:
    scheme, colon, rest = text.partition("://")
    if text and (scheme not in ("http", "https") or not colon or not rest or "@" in rest or "/" in rest):
        raise ValueError


class Kubernetes(Struct, frozen=True, forbid_unknown_fields=True):
    """Services of a cluster. In a pod by its service account, elsewhere by a kubeconfig."""

    enabled: bool = False
    kubeconfig: OptionalPath = ""
    """Empty: the pod's service account, or else KUBECONFIG or ~/.kube/config."""
    context: str = ""
    """The kubeconfig's context; empty: its current one."""
    namespaces: tuple[Label, ...] = ()
    """Only these are watched. Empty: all."""
    pods: bool = True
    """Watch pods too, for labels, service accounts and whether they are in the mesh."""
    resync_s: _Seconds = 300.0
    """How often everything is listed anew, whatever the watches said."""


class Consul(Struct, frozen=True, forbid_unknown_fields=True):
    """Services of a Consul datacenter, from the agent at `address`."""

    address: Annotated[
        str, Meta(description="http://host:port or https://host:port, or empty for none"), Means(_server_url)
    ] = ""
    token_file: OptionalPath = ""
    """Read again whenever Consul refuses us, so that it can be changed while we run."""
    ca_file: OptionalPath = ""
    cert_file: OptionalPath = ""
    key_file: OptionalPath = ""
    datacenter: str = ""
    """Empty: the agent's own."""
    fallback_datacenters: tuple[str, ...] = ()
    """Asked for a service that has no healthy instance in the first one, in this order."""
    stale_reads: bool = True
    """Any Consul server may answer, not only the leader."""
    wait_s: Annotated[float, Meta(ge=1, le=600, description="seconds, 1 to 600")] = 30.0
    """How long a blocking query may block."""
    queries: Annotated[int, Meta(ge=4, le=1000, description="a count, 4 to 1000")] = 128
    """How many may block at once. More services than that take turns. Consul's own limit is 200 a client."""
    register: bool = False
    """Register the workloads of this node that listen on ports, as services of their names."""


class DnsService(Struct, frozen=True, forbid_unknown_fields=True):
    """One service whose endpoints are what DNS says."""

    name: Label
    host: _HostName
    """SRV records are asked for if it begins with an underscore, as in _http._tcp.example.com; else A and
    AAAA."""
    namespace: Label = "default"
    port: Annotated[int, Meta(ge=0, le=65535, description="a port, 0 to 65535")] = 0
    """What callers dial, and the port of the endpoints unless SRV says another. 0: as SRV says."""
    port_name: Annotated[str, Meta(pattern=r"^[-a-z0-9]{0,63}\Z", description="a short name, as in http")] = (
        ""
    )
    protocol: Literal["", "tcp", "udp"] = ""
    """Empty: udp if the host says so, as in _dns._udp.example.com; else tcp."""

    @property
    def udp(self) -> bool:
        """Say whether its port is one of UDP."""
        labels = self.host.lower().split(".")
        return self.protocol == "udp" or (
            not self.protocol and labels[0][:1] == "_" and "_udp" in labels[1:2]
        )


class Registration(Struct, frozen=True, forbid_unknown_fields=True):
    """Endpoints that register themselves: PUT and DELETE /v1/services/{name}/endpoints/{id}."""

    state: OptionalPath = "/var/lib/meshtrio/state.db"
    """What survives a restart: registrations and allocated virtual IPs. Empty: nothing does."""
    token_file: OptionalPath = ""
    """If set, who brings this token may also register at the admin port. Else only at the control socket."""
    endpoints: Annotated[int, Meta(ge=1, le=100_000, description="a count, 1 to 100000")] = 10_000
    """How many are held. More are refused with 429."""


class Dns(Struct, frozen=True, forbid_unknown_fields=True):
    """DNS capture: names of services are answered by us, all others by the resolver that was asked."""

    capture: bool = True
    cluster_domain: _HostName = "cluster.local"
    ttl_s: Annotated[int, Meta(ge=0, le=3600, description="whole seconds, 0 to 3600")] = 30
    negative_ttl_s: Annotated[int, Meta(ge=0, le=3600, description="whole seconds, 0 to 3600")] = 5
    servers: tuple[Ip, ...] = ()
    """Resolvers to ask instead of the one that the process meant, and where that is not known."""


class HealthCheck(Struct, frozen=True, forbid_unknown_fields=True):
    """How the endpoints of one service are probed."""

    service: ServiceName
    type: Literal["http", "tcp", "grpc"] = "tcp"
    port: str = ""
    """The name of the service's port. Empty: every port."""
    path: Annotated[str, Meta(pattern=r"^/[!-~]*\Z", description="a path, as in /health")] = "/health"
    host: str = ""
    """The Host header; empty: the name of the service."""
    headers: dict[str, str] = {}
    status: tuple[Annotated[int, Meta(ge=100, le=599, description="a status, 100 to 599")], ...] = ()
    """What counts as healthy. None: 200 to 399."""
    grpc_service: str = ""
    interval_s: _Seconds = 10.0
    timeout_s: _Seconds = 2.0
    rise: _Threshold = 2
    fall: _Threshold = 3


class Discovery(Struct, frozen=True, forbid_unknown_fields=True):
    """Where services become known, besides the catalog file."""

    kubernetes: Kubernetes = Kubernetes()
    consul: Consul = Consul()
    dns: tuple[DnsService, ...] = ()
    registration: Registration = Registration()
