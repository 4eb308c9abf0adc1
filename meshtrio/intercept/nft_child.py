"""Shell. What the process does that speaks to nf_tables (errand_process.py). Does not outlive one errand.

An errand is one transaction; then it reads back what the kernel has.
"""

from collections.abc import Iterator
from typing import Any

from pyroute2.netlink.nfnetlink import nftsocket as nft

from meshtrio.intercept import nft_expression as x
from meshtrio.intercept import nft_message as message
from meshtrio.intercept import nft_request as request
from meshtrio.intercept.nft_message import Message, RuleMessage
from meshtrio.intercept.nft_plan import (
    OWNER_TAG,
    TABLE_PREFIX,
    Applied,
    Count,
    Feature,
    OwnedTable,
    faults,
    table_name,
)
from meshtrio.intercept.nft_request import NftRefused, Refusal
from meshtrio.intercept.nft_rules import (
    Chain,
    KeySet,
    Rule,
    Ruleset,
    port_set,
    released,
    ruleset,
    service_sets,
)
from meshtrio.intercept.nft_transaction import Conversation

ERRAND = request.Errand
_INET = nft.NFPROTO_INET


def act(errand: request.Errand) -> object:
    """Do one errand in the network namespace that this process is in."""
    with Conversation() as kernel:
        match errand:
            case request.Apply(plan):
                return _apply(kernel, ruleset(_sound(plan)))
            case request.Update(sets):
                return _update(kernel, sets)
            case request.Release(workload):
                return _release(kernel, table_name(workload))
            case request.Remove(workloads):
                return _remove(kernel, {table_name(workload) for workload in workloads})
            case request.Counters(workload):
                return _counters(kernel, table_name(workload))
            case request.Tables():
                return _tables(kernel)
            case request.Cleanup(spare):
                return _cleanup(kernel, spare)
            case request.Probe():
                return list(_probe(kernel))


def _sound(plan: Any) -> Any:
    wrong = faults(plan)
    if wrong:
        raise NftRefused(Refusal(feature="the plan is wrong", advice="; ".join(wrong)))
    return plan


def _apply(kernel: Conversation, wanted: Ruleset) -> Applied:
    taken = {name for name, comment in _all_tables(kernel) if not comment.startswith(OWNER_TAG)}
    if wanted.table in taken:
        advice = "somebody else made it; rename the workload or the table"
        raise NftRefused(Refusal(feature=f"table {wanted.table}", errno_name="EEXIST", advice=advice))
    failure = kernel.dry_run(message.replaced(wanted))
    if failure is not None:
        # The kernel says which rule, not which expression of it: ask for each alone.
        lacking = [feature for feature in _probe(kernel) if feature.missing]
        refusal = failure.refusal()
        if lacking and refusal.errno_name != "EPERM":
            names = ", ".join(f"{feature.name} ({feature.missing})" for feature in lacking)
            refusal = Refusal(
                feature=refusal.feature, errno_name=refusal.errno_name, advice=f"missing: {names}"
            )
        raise NftRefused(refusal)
    kernel.commit(message.replaced(wanted))
    return _verified(kernel, wanted)


def _verified(kernel: Conversation, wanted: Ruleset) -> Applied:
    rules = [
        (_text(rule, "NFTA_RULE_CHAIN"), _text(rule, "NFTA_RULE_USERDATA"))
        for rule in _rules(kernel, wanted.table)
    ]
    lost = [f"{rule.chain}: {rule.tag}" for rule in wanted.rules if (rule.chain, rule.tag) not in rules]
    if lost or len(rules) != len(wanted.rules):
        advice = f"missing {lost}" if lost else f"has {len(rules)} rules, not {len(wanted.rules)}"
        raise NftRefused(Refusal(feature=f"table {wanted.table} is not as committed", advice=advice))
    elements = 0
    for keys in wanted.sets:
        found = _key_count(kernel, wanted.table, keys.name)
        if found != len(keys.keys):
            advice = f"has {found} keys, not {len(keys.keys)}"
            raise NftRefused(Refusal(feature=f"set {keys.name} is not as committed", advice=advice))
        elements += found
    return Applied(table=wanted.table, rules=len(rules), elements=elements)


def _update(kernel: Conversation, sets: Any) -> int:
    table = table_name(sets.workload)
    wanted: list[KeySet] = []
    if sets.ports is not None:
        wanted.append(port_set("ports", sets.ports))
    if sets.services is not None:
        wanted += service_sets(sets.services)
    steps: list[Message] = []
    for keys in wanted:
        steps += [message.empty_set(table, keys.name), *message.add_keys(table, keys)]
    if steps:
        kernel.commit(steps)
    return sum(len(keys.keys) for keys in wanted)


def _there(kernel: Conversation) -> set[str]:
    return {TABLE_PREFIX + found.workload for found in _tables(kernel)}


def _commit_if_there(kernel: Conversation, table: str, steps: list[Message]) -> bool:
    if table not in _there(kernel):
        return False
    kernel.commit(steps)
    return True


