"""Shell. Our tables as pyroute2's netlink messages, with the encodings that pyroute2 lacks. Does not send
anything.

Imported by the netlink child alone (it costs 24 MB). pyroute2 0.9.7 has no attribute for the level of
`socket cgroupv2` and encodes the result of `fib` as a bit instead of a number; both are added here.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pyroute2.netlink import NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg
from pyroute2.netlink.nfnetlink import nftsocket as nft

from meshtrio.intercept.nft_expression import Expression
from meshtrio.intercept.nft_rules import Chain, KeySet, Rule, Ruleset

SUBSYSTEM = NFNL_SUBSYS_NFTABLES << 8
BEGIN, END = 0x10, 0x11

KEYS_A_MESSAGE = 500
"""An attribute has at most 65,535 bytes; a key takes up to 36."""

_ADD = NLM_F_CREATE | NLM_F_APPEND


class _OurExpressions(nft.nft_contains_expr):  # type: ignore[misc]
    class nft_expr(nft.nft_contains_expr.nft_expr):  # type: ignore[misc]  # noqa: N801 (pyroute2 finds it by this name)
        class nft_socket(nft.nft_regs):  # type: ignore[misc]  # noqa: N801
            nla_map = (
                ("NFTA_SOCKET_UNSPEC", "none"),
                ("NFTA_SOCKET_KEY", "be32"),
                ("NFTA_SOCKET_DREG", "regs"),
                ("NFTA_SOCKET_LEVEL", "be32"),
            )

        class nft_fib(nft.nft_regs):  # type: ignore[misc]  # noqa: N801
            nla_map = (
                ("NFTA_FIB_UNSPEC", "none"),
                ("NFTA_FIB_DREG", "regs"),
                ("NFTA_FIB_RESULT", "be32"),
                ("NFTA_FIB_FLAGS", "be32"),
            )


class RuleMessage(_OurExpressions, nft.nft_rule_msg):  # type: ignore[misc]
    """A rule, as sent and as dumped."""


class Message(NamedTuple):
    """One message of a transaction, and what it is about in words."""

    about: str
    kind: int
    flags: int
    body: Any


def frame(kind: int, sequence: int) -> bytes:
    """Return the message that begins or ends a transaction."""
    message = nfgen_msg()
    message["res_id"] = NFNL_SUBSYS_NFTABLES
    return _encoded(message, kind, flags=NLM_F_REQUEST, sequence=sequence)


def encoded(message: Message, sequence: int, *, more_flags: int = 0) -> bytes:
    """Return the bytes of a message."""
    message.body["nfgen_family"] = nft.NFPROTO_INET
    flags = NLM_F_REQUEST | message.flags | more_flags
    return _encoded(message.body, SUBSYSTEM | message.kind, flags=flags, sequence=sequence)


def _encoded(body: Any, kind: int, *, flags: int, sequence: int) -> bytes:
    body["header"].update({"type": kind, "flags": flags, "sequence_number": sequence, "pid": 0})
    body.reset()
    body.encode()
    return bytes(body.data)


def replaced(rules: Ruleset) -> Iterator[Message]:
    """Yield the messages that make the table be exactly this, whatever it was."""
    yield add_table(rules.table)  # for the deletion to find something
    yield delete_table(rules.table)
    yield add_table(rules.table, rules.comment)
    for chain in rules.chains:
        yield add_chain(rules.table, chain)
    for keys in rules.sets:
        yield add_set(rules.table, keys)
        yield from add_keys(rules.table, keys)
    for rule in rules.rules:
        yield add_rule(rules.table, rule)


def add_table(table: str, comment: str = "") -> Message:
    """Add a table, or find it there."""
    attributes: list[Any] = [("NFTA_TABLE_NAME", table)]
    if comment:
        attributes.append(("NFTA_TABLE_USERDATA", comment))
    return Message(
        f"table {table}", nft.NFT_MSG_NEWTABLE, NLM_F_CREATE, _with(nft.nft_table_msg(), attributes)
    )


def delete_table(table: str) -> Message:
    """Delete a table with all that is in it."""
    attributes = [("NFTA_TABLE_NAME", table)]
    return Message(f"deleting table {table}", nft.NFT_MSG_DELTABLE, 0, _with(nft.nft_table_msg(), attributes))


def add_chain(table: str, chain: Chain) -> Message:
    """Add a chain, and its hook if it has one."""
    attributes: list[Any] = [("NFTA_CHAIN_TABLE", table), ("NFTA_CHAIN_NAME", chain.name)]
    if chain.kind:
        hook = [("NFTA_HOOK_HOOKNUM", chain.hook), ("NFTA_HOOK_PRIORITY", chain.priority)]
        attributes += [("NFTA_CHAIN_HOOK", {"attrs": hook}), ("NFTA_CHAIN_POLICY", 1)]
        attributes.append(("NFTA_CHAIN_TYPE", chain.kind))
    about = f"{chain.kind} chain {chain.name} in an inet table".lstrip()
    return Message(about, nft.NFT_MSG_NEWCHAIN, _ADD, _with(nft.nft_chain_msg(), attributes))


def add_set(table: str, keys: KeySet) -> Message:
    """Add a set without its keys."""
    attributes = [
        ("NFTA_SET_TABLE", table),
        ("NFTA_SET_NAME", keys.name),
        ("NFTA_SET_FLAGS", ()),
        ("NFTA_SET_KEY_TYPE", keys.key_type),
        ("NFTA_SET_KEY_LEN", keys.key_bytes),
        ("NFTA_SET_ID", 1),
    ]
    flags = NLM_F_CREATE | NLM_F_EXCL
    return Message(f"set {keys.name}", nft.NFT_MSG_NEWSET, flags, _with(nft.nft_set_msg(), attributes))


def add_keys(table: str, keys: KeySet) -> Iterator[Message]:
    """Yield the messages that add the keys of a set."""
    for start in range(0, len(keys.keys), KEYS_A_MESSAGE):
        elements = [
            {"attrs": [("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", key)]})]}
            for key in keys.keys[start : start + KEYS_A_MESSAGE]
        ]
        attributes = [*_of_set(table, keys.name), ("NFTA_SET_ELEM_LIST_ELEMENTS", elements)]
        body = nft.nft_set_elem_list_msg()
        yield Message(
            f"keys of set {keys.name}", nft.NFT_MSG_NEWSETELEM, NLM_F_CREATE, _with(body, attributes)
        )


def empty_set(table: str, set_name: str) -> Message:
    """Take all keys out of a set."""
    body = nft.nft_set_elem_list_msg()
    about = f"emptying set {set_name} of {table}"
    return Message(about, nft.NFT_MSG_DELSETELEM, 0, _with(body, _of_set(table, set_name)))


def add_rule(table: str, rule: Rule) -> Message:
    """Add a rule at the end of its chain."""
    attributes = [
        ("NFTA_RULE_TABLE", table),
        ("NFTA_RULE_CHAIN", rule.chain),
        ("NFTA_RULE_EXPRESSIONS", [_expression(one) for one in rule.expressions]),
        ("NFTA_RULE_USERDATA", rule.tag),
    ]
    return Message(f'rule "{rule.tag}"', nft.NFT_MSG_NEWRULE, _ADD, _with(RuleMessage(), attributes))


def delete_rules(table: str, chain: str) -> Message:
    """Delete all rules of a chain; the chain and its hook stay."""
    about = f"emptying chain {chain} of {table}"
    attributes = [("NFTA_RULE_TABLE", table), ("NFTA_RULE_CHAIN", chain)]
    return Message(about, nft.NFT_MSG_DELRULE, 0, _with(RuleMessage(), attributes))


def _with(body: Any, attributes: list[Any]) -> Any:
    body["attrs"] = attributes
    return body


def _of_set(table: str, set_name: str) -> list[Any]:
    return [("NFTA_SET_ELEM_LIST_TABLE", table), ("NFTA_SET_ELEM_LIST_SET", set_name)]


def _expression(expression: Expression) -> dict[str, Any]:
    name, values = expression
    prefix = f"NFTA_{name.upper()}_"
    if "VERDICT" in values:
        verdict = [("NFTA_VERDICT_CODE", values["VERDICT"])]
        if values["CHAIN"]:
            verdict.append(("NFTA_VERDICT_CHAIN", values["CHAIN"]))
        inner = {"attrs": [("NFTA_DATA_VERDICT", {"attrs": verdict})]}
        data: list[Any] = [(prefix + "DREG", values["DREG"]), (prefix + "DATA", inner)]
    elif name == "lookup":
        flags = ("NFT_LOOKUP_F_INV",) if values["FLAGS"] else ()
        data = [(prefix + key, flags if key == "FLAGS" else value) for key, value in values.items()]
    else:
        data = [(prefix + key, _value(value)) for key, value in values.items()]
    attributes: list[Any] = [("NFTA_EXPR_NAME", name)]
    if data:
        attributes.append(("NFTA_EXPR_DATA", {"attrs": data}))
    return {"attrs": attributes}


def _value(value: int | bytes | str) -> Any:
    return {"attrs": [("NFTA_DATA_VALUE", value)]} if isinstance(value, bytes) else value
