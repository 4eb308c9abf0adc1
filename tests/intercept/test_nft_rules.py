"""Core. The order of rules and priorities, which keeps each end caught once. Matching is in test_nft.py."""

from itertools import pairwise

import msgspec
import pytest

from meshtrio.intercept import nft_rules
from meshtrio.intercept.nft_plan import CgroupMatch, InboundCapture, NftPlan, OutboundCapture
from meshtrio.intercept.nft_rules import Ruleset

FULL = NftPlan(
    workload="shop",
    owner="7.8",
    cgroup=CgroupMatch(level=2, id=99),
    outbound=OutboundCapture(door=15002, services=("127.0.0.1:80", "[::1]:80"), except_cidrs=("10.0.0.0/8",)),
    inbound=InboundCapture(door=15001, ports=(8080,)),
    transparent=True,
)


def tags(rules: Ruleset, chain: str) -> list[str]:
    return [rule.tag for rule in rules.rules if rule.chain == chain]


def test_exclusions_come_before_the_redirection() -> None:
    rules = nft_rules.ruleset(FULL)
    assert tags(rules, "outbound")[:2] == ["our dial to an endpoint", "our dial to an application"]
    assert tags(rules, "outbound_workload")[-1] == "to the outbound door"
    assert "excluded 10.0.0.0/8" in tags(rules, "outbound_workload")[:-1]
    assert tags(rules, "inbound")[-1] == "to the inbound door"
    assert tags(rules, "inbound_local")[0] == "our dial to an application"


def test_outbound_is_asked_before_local_inbound_and_both_before_other_peoples_nat() -> None:
    chains = {chain.name: chain for chain in nft_rules.ruleset(FULL).chains}
    order = [chains[name].priority for name in ("worker", "outbound", "inbound_local")] + [-100]
    assert all(earlier < later for earlier, later in pairwise(order))
    assert chains["outbound"].hook == chains["inbound_local"].hook == chains["worker"].hook


def test_every_rule_counts_and_every_name_is_once() -> None:
    rules = nft_rules.ruleset(FULL)
    assert all(("counter", {}) in rule.expressions for rule in rules.rules)
    names = [(rule.chain, rule.tag) for rule in rules.rules]
    assert len(set(names)) == len(names)
    assert {rule.chain for rule in rules.rules} == {chain.name for chain in rules.chains}


def test_the_table_says_whose_it_is() -> None:
    rules = nft_rules.ruleset(FULL)
    assert (rules.table, rules.comment) == ("meshtrio_shop", "meshtrio owner=7.8")


def test_doors_are_never_caught_as_inbound() -> None:
    (excluded,) = (keys for keys in nft_rules.ruleset(FULL).sets if keys.name == "inbound_except_ports")
    assert [int.from_bytes(key, "big") for key in excluded.keys] == [22, 15001, 15002]


def with_names(**outbound: object) -> Ruleset:
    assert FULL.outbound
    capture = msgspec.structs.replace(FULL.outbound, dns_door=15053, **outbound)
    return nft_rules.ruleset(msgspec.structs.replace(FULL, outbound=capture))


def test_queries_have_a_chain_of_their_own_before_that_of_connections() -> None:
    rules = with_names()
    assert tags(rules, "outbound") == [
        "our dial to an endpoint",
        "our dial to an application",
        "TCP query of the workload",
        "UDP query of the workload",
        "dialled by the workload",
    ]
    assert tags(rules, "outbound_names") == [
        "link-local v6",
        "excluded 10.0.0.0/8",
        "TCP to the dns door",
        "UDP to the dns door",
    ], "loopback is no exception there"
    names = [(rule.chain, rule.tag) for rule in rules.rules]
    assert len(set(names)) == len(names)
    assert {rule.chain for rule in rules.rules} == {chain.name for chain in rules.chains}


def test_an_excluded_port_53_means_no_rules_for_queries() -> None:
    assert FULL.outbound
    without = msgspec.structs.replace(FULL.outbound, except_ports=(53,))
    plain = nft_rules.ruleset(msgspec.structs.replace(FULL, outbound=without))
    assert with_names(except_ports=(53,)) == plain
    assert not tags(plain, "outbound_names")


def test_keys_fill_whole_registers() -> None:
    v4, v6 = nft_rules.service_sets(("127.0.0.1:80", "[::1]:258", "10.0.0.1:80"))
    assert v4.keys == (b"\x7f\0\0\x01\0\x50\0\0",)
    assert v6.keys == (bytes(15) + b"\x01\x01\x02\0\0",)


@pytest.mark.parametrize(("side", "absent"), [("outbound", "inbound"), ("inbound", "outbound")])
def test_a_side_that_is_not_asked_for_has_no_chain(side: str, absent: str) -> None:
    capture = {"outbound": FULL.outbound, "inbound": FULL.inbound}[side]
    plan = NftPlan(workload="w", owner="1", **{side: capture})  # type: ignore[arg-type]
    assert {chain.name.partition("_")[0] for chain in nft_rules.ruleset(plan).chains} == {side}
    assert not [keys for keys in nft_rules.ruleset(plan).sets if keys.name.startswith(absent)]
