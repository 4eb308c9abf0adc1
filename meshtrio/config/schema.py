"""Core. What the configuration can say: every setting, its type, its default. Does not know how it is
written.

Imported by the agent and by workers, so it stays light: no YAML here.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from meshtrio.config.discovery import Discovery, Dns, HealthCheck
from meshtrio.config.identity import Identity, Mtls, Policy
from meshtrio.config.kinds import Acceleration, Cidr, Count, Ip, Label, OptionalPath, Path, Port, RungMax
from meshtrio.config.traffic import Traffic, Zone


class Paths(Struct, frozen=True, forbid_unknown_fields=True):
    """Where things are kept."""

    control: Path = "/run/meshtrio/control.sock"
    """The control socket, mode 0600."""
    pins: Path = "/sys/fs/bpf/meshtrio"
    """Where kernel objects are pinned, so that they survive the agent. On a bpffs."""
    cache: Path = "/var/cache/meshtrio"
    """Compiled programs."""


class Ports(Struct, frozen=True, forbid_unknown_fields=True):
    """The ports we listen on."""

    inbound: Port = 15001
    outbound: Port = 15002
    admin: Port = 15003
    dns: Port = 15053


class Admin(Struct, frozen=True, forbid_unknown_fields=True):
    """The admin port's other half."""

    bind: Ip = "127.0.0.1"


class Catalog(Struct, frozen=True, forbid_unknown_fields=True):
    """Where services become known."""

    file: OptionalPath = ""


class Exclude(Struct, frozen=True, forbid_unknown_fields=True):
    """What is never caught. The doors and the admin port are excluded besides, whatever stands here."""

    outbound_ports: tuple[Port, ...] = ()
    inbound_ports: tuple[Port, ...] = (22,)
    """22, so that nobody locks himself out of a machine by meshing it."""
    outbound_cidrs: tuple[Cidr, ...] = ()


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """How much is carried at once. What comes beyond is refused at once, with Outcome.LIMIT."""

    connections: Count = 10_000
    """Of one worker."""
    per_workload: Count = 10_000
    """Of one workload in one worker."""
    pending: Count = 4096
    """Accepted in one worker, and not connected to an endpoint yet."""


class Timeouts(Struct, frozen=True, forbid_unknown_fields=True):
    """How long is waited for what."""

    connect_s: Annotated[float, Meta(ge=0.01, le=300, description="seconds, 0.01 to 300")] = 5.0
    """For a connection to any endpoint, all tries together."""
    connect_try_s: Annotated[float, Meta(ge=0.01, le=300, description="seconds, 0.01 to 300")] = 2.0
    """For one endpoint, before the next one is tried. Longer than connect_s is as long as connect_s."""
    idle_s: Annotated[float, Meta(ge=0, le=604_800, description="seconds, 0 (never) to 604800")] = 3600.0
    """Without a byte in either direction."""
    drain_s: Annotated[float, Meta(ge=0, le=600, description="seconds, 0 to 600")] = 30.0
    """For connections to end by themselves when we stop."""


class Keepalive(Struct, frozen=True, forbid_unknown_fields=True):
    """TCP keep-alive on both sides of a connection, as TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT."""

    after_s: Annotated[int, Meta(ge=0, le=32_767, description="whole seconds, 0 (never) to 32767")] = 60
    every_s: Annotated[int, Meta(ge=1, le=32_767, description="whole seconds, 1 to 32767")] = 15
    probes: Annotated[int, Meta(ge=1, le=127, description="a count, 1 to 127")] = 4


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """What is logged, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class Workload(Struct, frozen=True, forbid_unknown_fields=True):
    """A workload that is there as long as the agent: a cgroup, a network namespace, or both."""

    name: Label
    cgroup: Annotated[str, Meta(pattern=r"^(/[^\x00]*)?\Z", description="an absolute path of a cgroup")] = ""
    netns: Annotated[str, Meta(pattern=r"^(/[^\x00]*)?\Z", description="an absolute path of a namespace")] = (
        ""
    )
    namespace: Label = "default"
    service_account: Label = "default"
    """Who it is: its SPIFFE ID is made of both. Short names of services mean its namespace."""
    ports: tuple[Port, ...] = ()
    """The ports to catch inbound. None: those it listens on."""
    on_agent_loss: Annotated[Literal["open", "closed", ""], Meta(description="open, closed, or nothing")] = ""
    """Empty: as for all."""
    acceleration: Acceleration = "auto"
    """auto: what rung_max allows. off: a relay that copies. r4: sk_msg at its own sockets. r5: past us."""


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration. Every setting has a default, so an empty file is a good one."""

    node: Annotated[
        str,
        Meta(
            pattern=r"^([A-Za-z0-9]([-._A-Za-z0-9]{0,251}[A-Za-z0-9])?)?\Z",
            description="a host name of 253 letters, digits, dots and dashes at most, or empty",
        ),
    ] = ""
    """How this node is called. Empty: its host name."""
    zone: Zone = ""
    """Where this node stands, so that endpoints there come first. Empty: all are equally near."""
    workers: Annotated[
        Annotated[int, Meta(ge=0, le=256)] | Literal["auto"],
        Meta(description="auto (one a core), or a count, 0 (inside the agent) to 256"),
    ] = "auto"
    rung: Literal["auto", "ebpf", "nft"] = "auto"
    """How connections are caught. auto: by eBPF, and by nf_tables where eBPF is refused."""
    rung_max: RungMax = "r5"
    """How far connections may be accelerated. r1: a relay copies. r1d: also direct services. r2: also splice.
    r3 to r5: also sk_msg, where the kernel stands its trial, and this version has it.
    """
    passthrough: Literal["allow", "deny"] = "allow"
    """What becomes of a destination that is no service."""
    on_agent_loss: Literal["open", "closed"] = "open"
    """What new connections meet when the agent is gone: the network as it is, or a refusal."""
    source_address: Literal["auto", "fixed"] = "auto"
    """What a called program sees: the caller's address where that is possible, or always a fixed one."""
    paths: Paths = Paths()
    ports: Ports = Ports()
    admin: Admin = Admin()
    catalog: Catalog = Catalog()
    discovery: Discovery = Discovery()
    dns: Dns = Dns()
    health_checks: tuple[HealthCheck, ...] = ()
    exclude: Exclude = Exclude()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    keepalive: Keepalive = Keepalive()
    log: Log = Log()
    identity: Identity = Identity()
    mtls: Mtls = Mtls()
    policy: Policy = Policy()
    traffic: Traffic = Traffic()
    workloads: tuple[Workload, ...] = ()

    @property
    def inbound_exclusions(self) -> frozenset[int]:
        """The ports that are never caught inbound: those excluded, our doors, and the admin port."""
        ours = (self.ports.inbound, self.ports.outbound, self.ports.admin, self.ports.dns)
        return frozenset((*self.exclude.inbound_ports, *ours))
