"""What is remarked of rules, and that it is so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.config.identity import Callers, Federated, Identity, ModeRule, Mtls, Policy, PolicyRule
from meshtrio.config.schema import Config
from meshtrio.identity.spiffe import parse
from meshtrio.route.modes import Modes
from meshtrio.route.policy import PolicyTable
from meshtrio.route.remarks import remarks
from tests.route.test_modes import RULES as MODE_RULES
from tests.route.test_policy import RULES, TEXTS

FEDERATED = Identity(trust_domain="td", federated=(Federated("other", "/other.json"),))
ALONE = Identity(trust_domain="td")
SHOP = Callers(namespaces=("shop",))


def told(*rules: PolicyRule, identity: Identity = ALONE) -> list[str]:
    return list(remarks(Config(identity=identity, policy=Policy(rules=rules))))


def test_nothing_is_odd_about_good_rules() -> None:
    web = Callers(ids=("spiffe://td/ns/shop/sa/web",))
    assert (
        told(PolicyRule("deny", "d", ports=(1,)), PolicyRule("allow", "a", web), PolicyRule("allow", "b"))
        == []
    )
    assert told(PolicyRule("allow", "a", Callers(("spiffe://td/ns/shop/*",), ("shop",), ("td",)))) == []


@pytest.mark.parametrize(
    ("callers", "identity", "why"),
    [
        (SHOP, Identity(source="off"), "identity.source is off, so everybody is anonymous"),
        (
            SHOP,
            Identity(template="spiffe://{trust_domain}/{service_account}"),
            "identity.template makes ids without a namespace",
        ),
        (Callers(trust_domains=("other",)), ALONE, "other is neither our trust domain nor federated"),
        (Callers(ids=("spiffe://other/*",)), ALONE, "none of its ids is one that"),
        (Callers(("spiffe://td/ns/office/sa/x",), ("shop",)), ALONE, "none of its ids is one that"),
        (Callers(ids=("spiffe://td",)), ALONE, "none of its ids is one that"),
    ],
)
def test_who_can_never_call_is_remarked(callers: Callers, identity: Identity, why: str) -> None:
    (remark,) = told(PolicyRule("allow", "a", callers), identity=identity)
    assert remark.startswith(f"policy.rules[0] (a) fits nobody: {why}")


def test_a_federated_trust_domain_is_no_reason() -> None:
    assert told(PolicyRule("allow", "a", Callers(trust_domains=("other",))), identity=FEDERATED) == []


def test_what_a_wider_denial_covers_is_remarked() -> None:
    wide = PolicyRule("deny", "no-shop", SHOP)
    narrow = PolicyRule("allow", "a", SHOP, ports=(80,))
    says = "policy.rules[{}] (a) never decides: no-shop denies all that it speaks of"
    assert told(wide, narrow) == [says.format(1)]
    assert told(narrow, wide) == [says.format(0)]
    assert told(wide, PolicyRule("allow", "a", ports=(80,))) == []
    also = PolicyRule("deny", "d", SHOP, ports=(80,))
    assert told(wide, also) == ["policy.rules[1] (d) never decides: no-shop denies all that it speaks of"]
    assert told(also, wide) == []


def test_a_denial_of_our_namespaces_does_not_cover_those_of_others() -> None:
    theirs = PolicyRule("allow", "a", Callers(namespaces=("shop",), trust_domains=("other",)))
    assert told(PolicyRule("deny", "no-shop", SHOP), theirs, identity=FEDERATED) == []


def test_what_an_earlier_mode_covers_is_remarked() -> None:
    rules = (ModeRule("strict", "shop"), ModeRule("disable", "shop", port=80), ModeRule("disable", port=80))
    assert list(remarks(Config(mtls=Mtls(rules=rules)))) == [
        "mtls.rules[1] never decides: mtls.rules[0] fits all that it does"
    ]


CALLED = [(space, name, port) for space in ("a", "ab") for name in ("web", "db") for port in (80, 443)]


@given(st.lists(RULES, max_size=5), st.sampled_from([ALONE, FEDERATED]))
def test_a_remarked_rule_never_decides(rules: list[PolicyRule], identity: Identity) -> None:
    named = tuple(
        PolicyRule(r.action, f"r{at}", r.callers, r.namespaces, r.workloads, r.ports)
        for at, r in enumerate(rules)
    )
    config = Config(identity=identity, policy=Policy("deny", rules=named))
    odd = {remark.partition("(")[2].partition(")")[0] for remark in remarks(config)}
    table = PolicyTable.configured(config)
    trusted = [parse(text) for text in TEXTS if identity is FEDERATED or text.startswith("spiffe://td/")]
    for caller in (None, *trusted):
        for namespace, workload, port in CALLED:
            assert table.judge(caller, namespace=namespace, workload=workload, port=port).rule not in odd


@given(st.lists(MODE_RULES, max_size=5))
def test_a_remarked_mode_never_decides(rules: list[ModeRule]) -> None:
    config = Config(mtls=Mtls(rules=tuple(rules)))
    odd = {remark.partition(" ")[0] for remark in remarks(config)}
    modes = Modes.configured(config)
    for namespace in ("a", "b"):
        for workload in ("a", "b"):
            for port in (80, 443):
                assert modes.of(namespace=namespace, workload=workload, port=port).rule not in odd
