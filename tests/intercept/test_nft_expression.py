"""World. Each expression alone, as the nft command reads it back: two readers of one kernel must agree."""

import pytest

from meshtrio.intercept import marks
from meshtrio.intercept import nft_expression as x
from meshtrio.intercept import nft_message as message
from meshtrio.intercept.nft_rules import Chain, Rule, port_set, service_sets
from meshtrio.intercept.nft_transaction import Conversation
from tests.support.namespace import Namespace
from tests.support.namespace_door import cgroup

pytestmark = pytest.mark.world

CASES: list[tuple[tuple[x.Expression, ...], str]] = [
    (x.mark(marks.OUTBOUND_DIAL), "meta mark 0x4d540100/24"),
    (x.mark(marks.APP_DIAL, equal=False), "meta mark != 0x4d540200/24"),
    (x.tcp(), "meta l4proto tcp"),
    (x.asks_names(6), "tcp dport 53"),
    (x.asks_names(17), "udp dport 53"),
    ((*x.asks_names(17), *x.redirect(15053)), "udp dport 53 redirect to :15053"),
    (x.to_network(b"\x0a\x01\0\0", b"\xff\xff\0\0"), "ip daddr 10.1.0.0/16"),
    (x.to_network(b"\x0a\x01\0\x01", b"\xff\xff\xff\xff"), "ip daddr 10.1.0.1"),
    (x.to_network(b"\xfd\x07" + bytes(14), b"\xff\xff" + bytes(14)), "ip6 daddr fd07::/16"),
    (x.to_this_host(), "fib daddr type local"),
    (x.to_this_host(equal=False), "fib daddr type != local"),
    (x.port_in("ports"), "tcp dport @ports"),
    (x.loopback_not_in("services4", v6=False), "ip daddr 127.0.0.0/8 ip daddr . tcp dport != @services4"),
    (x.loopback_not_in("services6", v6=True), "ip6 daddr ::1 ip6 daddr . tcp dport != @services6"),
    ((x.counter(),), "counter packets 0 bytes 0"),
    ((*x.tcp(), *x.redirect(15002)), "meta l4proto tcp redirect to :15002"),
    ((*x.tcp(), *x.dnat_port(15001)), "meta l4proto tcp dnat to :15001"),
    (x.verdict(x.ACCEPT), "accept"),
    (x.verdict(x.GOTO, "below"), "goto below"),
]


# From 1.0.7 on the command prints masks of marks as what they are.
NEWER = {
    "meta mark 0x4d540100/24": "meta mark & 0xffffff00 == 0x4d540100",
    "meta mark != 0x4d540200/24": "meta mark & 0xffffff00 != 0x4d540200",
}


def listed(space: Namespace, expressions: tuple[x.Expression, ...]) -> str:
    """Return the rule as the nft command prints it."""
    chain = Chain("probe", "nat", hook=3, priority=-110)

    def add() -> None:
        with Conversation() as kernel:
            steps = [
                message.add_table("t"),
                message.add_chain("t", chain),
                message.add_chain("t", Chain("below")),
            ]
            steps += [message.add_set("t", keys) for keys in (port_set("ports", ()), *service_sets(()))]
            kernel.commit([*steps, message.add_rule("t", Rule("probe", "tag", expressions))])

    space.run(add)
    (line,) = (line for line in space.command("nft", "list", "ruleset").splitlines() if "comment" in line)
    return line.strip().removesuffix(' comment "tag"')


@pytest.mark.parametrize(("expressions", "text"), CASES, ids=[text for _, text in CASES])
def test_the_nft_command_reads_what_we_meant(expressions: tuple[x.Expression, ...], text: str) -> None:
    with Namespace() as space:
        assert listed(space, expressions) in (text, NEWER.get(text))


def test_the_nft_command_knows_the_cgroup() -> None:
    with Namespace() as space, cgroup() as group:
        text = listed(space, x.in_cgroup(1, group.stat().st_ino))
    # Where cgroup2 is not mounted at /sys/fs/cgroup itself, the rest of the mount point is printed too.
    assert text.startswith('socket cgroupv2 level 1 "')
    assert text.endswith(f'{group.name}"')


def test_what_holds_conntrack_matches_everything() -> None:
    with Namespace() as space:
        assert listed(space, (*x.tracked(), x.counter())).endswith("counter packets 0 bytes 0")


def test_untracked_stands_in_a_filter_chain() -> None:
    with Namespace() as space:

        def add() -> None:
            with Conversation() as kernel:
                rule = Rule("raw", "tag", x.untracked())
                chain = message.add_chain("t", Chain("raw", "filter", hook=3, priority=-300))
                kernel.commit([message.add_table("t"), chain, message.add_rule("t", rule)])

        space.run(add)
        assert "notrack comment" in space.command("nft", "list", "ruleset")
