"""Core. Mutual TLS, plain, or refused: what each end of a connection does. Does not know TLS or the bytes.

The mode says what a *called* workload accepts; the first rule that fits decides, else `mtls.mode`. What a
caller does follows from the endpoint: mutual TLS where it is in the mesh, plain where it is not, as in other
meshes. Calling endpoints outside of the mesh stays allowed under strict: `passthrough` governs those.
"""

import enum

import msgspec

from meshtrio.config.identity import Mode, ModeRule, Mtls
from meshtrio.config.schema import Config
from meshtrio.detect.detected import Detected, Protocol
from meshtrio.outcome import Outcome

ALPN = "meshtrio/1"
"""What a caller in the mesh offers, and no program's own TLS does."""

DEMANDS_BOUND = 4096
"""How many answers are remembered. Full means: forget all; each costs one look at the rules again."""


class Demand(msgspec.Struct, frozen=True, gc=False):
    """What a workload demands on one port. `rule` is the setting that says so, as in mtls.rules[2]."""

    mode: Mode
    any_alpn: bool = False
    """With strict: any TLS client is asked for its certificate, not meshes alone."""
    rule: str = "mtls.mode"


class Modes:
    """Answers what a workload demands. Made anew when the configuration changes."""

    def __init__(self, mtls: Mtls, *, encrypting: bool = True) -> None:
        """Take the rules. Not `encrypting` (identity.source is off): nobody can prove anything, so what is
        permissive is as good as disabled. Strict stays, and refuses everyone."""
        self._rules = tuple(
            (rule, _demand(rule.mode, encrypting, rule.any_alpn, f"mtls.rules[{at}]"))
            for at, rule in enumerate(mtls.rules)
        )
        self._else = _demand(mtls.mode, encrypting)
        self._remembered: dict[tuple[str, str, int], Demand] = {}

    @classmethod
    def configured(cls, config: Config) -> "Modes":
        """Take the rules of a whole configuration."""
        return cls(config.mtls, encrypting=config.identity.source != "off")

    def of(self, *, namespace: str, workload: str, port: int) -> Demand:
        """Say what this workload demands on this port. Costs a look into a dictionary, mostly."""
        if not self._rules:
            return self._else
        key = (namespace, workload, port)
        demand = self._remembered.get(key)
        if demand is None:
            if len(self._remembered) >= DEMANDS_BOUND:
                self._remembered.clear()
            fitting = (demand for rule, demand in self._rules if _fits(rule, namespace, workload, port))
            demand = self._remembered[key] = next(fitting, self._else)
        return demand


class Treatment(enum.Enum):
    """What becomes of a connection. The value is the word in logs."""

    MUTUAL_TLS = "mutual_tls"
    """We speak TLS here, both sides with a certificate."""
    PLAIN = "plain"
    """The bytes are carried as they are, a program's own TLS too. The caller is anonymous."""
    REFUSE_PLAINTEXT = "refuse_plaintext"
    REFUSE_NO_IDENTITY = "refuse_no_identity"
    """It would be mutual TLS, and our workload has no valid certificate."""

    @property
    def refusal(self) -> Outcome | None:
        """How the connection ends, if it is refused."""
        return _REFUSALS.get(self)


_REFUSALS = {
    Treatment.REFUSE_PLAINTEXT: Outcome.PLAINTEXT,
    Treatment.REFUSE_NO_IDENTITY: Outcome.NO_IDENTITY,
}


class Hello(enum.Enum):
    """How a caller begins, as far as modes care."""

    MESH = "mesh"
    """A ClientHello that is for us."""
    OWN_TLS = "own_tls"
    """A ClientHello for the called program."""
    OTHER = "other"
    """Anything else, also silence."""


INBOUND: dict[tuple[Mode, Hello, bool], Treatment] = {
    ("disable", Hello.MESH, True): Treatment.PLAIN,
    ("disable", Hello.MESH, False): Treatment.PLAIN,
    ("disable", Hello.OWN_TLS, True): Treatment.PLAIN,
    ("disable", Hello.OWN_TLS, False): Treatment.PLAIN,
    ("disable", Hello.OTHER, True): Treatment.PLAIN,
    ("disable", Hello.OTHER, False): Treatment.PLAIN,
    ("permissive", Hello.MESH, True): Treatment.MUTUAL_TLS,
    ("permissive", Hello.MESH, False): Treatment.REFUSE_NO_IDENTITY,
    ("permissive", Hello.OWN_TLS, True): Treatment.PLAIN,
    ("permissive", Hello.OWN_TLS, False): Treatment.PLAIN,
    ("permissive", Hello.OTHER, True): Treatment.PLAIN,
    ("permissive", Hello.OTHER, False): Treatment.PLAIN,
    ("strict", Hello.MESH, True): Treatment.MUTUAL_TLS,
    ("strict", Hello.MESH, False): Treatment.REFUSE_NO_IDENTITY,
    ("strict", Hello.OWN_TLS, True): Treatment.REFUSE_PLAINTEXT,
    ("strict", Hello.OWN_TLS, False): Treatment.REFUSE_PLAINTEXT,
    ("strict", Hello.OTHER, True): Treatment.REFUSE_PLAINTEXT,
    ("strict", Hello.OTHER, False): Treatment.REFUSE_PLAINTEXT,
}
"""By the mode, how the caller begins, and whether the called workload has an identity."""


def inbound(demand: Demand, *, has_identity: bool, detected: Detected | None) -> Treatment:
    """Say what becomes of a caller that began so; None is one that stays silent."""
    return INBOUND[demand.mode, _hello(demand, detected), has_identity]


def outbound(demand: Demand, *, meshed: bool, has_identity: bool) -> Treatment:
    """Say how our workload calls an endpoint; `demand` is what our workload demands on that port.

    Without a certificate an endpoint in the mesh is not called at all, permissive or not, also not when the
    first certificate is still to come (who calls this may wait for it). Plain would work often, and so
    whoever silences the CA would get to read along.
    """
    if demand.mode == "disable" or not meshed:
        return Treatment.PLAIN
    return Treatment.MUTUAL_TLS if has_identity else Treatment.REFUSE_NO_IDENTITY


def _demand(mode: Mode, encrypting: bool, any_alpn: bool = False, rule: str = "mtls.mode") -> Demand:
    if mode == "permissive" and not encrypting:
        return Demand("disable", rule="identity.source")
    return Demand(mode, any_alpn and mode == "strict", rule)


def _fits(rule: ModeRule, namespace: str, workload: str, port: int) -> bool:
    return rule.namespace in ("", namespace) and rule.workload in ("", workload) and rule.port in (0, port)


def _hello(demand: Demand, detected: Detected | None) -> Hello:
    if detected is None or detected.protocol is not Protocol.TLS:
        return Hello.OTHER
    return Hello.MESH if demand.any_alpn or ALPN in detected.alpn else Hello.OWN_TLS