def _remove(kernel: Conversation, tables: set[str]) -> int:
    going = sorted(tables & _there(kernel))
    if going:
        kernel.commit([message.delete_table(table) for table in going])
    return len(going)


def _release(kernel: Conversation, table: str) -> bool:
    # The worker's chain stays as it is, or the kernel would begin to track what it never tracked.
    chains = sorted({_text(rule, "NFTA_RULE_CHAIN") for rule in _rules(kernel, table)} - {"worker"})
    steps: list[Message] = []
    for chain in chains:
        steps += [message.delete_rules(table, chain), message.add_rule(table, released(chain))]
    return _commit_if_there(kernel, table, steps)


def _counters(kernel: Conversation, table: str) -> dict[str, Count]:
    rules = _rules(kernel, table)
    if not rules:
        _absent(kernel, table)
    counts = {}
    for rule in rules:
        for expression in rule.get_attr("NFTA_RULE_EXPRESSIONS") or ():
            if expression.get_attr("NFTA_EXPR_NAME") == "counter":
                count = expression.get_attr("NFTA_EXPR_DATA")
                name = f"{_text(rule, 'NFTA_RULE_CHAIN')}: {_text(rule, 'NFTA_RULE_USERDATA')}"
                counts[name] = Count(
                    count.get_attr("NFTA_COUNTER_PACKETS"), count.get_attr("NFTA_COUNTER_BYTES")
                )
    return counts


def _absent(kernel: Conversation, table: str) -> None:
    if table not in {name for name, _ in _all_tables(kernel)}:
        advice = "somebody removed it (nft flush ruleset?): apply it again"
        raise NftRefused(Refusal(feature=f"table {table}", errno_name="ENOENT", advice=advice))


def _tables(kernel: Conversation) -> list[OwnedTable]:
    return [
        OwnedTable(name.removeprefix(TABLE_PREFIX), comment.removeprefix(OWNER_TAG))
        for name, comment in _all_tables(kernel)
        if name.startswith(TABLE_PREFIX) and comment.startswith(OWNER_TAG)
    ]


def _cleanup(kernel: Conversation, spare: tuple[str, ...]) -> list[str]:
    names = [TABLE_PREFIX + found.workload for found in _tables(kernel) if found.owner not in spare]
    if names:
        kernel.commit([message.delete_table(name) for name in names])
    return names


def _probe(kernel: Conversation) -> Iterator[Feature]:
    table, output, worker = (
        "meshtrio_probe",
        Chain("a", "nat", hook=3, priority=-110),
        Chain("b", "filter", 3, -300),
    )
    tried: tuple[tuple[str, Chain, tuple[x.Expression, ...]], ...] = (
        ("nat in inet tables", output, ()),
        ("counters", output, (x.counter(),)),
        ("socket cgroupv2", output, x.in_cgroup(1, 1)),
        ("fib", output, x.to_this_host()),
        ("sets", output, x.port_in("keys")),
        ("redirect", output, (*x.tcp(), *x.redirect(1))),
        ("dnat of the port alone", output, (*x.tcp(), *x.dnat_port(1))),
        ("notrack", worker, x.untracked()),
        ("conntrack zones", worker, x.to_zone(1)),
    )
    failure = kernel.dry_run([message.add_table(table, OWNER_TAG)])
    yield Feature("nf_tables", failure.refusal().errno_name if failure else "")
    for name, chain, expressions in tried:
        steps = [
            message.add_table(table),
            message.add_chain(table, chain),
            message.add_set(table, port_set("keys", ())),
        ]
        if expressions:
            steps.append(message.add_rule(table, Rule(chain.name, name, expressions)))
        failure = kernel.dry_run(steps)
        yield Feature(name, failure.refusal().errno_name if failure else "")


def _all_tables(kernel: Conversation) -> list[tuple[str, str]]:
    found = kernel.dump(nft.NFT_MSG_GETTABLE, nft.nft_table_msg(), _INET)
    return [(_text(one, "NFTA_TABLE_NAME"), _text(one, "NFTA_TABLE_USERDATA")) for one in found]


def _rules(kernel: Conversation, table: str) -> list[Any]:
    body = RuleMessage()
    body["attrs"] = [("NFTA_RULE_TABLE", table)]
    return kernel.dump(nft.NFT_MSG_GETRULE, body, _INET)


def _key_count(kernel: Conversation, table: str, set_name: str) -> int:
    body = nft.nft_set_elem_list_msg()
    body["attrs"] = [("NFTA_SET_ELEM_LIST_TABLE", table), ("NFTA_SET_ELEM_LIST_SET", set_name)]
    lists = kernel.dump(nft.NFT_MSG_GETSETELEM, body, _INET)
    return sum(len(one.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS") or ()) for one in lists)


def _text(found: Any, attribute: str) -> str:
    return str(found.get_attr(attribute) or "")
