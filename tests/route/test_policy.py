"""Who may call whom: against a naive reading of the rules, and case by case where words say more."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.config.identity import Callers, Identity, Policy, PolicyRule
from meshtrio.config.schema import Config
from meshtrio.identity.spiffe import TEMPLATE, SpiffeId, parse, parse_template
from meshtrio.route.policy import TARGETS_BOUND, VERDICTS_BOUND, PolicyTable, Verdict

OWN = "td"
SHOP_WEB = parse("spiffe://td/ns/shop/sa/web")
SHOP = Callers(namespaces=("shop",))
ANYBODY = Callers()


def table(*rules: PolicyRule, default: str = "deny", dry_run: bool = False) -> PolicyTable:
    policy = Policy(default, dry_run, rules)  # type: ignore[arg-type]
    return PolicyTable(policy, parse_template(TEMPLATE), own=OWN)


def judged(of: PolicyTable, caller: SpiffeId | str | None, port: int = 80) -> Verdict:
    who = parse(caller) if isinstance(caller, str) else caller
    return of.judge(who, namespace="shop", workload="cart", port=port)


def allow(name: str = "a", callers: Callers = ANYBODY, **called: tuple[object, ...]) -> PolicyRule:
    return PolicyRule("allow", name, callers, **called)  # type: ignore[arg-type]


def deny(name: str = "d", callers: Callers = ANYBODY, **called: tuple[object, ...]) -> PolicyRule:
    return PolicyRule("deny", name, callers, **called)  # type: ignore[arg-type]


@pytest.mark.parametrize("default", ["allow", "deny"])
def test_the_default_decides_where_no_rule_fits(default: str) -> None:
    verdict = judged(table(allow(ports=(1,)), deny(ports=(2,)), default=default), SHOP_WEB)
    assert (verdict.allowed, verdict.rule) == (default == "allow", "default")


@pytest.mark.parametrize("rules", [(allow(), deny()), (deny(), allow())])
def test_deny_wins_wherever_it_stands(rules: tuple[PolicyRule, ...]) -> None:
    verdict = judged(table(*rules, default="allow"), SHOP_WEB)
    assert (verdict.allowed, verdict.rule) == (False, "d")


def test_the_first_of_several_rules_is_named_however_they_say_who() -> None:
    single, spaces = Callers(ids=(str(SHOP_WEB),)), SHOP
    assert judged(table(allow("one", single), allow("two", spaces)), SHOP_WEB).rule == "one"
    assert judged(table(allow("one", spaces), allow("two", single)), SHOP_WEB).rule == "one"
    assert judged(table(allow("one", single), allow("two", single)), SHOP_WEB).rule == "one"


@pytest.mark.parametrize(
    "callers",
    [
        Callers(ids=("spiffe://td/*",)),
        Callers(ids=(str(SHOP_WEB),)),
        SHOP,
        Callers(trust_domains=("td",)),
    ],
)
def test_the_anonymous_fit_only_where_everybody_does(callers: Callers) -> None:
    assert judged(table(allow(callers=callers)), SHOP_WEB).allowed
    assert not judged(table(allow(callers=callers)), None).allowed
    assert judged(table(allow()), None).allowed
    assert judged(table(deny(callers=callers), default="allow"), None).allowed
    assert not judged(table(deny(), default="allow"), None).allowed


@pytest.mark.parametrize(
    ("caller", "fits"),
    [
        ("spiffe://td/ns/a/sa/web", True),
        ("spiffe://td/ns/a/x", True),
        ("spiffe://td/ns/a", False),
        ("spiffe://td/ns/ab", False),
        ("spiffe://td/ns/ab/sa/web", False),
        ("spiffe://td/ns", False),
        ("spiffe://td2/ns/a/sa/web", False),
        ("spiffe://td/ns/A/sa/web", False),
    ],
)
def test_a_prefix_goes_by_whole_segments(caller: str, fits: bool) -> None:
    assert judged(table(allow(callers=Callers(ids=("spiffe://td/ns/a/*",)))), caller).allowed is fits


def test_a_trust_domain_with_a_star_is_all_its_workloads() -> None:
    everyone = table(allow(callers=Callers(ids=("spiffe://td/*",))))
    assert judged(everyone, SHOP_WEB).allowed
    assert not judged(everyone, "spiffe://td").allowed
    assert not judged(everyone, "spiffe://td.evil/ns/shop/sa/web").allowed


def test_a_namespace_of_another_trust_domain_is_another_namespace() -> None:
    theirs = "spiffe://other/ns/shop/sa/web"
    assert not judged(table(allow(callers=SHOP)), theirs).allowed
    both = Callers(namespaces=("shop",), trust_domains=("other",))
    assert judged(table(allow(callers=both)), theirs).allowed
    assert not judged(table(allow(callers=both)), SHOP_WEB).allowed


@pytest.mark.parametrize(
    "path", ["/shop", "/ns/shop", "/ns/shop/sa/web/x", "/x/ns/shop/sa/web", "/sa/web/ns/shop"]
)
def test_an_id_of_another_shape_has_no_namespace(path: str) -> None:
    assert not judged(table(allow(callers=SHOP)), f"spiffe://td{path}").allowed


def test_a_dry_run_lets_through_and_says_what_it_would_deny() -> None:
    denied = judged(table(deny(), dry_run=True), SHOP_WEB)
    assert (denied.allowed, denied.would_deny, denied.rule) == (True, True, "d")
    assert judged(table(dry_run=True), None).would_deny
    allowed = judged(table(allow(), dry_run=True), SHOP_WEB)
    assert (allowed.allowed, allowed.would_deny) == (True, False)


def test_a_verdict_has_words_and_an_audit_line() -> None:
    denied = judged(table(deny("no-web")), SHOP_WEB)
    assert denied.words == f"rule no-web denies {SHOP_WEB} to call shop/cart on port 80"
    line = denied.audit("spiffe://td/ns/shop/sa/cart")
    assert json.loads(json.dumps(line)) == {
        "caller": str(SHOP_WEB),
        "called": "spiffe://td/ns/shop/sa/cart",
        "workload": "shop/cart",
        "port": 80,
        "rule": "no-web",
        "dry_run": False,
    }
    dry = judged(table(dry_run=True), None)
    assert dry.audit("x")["dry_run"] is True
    assert dry.words == (
        "policy.default denies anonymous to call shop/cart on port 80"
        "; only reported, for policy.dry_run is on"
    )


def test_a_configuration_says_all_that_is_needed() -> None:
    identity = Identity(trust_domain="td", template="spiffe://{trust_domain}/{namespace}/{service_account}")
    config = Config(identity=identity, policy=Policy("deny", rules=(allow(callers=SHOP),)))
    made = PolicyTable.configured(config)
    assert judged(made, "spiffe://td/shop/web").allowed
    assert not judged(made, "spiffe://td/office/web").allowed


TEXTS = [
    f"spiffe://{td}/ns/{ns}/sa/{sa}" for td in ("td", "other") for ns in ("a", "ab") for sa in ("x", "y")
]
PATTERNS = [*TEXTS, "spiffe://td/*", "spiffe://other/*", "spiffe://td/ns/a/*", "spiffe://td/ns/a/sa/*"]


def some(values: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=2).map(tuple)


CALLERS = st.builds(Callers, some(PATTERNS), some(["a", "ab"]), some(["td", "other"]))
PORTS = st.sampled_from([80, 443])
RULES = st.builds(
    PolicyRule,
    action=st.sampled_from(["allow", "deny"]),
    callers=CALLERS | st.just(Callers()) | st.builds(Callers, some(TEXTS)),
    namespaces=some(["a", "ab"]),
    workloads=some(["web", "db"]),
    ports=st.lists(PORTS, max_size=1).map(tuple),
)


def naive(
    rules: list[PolicyRule], default: str, caller: str, called: tuple[str, str, int]
) -> tuple[bool, int]:
    """Read the rules as they are written down; -1 is the default."""

    def means(rule: PolicyRule) -> bool:
        for wanted, have in zip((rule.namespaces, rule.workloads, rule.ports), called, strict=True):
            if wanted and have not in wanted:
                return False
        who = rule.callers
        if not (who.ids or who.namespaces or who.trust_domains):
            return True
        if not caller:
            return False
        domain, _, space, _, _ = caller.removeprefix("spiffe://").split("/")
        ids = any(caller == one or (one[-1] == "*" and caller.startswith(one[:-1])) for one in who.ids)
        return (
            (ids or not who.ids)
            and (domain in who.trust_domains or not who.trust_domains)
            and (not who.namespaces or (space in who.namespaces and domain in (who.trust_domains or ("td",))))
        )

    for action in ("deny", "allow"):
        for at, rule in enumerate(rules):
            if rule.action == action and means(rule):
                return action == "allow", at
    return default == "allow", -1


@given(
    rules=st.lists(RULES, max_size=6),
    default=st.sampled_from(["allow", "deny"]),
    calls=st.lists(
        st.tuples(
            st.sampled_from(["", *TEXTS]), st.sampled_from(["a", "ab"]), st.sampled_from(["web", "db"]), PORTS
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_the_table_says_what_the_rules_say(
    rules: list[PolicyRule], default: str, calls: list[tuple[str, str, str, int]]
) -> None:
    named = [
        PolicyRule(r.action, f"r{at}", r.callers, r.namespaces, r.workloads, r.ports)
        for at, r in enumerate(rules)
    ]
    made = table(*named, default=default)
    for caller, namespace, workload, port in calls * 2:
        who = parse(caller) if caller else None
        verdict = made.judge(who, namespace=namespace, workload=workload, port=port)
        allowed, at = naive(rules, default, caller, (namespace, workload, port))
        assert (verdict.allowed, verdict.rule) == (allowed, f"r{at}" if at >= 0 else "default")
        assert verdict.would_deny is not allowed


def test_what_is_remembered_is_bounded() -> None:
    made = table(allow(ports=(7,)))
    for port in range(1, VERDICTS_BOUND + 10):
        assert judged(made, SHOP_WEB, port).allowed is (port == 7)
    assert len(made._verdicts) <= VERDICTS_BOUND
    assert len(made._targets) <= TARGETS_BOUND


@pytest.mark.parametrize("pattern", ["sa/x", "*"])
def test_a_thousand_rules_cost_microseconds(pattern: str) -> None:
    rules = [allow(f"r{at}", Callers(ids=(f"spiffe://td/ns/n{at}/{pattern}",))) for at in range(1000)]
    made = table(*rules)
    judged(made, SHOP_WEB)
    callers = [parse(f"spiffe://td/ns/n{at}/sa/x") for at in range(1000)]
    began = time.perf_counter()
    assert all(judged(made, caller).allowed for caller in callers)
    assert time.perf_counter() - began < 0.1  # 7 ms on a quiet machine, 0.5 s if each asked every rule
