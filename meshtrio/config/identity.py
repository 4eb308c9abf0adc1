"""Core. What the configuration can say about identities, mutual TLS and who may call whom.

A part of schema.py, which says the rest.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from meshtrio.config.kinds import Label, OptionalPath, Port
from meshtrio.config.shape import Means
from meshtrio.identity.spiffe import parse, parse_template, parse_trust_domain

Mode = Literal["strict", "permissive", "disable"]


def _bundle_url(text: str) -> None:
    if text and not (text.startswith(("https://", "/")) and len(text) > len("https://")):
        raise ValueError


def _ca_url(text: str) -> None:
    host = text.removeprefix("https://")
    if text and (host == text or not host or "@" in host or "/" in host):
        raise ValueError


TrustDomain = Annotated[
    str, Meta(description="a trust domain, as in cluster.local"), Means(parse_trust_domain)
]
SpiffePattern = Annotated[
    str,
    Meta(description="a SPIFFE ID, as in spiffe://cluster.local/ns/shop/sa/cart, or one that ends with /*"),
    Means(lambda text: parse(text.removesuffix("/*"))),
]
_Life = Annotated[float, Meta(ge=10, le=31_536_000, description="seconds, 10 to 31536000")]


class Federated(Struct, frozen=True, forbid_unknown_fields=True):
    """Another trust domain whose identities are accepted."""

    trust_domain: TrustDomain
    bundle: Annotated[
        str, Meta(description="https://... or an absolute path of a bundle"), Means(_bundle_url)
    ]
    """Where its roots stand, in SPIFFE's JSON: a file that is watched, or an address that is asked again."""
    ca_file: OptionalPath = ""
    """Whom to trust for an https address; empty: the machine's own certificates."""


class RemoteCa(Struct, frozen=True, forbid_unknown_fields=True):
    """A `meshtrio ca` elsewhere."""

    address: Annotated[str, Meta(description="https://host:port, or empty"), Means(_ca_url)] = ""
    ca_file: OptionalPath = ""
    """The root by which the CA itself is known. A must."""
    token_file: OptionalPath = ""
    """A join token, or a Kubernetes service account's token for the audience meshtrio. Read each time."""


class Identity(Struct, frozen=True, forbid_unknown_fields=True):
    """Who workloads are, and who says so."""

    source: Literal["embedded", "remote", "spire", "off"] = "embedded"
    """embedded: a CA in this agent. off: workloads have no identity, and nothing is encrypted by us."""
    trust_domain: TrustDomain = "cluster.local"
    template: Annotated[
        str,
        Meta(description="a template, as in spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"),
        Means(parse_template),
    ] = "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"
    directory: OptionalPath = "/var/lib/meshtrio/identity"
    """Where the embedded CA keeps its root, mode 0600. Empty: in memory, so that each start has another."""
    root_certificate: OptionalPath = ""
    root_key: OptionalPath = ""
    """A root that is given, as PEM. Empty: one is made at the first start."""
    life_s: _Life = 86_400.0
    """Of a workload's certificate."""
    skew_s: Annotated[float, Meta(ge=0, le=3600, description="seconds, 0 to 3600")] = 300.0
    """By how much other machines' clocks may differ."""
    drain_s: Annotated[float, Meta(ge=0, le=86_400, description="seconds, 0 (never) to 86400")] = 300.0
    """How long connections live on whose other side was revoked. Renewal and expiry end no connection."""
    cache: Literal["memory", "disk"] = "memory"
    """disk: certificates and keys also in `directory`, mode 0600, for agents that start without their CA."""
    revocations: OptionalPath = ""
    """A file of revoked ids and serials, read again when it changes."""
    exec_identities: tuple[SpiffePattern, ...] = ()
    """What `meshtrio exec --identity` and `meshtrio workloads add` may ask the agent for. Namespace default
    with service account default can always be had, and what stands in `workloads` besides."""
    federated: tuple[Federated, ...] = ()
    remote: RemoteCa = RemoteCa()
    spire_socket: OptionalPath = "/run/spire/sockets/agent.sock"
    audit: OptionalPath = ""
    """Where handshake failures, denials, rotations and revocations are written, one JSON a line. Empty: to
    the log."""


class ModeRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Another mode for some. What is empty fits everything; the first rule that fits decides."""

    mode: Mode
    namespace: Annotated[str, Meta(pattern=r"^[-a-z0-9]{0,63}\Z", description="a namespace, or empty")] = ""
    workload: Annotated[str, Meta(pattern=r"^[-a-z0-9]{0,63}\Z", description="a workload, or empty")] = ""
    port: Annotated[int, Meta(ge=0, le=65535, description="a port, or 0 for all")] = 0
    any_alpn: bool = False
    """With strict: any client that has a certificate is served, such as curl, and not meshes alone."""


class Mtls(Struct, frozen=True, forbid_unknown_fields=True):
    """Mutual TLS between workloads."""

    mode: Mode = "permissive"
    """strict: callers must prove who they are. permissive: those who do not are anonymous. disable: plain."""
    rules: tuple[ModeRule, ...] = ()
    same_node: Literal["encrypt", "kernel"] = "encrypt"
    """kernel: between workloads of one node the kernel's word is taken, and nothing is encrypted."""
    tls_1_2: bool = False
    """Accept TLS 1.2, too."""
    handshake_s: Annotated[float, Meta(ge=0.1, le=60, description="seconds, 0.1 to 60")] = 5.0
    """How long a handshake may take."""


class Callers(Struct, frozen=True, forbid_unknown_fields=True):
    """Who calls. Each kind that is not empty must fit; no kind at all fits everybody, also the anonymous."""

    ids: tuple[SpiffePattern, ...] = ()
    """One id, or what is below one: spiffe://cluster.local/ns/shop/*."""
    namespaces: tuple[Label, ...] = ()
    """Of ids made by the template, in our trust domain or else in `trust_domains`."""
    trust_domains: tuple[TrustDomain, ...] = ()


class PolicyRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may call whom, or may not. What is empty fits everything."""

    action: Literal["allow", "deny"]
    name: Label = "unnamed"
    """What is shown and logged when it decides. No two rules have the same."""
    callers: Callers = Callers()
    namespaces: tuple[Label, ...] = ()
    """Of the called workload."""
    workloads: tuple[Label, ...] = ()
    ports: tuple[Port, ...] = ()


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may call whom: deny wins over allow, and `default` decides where no rule fits."""

    default: Literal["allow", "deny"] = "allow"
    dry_run: bool = False
    """Only report what would be denied."""
    rules: tuple[PolicyRule, ...] = ()
