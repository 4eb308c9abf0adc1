"""What is foretold is what modes and policy together come to."""

import pytest

from meshtrio.config.identity import (
    Callers,
    Federated,
    Identity,
    Mode,
    ModeRule,
    Mtls,
    Policy,
    PolicyRule,
)
from meshtrio.config.schema import Config
from meshtrio.identity.spiffe import SpiffeId, parse
from meshtrio.outcome import Outcome
from meshtrio.route.explain import Expected, Foresight
from meshtrio.route.modes import Treatment

WEB = parse("spiffe://cluster.local/ns/shop/sa/web")
ONLY_WEB = Policy("deny", rules=(PolicyRule("allow", "web", Callers(ids=(str(WEB),))),))


def expected(config: Config, caller: SpiffeId | None, port: int = 80) -> Expected:
    return Foresight(config).expected(caller, namespace="shop", workload="cart", port=port)


@pytest.mark.parametrize(
    ("mode", "caller", "outcome", "rule"),
    [
        ("permissive", WEB, None, "web"),
        ("permissive", None, Outcome.DENIED, "default"),
        ("strict", WEB, None, "web"),
        ("strict", None, Outcome.PLAINTEXT, "default"),
        ("disable", WEB, Outcome.DENIED, "default"),
        ("disable", None, Outcome.DENIED, "default"),
    ],
)
def test_mode_and_policy_decide_together(
    mode: Mode, caller: SpiffeId | None, outcome: Outcome | None, rule: str
) -> None:
    told = expected(Config(mtls=Mtls(mode), policy=ONLY_WEB), caller)
    assert (told.outcome, told.verdict.rule, told.demand.mode) == (outcome, rule, mode)


def test_strict_refuses_the_anonymous_also_where_policy_would_not() -> None:
    told = expected(Config(mtls=Mtls("permissive", (ModeRule("strict", port=80),))), None)
    assert told.outcome is Outcome.PLAINTEXT
    assert told.words == (
        "mode strict (mtls.rules[0]) refuses who does not prove an identity, before any policy is asked"
    )


def test_who_comes_in_plainly_is_told_to_be_anonymous() -> None:
    told = expected(Config(mtls=Mtls("disable"), policy=ONLY_WEB), WEB)
    assert told.treatment is Treatment.PLAIN
    assert told.words == (
        f"mode disable (mtls.mode) carries it plainly, so {WEB} is anonymous;"
        " policy.default denies anonymous to call shop/cart on port 80"
    )


def test_an_unknown_trust_domain_does_not_get_as_far_as_policy() -> None:
    other = parse("spiffe://other.org/ns/shop/sa/web")
    told = expected(Config(), other)
    assert told.outcome is Outcome.CLIENT_TLS
    assert told.words == f"{other} is of a trust domain that is neither ours nor federated"
    federated = Identity(federated=(Federated("other.org", "/etc/other.json"),))
    assert expected(Config(identity=federated), other).outcome is None


def test_a_dry_run_refuses_nobody() -> None:
    policy = Policy("deny", dry_run=True)
    told = expected(Config(policy=policy), WEB)
    assert (told.outcome, told.verdict.would_deny) == (None, True)


def test_the_ports_that_matter_are_known() -> None:
    rules = (PolicyRule("deny", ports=(443, 80)), PolicyRule("allow", "b", ports=(80,)))
    config = Config(
        mtls=Mtls(rules=(ModeRule("strict", port=22), ModeRule("disable"))), policy=Policy(rules=rules)
    )
    assert Foresight(config).ports == [0, 22, 80, 443]
