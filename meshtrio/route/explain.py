"""Core. What would happen if this caller called that workload, and which rules say so. Does not call."""

import msgspec

from meshtrio.config.schema import Config
from meshtrio.detect.detected import Detected, Protocol
from meshtrio.identity.spiffe import SpiffeId
from meshtrio.outcome import Outcome
from meshtrio.route.modes import ALPN, Demand, Modes, Treatment, inbound
from meshtrio.route.policy import ANONYMOUS, PolicyTable, Verdict

ANY_PORT = 0
"""Stands for the ports that no rule names."""

_MESH = Detected(Protocol.TLS, alpn=(ALPN,))


class Expected(msgspec.Struct, frozen=True):
    """What would happen to one caller at one port. `port` 0: at each port that no rule names."""

    asked: str
    """Who was asked about: an id, or `anonymous`."""
    demand: Demand
    treatment: Treatment
    verdict: Verdict
    """About the caller as the called end knows it: one who comes in plainly is anonymous."""
    outcome: Outcome | None
    """How it would be refused; None: it would not."""

    @property
    def words(self) -> str:
        """One sentence for people."""
        mode = f"mode {self.demand.mode} ({self.demand.rule})"
        if self.outcome is Outcome.PLAINTEXT:
            return f"{mode} refuses who does not prove an identity, before any policy is asked"
        if self.outcome is Outcome.CLIENT_TLS:
            return f"{self.asked} is of a trust domain that is neither ours nor federated"
        unseen = self.verdict.caller == ANONYMOUS != self.asked
        seen = f"{mode} carries it plainly, so {self.asked} is anonymous; " if unseen else ""
        return f"{seen}{self.verdict.words}"


class Foresight:
    """Says what would happen, by one configuration."""

    def __init__(self, config: Config) -> None:
        """Take the configuration."""
        self._modes = Modes.configured(config)
        self._table = PolicyTable.configured(config)
        identity = config.identity
        self._trusted = {identity.trust_domain, *(other.trust_domain for other in identity.federated)}
        ports = {rule.port for rule in config.mtls.rules} | {ANY_PORT}
        self.ports = sorted(ports.union(*(rule.ports for rule in config.policy.rules)))
        """The ports that some rule names, and ANY_PORT."""

    def expected(self, caller: SpiffeId | None, *, namespace: str, workload: str, port: int) -> Expected:
        """Say what would happen to a caller in the mesh, or (None) outside of it."""
        demand = self._modes.of(namespace=namespace, workload=workload, port=port)
        treatment = inbound(demand, has_identity=True, detected=_MESH if caller else None)
        proved = caller if treatment is Treatment.MUTUAL_TLS else None
        verdict = self._table.judge(proved, namespace=namespace, workload=workload, port=port)
        outcome = treatment.refusal
        if proved is not None and proved.trust_domain not in self._trusted:
            outcome = Outcome.CLIENT_TLS
        elif outcome is None and not verdict.allowed:
            outcome = Outcome.DENIED
        return Expected(str(caller or ANONYMOUS), demand, treatment, verdict, outcome)
