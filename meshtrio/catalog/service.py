"""Core. What a service is: a name, ports, and endpoints behind each. Does not know where it comes from."""

import enum
from collections.abc import Iterable

import msgspec

from meshtrio.address import Address
from meshtrio.config.wishes import NO_WISHES, Wishes


class Health(enum.Enum):
    """What is known about an endpoint."""

    HEALTHY = "healthy"
    WARNING = "warning"
    """In rotation, and the registry says that something is not as it should be."""
    UNKNOWN = "unknown"
    """In rotation, because nobody says anything against it."""
    UNHEALTHY = "unhealthy"


UDP = "udp"
"""What a port of UDP is declared to speak."""

Labels = tuple[tuple[str, str], ...]
"""Names and values, ordered by name. Whoever makes many shares equal ones."""


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """One ip:port that serves one port of a service. `id` is unique among the endpoints of that port."""

    id: str
    address: Address
    weight: int = 1
    zone: str = ""
    health: Health = Health.HEALTHY
    draining: bool = False
    node: str = ""
    version: str = ""
    labels: Labels = ()
    meshed: bool = False
    """Whether a meshtrio of its own catches what comes in there."""
    identity: str = ""
    """The SPIFFE ID that its certificate must have; empty: not known."""
    source: str = ""
    """Who says so: one of `merge.SOURCES`."""
    for_zones: tuple[str, ...] = ()
    """The zones whose callers should prefer it (Kubernetes's topology hints); none: no hint."""
    since: float = 0.0
    """Since when it is known as it is now, wall time; set when it enters the catalog."""

    @property
    def ready(self) -> bool:
        """Say whether new connections should go here while there is a choice."""
        return self.health is not Health.UNHEALTHY and not self.draining


class ServicePort(msgspec.Struct, frozen=True, gc=False):
    """A port that callers dial at the virtual IPs, and the endpoints that serve it.

    The endpoints stand here and not beside the ports, so that the connection path never has to filter them.
    """

    name: str
    port: int
    endpoints: tuple[Endpoint, ...] = ()
    protocol: str = ""
    """What it is declared to speak, as in Kubernetes's appProtocol: http, http2, grpc, tcp, tls; or empty.
    A port of UDP says udp."""


class Service(msgspec.Struct, frozen=True, gc=False):
    """A name with ports, endpoints, and maybe virtual IPs (16 bytes each, IPv4 mapped, as in an Address)."""

    name: str
    namespace: str = "default"
    vips: tuple[bytes, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    headless: bool = False
    """Callers dial the endpoints themselves: no virtual IP is wanted, and its name means its endpoints."""
    external: str = ""
    """Another name that this one stands for (Kubernetes's ExternalName); empty: none."""
    labels: Labels = ()
    source: str = ""
    """Who says so: one of `merge.SOURCES`."""
    wishes: Wishes = NO_WISHES
    """What it wishes for its own traffic. Rules of the configuration are stronger."""
    unheeded: tuple[str, ...] = ()
    """What in its wishes is wrong, in words, and so is not heeded."""
    datagrams: tuple[ServicePort, ...] = ()
    """Its UDP ports. They stand apart, for their numbers are others than those of TCP, and whoever carries
    connections must not meet them."""

    @property
    def key(self) -> str:
        """What this service is found by in a catalog: "namespace/name"."""
        return f"{self.namespace}/{self.name}"

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All endpoints of all ports, in the order of the ports; those of UDP come last."""
        return tuple(endpoint for port in self.every_port for endpoint in port.endpoints)

    @property
    def every_port(self) -> tuple[ServicePort, ...]:
        """All ports, those of UDP last."""
        return self.ports + self.datagrams

    def port_named(self, name: str) -> ServicePort:
        """Find a port by its name. KeyError if there is none."""
        for port in self.ports:
            if port.name == name:
                return port
        raise KeyError(name)


def service_with(name: str, namespace: str, every_port: Iterable[ServicePort]) -> Service:
    """Make a service of its ports, and put those of UDP apart."""
    ports = tuple(every_port)
    return Service(
        name,
        namespace,
        ports=tuple(port for port in ports if port.protocol != UDP),
        datagrams=tuple(port for port in ports if port.protocol == UDP),
    )


class Found(msgspec.Struct, frozen=True, gc=False):
    """What a dialled address belongs to.

    With an endpoint the caller dialled that very one (a headless service, or an address learnt elsewhere),
    and no other may be chosen for it. Without, the caller dialled a virtual IP, and any endpoint of the port
    serves.
    """

    service: Service
    port: ServicePort
    endpoint: Endpoint | None = None
