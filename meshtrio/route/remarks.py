"""Core. What is odd in rules that are all the same allowed: those that can never fit, or never decide.

Cheap and one-sided: what is remarked is so, and what is not may still be odd.
"""

from collections.abc import Iterator, Sequence

from meshtrio.config.identity import ModeRule, PolicyRule
from meshtrio.config.schema import Config
from meshtrio.identity.reading import Reading
from meshtrio.identity.spiffe import SpiffeId, parse, parse_template


def remarks(config: Config) -> Iterator[str]:
    """Say what is odd, one line a rule, beginning with the path of the rule."""
    for at, mode in enumerate(config.mtls.rules):
        above = next((n for n, other in enumerate(config.mtls.rules[:at]) if _covers(other, mode)), None)
        if above is not None:
            yield f"mtls.rules[{at}] never decides: mtls.rules[{above}] fits all that it does"
    callers = _Callers(config)
    denials = [rule for rule in config.policy.rules if rule.action == "deny"]
    for at, rule in enumerate(config.policy.rules):
        why = callers.why_nobody(rule)
        path = f"policy.rules[{at}] ({rule.name})"
        if why:
            yield f"{path} fits nobody: {why}"
            continue
        others = denials if rule.action == "allow" else denials[: denials.index(rule)]
        wider = next((other.name for other in others if _wider(other, rule)), "")
        if wider:
            yield f"{path} never decides: {wider} denies all that it speaks of"


def _covers(above: ModeRule, below: ModeRule) -> bool:
    pairs = (
        (above.namespace, below.namespace),
        (above.workload, below.workload),
        (above.port, below.port),
    )
    return all(wide in ("", 0, narrow) for wide, narrow in pairs)


def _wider(above: PolicyRule, below: PolicyRule) -> bool:
    """Say whether one rule fits whatever the other does, as far as that can be seen in their lists."""
    who, whom = above.callers, below.callers
    if who.namespaces and set(who.trust_domains) != set(whom.trust_domains):
        return False  # namespaces of other trust domains are other namespaces
    pairs: tuple[tuple[Sequence[object], Sequence[object]], ...] = (
        (below.namespaces, above.namespaces),
        (below.workloads, above.workloads),
        (below.ports, above.ports),
        (whom.ids, who.ids),
        (whom.namespaces, who.namespaces),
        (whom.trust_domains, who.trust_domains),
    )
    return all(_within(narrow, wide) for narrow, wide in pairs)


def _within(narrow: Sequence[object], wide: Sequence[object]) -> bool:
    return not wide or (bool(narrow) and set(narrow) <= set(wide))


class _Callers:
    """Knows which callers there can be."""

    def __init__(self, config: Config) -> None:
        self._own = config.identity.trust_domain
        self._trusted = {self._own, *(other.trust_domain for other in config.identity.federated)}
        self._off = config.identity.source == "off"
        self._named = "{namespace}" in config.identity.template
        self._reading = Reading(parse_template(config.identity.template))

    def why_nobody(self, rule: PolicyRule) -> str:
        """Say why no caller can fit a rule; empty if one may."""
        who = rule.callers
        if not (who.ids or who.namespaces or who.trust_domains):
            return ""
        if self._off:
            return "identity.source is off, so everybody is anonymous"
        if who.namespaces and not self._named:
            return "identity.template makes ids without a namespace"
        domains = set(who.trust_domains) or self._trusted
        if not domains & self._trusted:
            return f"{', '.join(who.trust_domains)} is neither our trust domain nor federated"
        if who.ids and not any(self._can_be(pattern, rule, domains & self._trusted) for pattern in who.ids):
            return "none of its ids is one that its namespaces and the trust domains can have"
        return ""

    def _can_be(self, pattern: str, rule: PolicyRule, domains: set[str]) -> bool:
        one: SpiffeId = parse(pattern.removesuffix("/*"))
        if one.trust_domain not in domains:
            return False
        if pattern.endswith("/*"):
            return True
        spaces = rule.callers.namespaces
        return bool(one.path) and (not spaces or self._reading.namespace(one) in spaces)
