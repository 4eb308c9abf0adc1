"""Core. May this caller call this workload? Does not know how a caller has proved who it is.

Deny wins over allow, and `default` decides where no rule fits; of several rules that fit, the first one is
named. The rules that concern one workload and port are picked out once, with those that list ids in a
dictionary, so judging takes about the same time for one rule and for a thousand.
"""

from collections.abc import Iterable

import msgspec

from meshtrio.config.identity import Callers, Policy, PolicyRule
from meshtrio.config.schema import Config
from meshtrio.identity.reading import Reading
from meshtrio.identity.spiffe import SpiffeId, Template, parse_template

TARGETS_BOUND = 1024
"""For how many workloads and ports rules are kept picked out. Full means: forget all, and pick out again."""
VERDICTS_BOUND = 4096
"""How many verdicts are remembered. Full means: forget all; each costs one judgement again."""

DEFAULT = "default"
"""Stands for a rule's name where no rule fits."""
ANONYMOUS = "anonymous"
"""Stands for the id of a caller that has proved none."""


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What was decided of one caller and one called port, and by which rule (or `default`)."""

    allowed: bool
    rule: str
    would_deny: bool
    """It is denied, or was let through only because of policy.dry_run."""
    caller: str
    """The SPIFFE ID, or `anonymous`."""
    namespace: str
    workload: str
    port: int

    @property
    def words(self) -> str:
        """One sentence for people."""
        does = "denies" if self.would_deny else "allows"
        by = "policy.default" if self.rule == DEFAULT else f"rule {self.rule}"
        dry = "; only reported, for policy.dry_run is on" if self.would_deny and self.allowed else ""
        port = f"port {self.port}" if self.port else "ports that no rule names"
        return f"{by} {does} {self.caller} to call {self.namespace}/{self.workload} on {port}{dry}"

    def audit(self, called: str) -> dict[str, str | int | bool]:
        """Give what an audit line says; `called` is the SPIFFE ID of the called workload."""
        return {
            "caller": self.caller,
            "called": called,
            "workload": f"{self.namespace}/{self.workload}",
            "port": self.port,
            "rule": self.rule,
            "dry_run": self.would_deny and self.allowed,
        }


class PolicyTable:
    """Judges callers. Made anew when the configuration changes."""

    def __init__(self, policy: Policy, template: Template, *, own: str) -> None:
        """Take the rules, how ids are made, and our own trust domain.

        A rule's namespaces are those of our own trust domain, or of the trust domains that stand beside them:
        another domain gives its namespaces the names it likes.
        """
        self._policy = policy
        self._reading = Reading(template)
        self._rules = tuple(_Rule(at, rule, own) for at, rule in enumerate(policy.rules))
        self._targets: dict[tuple[str, str, int], tuple[_Picked, _Picked]] = {}
        self._verdicts: dict[tuple[SpiffeId | None, str, str, int], Verdict] = {}

    @classmethod
    def configured(cls, config: Config) -> "PolicyTable":
        """Take the rules of a whole configuration."""
        identity = config.identity
        return cls(config.policy, parse_template(identity.template), own=identity.trust_domain)

    def judge(self, caller: SpiffeId | None, *, namespace: str, workload: str, port: int) -> Verdict:
        """Decide whether this caller (None: anonymous) may call this port of this workload."""
        key = (caller, namespace, workload, port)
        verdict = self._verdicts.get(key)
        if verdict is None:
            if len(self._verdicts) >= VERDICTS_BOUND:
                self._verdicts.clear()
            verdict = self._verdicts[key] = self._judged(caller, namespace, workload, port)
        return verdict

    def _judged(self, caller: SpiffeId | None, namespace: str, workload: str, port: int) -> Verdict:
        home = "" if caller is None else self._reading.namespace(caller)
        denies, allows = self._target((namespace, workload, port))
        rule = denies.first(caller, home) or allows.first(caller, home)
        denied = (rule.action if rule else self._policy.default) == "deny"
        return Verdict(
            allowed=not denied or self._policy.dry_run,
            rule=rule.name if rule else DEFAULT,
            would_deny=denied,
            caller=str(caller or ANONYMOUS),
            namespace=namespace,
            workload=workload,
            port=port,
        )

    def _target(self, target: tuple[str, str, int]) -> "tuple[_Picked, _Picked]":
        picked = self._targets.get(target)
        if picked is None:
            if len(self._targets) >= TARGETS_BOUND:
                self._targets.clear()
            fitting = [rule for rule in self._rules if rule.concerns(*target)]
            denies = _Picked(rule for rule in fitting if rule.action == "deny")
            picked = denies, _Picked(rule for rule in fitting if rule.action == "allow")
            self._targets[target] = picked
        return picked


class _Rule:
    """One rule, ready to be asked."""

    __slots__ = ("_called", "_fits", "action", "at", "name")

    def __init__(self, at: int, rule: PolicyRule, own: str) -> None:
        self.at = at
        self.name = rule.name
        self.action = rule.action
        self._called = (frozenset(rule.namespaces), frozenset(rule.workloads), frozenset(rule.ports))
        self._fits = _Callers(rule.callers, own)

    def concerns(self, namespace: str, workload: str, port: int) -> bool:
        namespaces, workloads, ports = self._called
        return (
            (not namespaces or namespace in namespaces)
            and (not workloads or workload in workloads)
            and (not ports or port in ports)
        )

    @property
    def listed(self) -> frozenset[str]:
        """The patterns of callers, if the rule says nothing else of them."""
        return self._fits.listed

    def fits(self, caller: SpiffeId | None, home: str) -> bool:
        return self._fits.fit(caller, home)


class _Callers:
    """Whom a rule means."""

    __slots__ = ("_domains", "_ids", "_namespaces", "_own")

    def __init__(self, callers: Callers, own: str) -> None:
        self._ids = frozenset(callers.ids)
        self._namespaces = frozenset(callers.namespaces)
        self._domains = frozenset(callers.trust_domains)
        self._own = own

    @property
    def listed(self) -> frozenset[str]:
        return frozenset() if self._namespaces or self._domains else self._ids

    def fit(self, caller: SpiffeId | None, home: str) -> bool:
        if caller is None:
            return not (self._ids or self._namespaces or self._domains)
        if self._domains and caller.trust_domain not in self._domains:
            return False
        if self._namespaces:
            foreign = not self._domains and caller.trust_domain != self._own
            if foreign or home not in self._namespaces:
                return False
        return not self._ids or not self._ids.isdisjoint(caller.patterns())


class _Picked:
    """The rules of one action that concern one workload and port, in the order of the configuration."""

    __slots__ = ("_listed", "_rest")

    def __init__(self, rules: Iterable[_Rule]) -> None:
        listed: dict[str, _Rule] = {}
        rest = []
        for rule in rules:
            for pattern in rule.listed:
                listed.setdefault(pattern, rule)
            if not rule.listed:
                rest.append(rule)
        self._listed = listed
        self._rest = tuple(rest)

    def first(self, caller: SpiffeId | None, home: str) -> _Rule | None:
        """Give the first rule that fits."""
        found = None
        if caller is not None and self._listed:
            fitting = (self._listed.get(pattern) for pattern in caller.patterns())
            found = min((rule for rule in fitting if rule), key=lambda rule: rule.at, default=None)
        for rule in self._rest:
            if found is not None and found.at < rule.at:
                break
            if rule.fits(caller, home):
                return rule
        return found
