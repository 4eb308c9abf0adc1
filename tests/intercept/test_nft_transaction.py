"""World. All or nothing, and the kernel's no has a name."""

import subprocess
import sys
from pathlib import Path

import pytest

from meshtrio.intercept import nft_expression as x
from meshtrio.intercept import nft_message as message
from meshtrio.intercept.nft_message import Message, RuleMessage
from meshtrio.intercept.nft_request import NftRefused
from meshtrio.intercept.nft_rules import Chain, Rule, port_set
from meshtrio.intercept.nft_transaction import Conversation, Failure
from tests.support.namespace import Namespace

pytestmark = pytest.mark.world

TABLE = message.add_table("t")
CHAIN = message.add_chain("t", Chain("c", "nat", hook=3, priority=-110))


def rule(*expressions: x.Expression) -> Message:
    return message.add_rule("t", Rule("c", "the rule", expressions))


def commit(space: Namespace, *steps: Message) -> None:
    def job() -> None:
        with Conversation() as kernel:
            kernel.commit(steps)

    space.run(job)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([TABLE, CHAIN, rule(*x.port_in("nothing"))], r'rule "the rule" \(ENOENT\)'),
        ([TABLE, CHAIN, rule(("nonsense", {}))], r'rule "the rule" \(ENOENT\)'),
        (
            [TABLE, CHAIN, rule(("socket", {"DREG": 8, "KEY": 99}))],
            r'rule "the rule" \(EOPNOTSUPP\).*cgroupv2 needs 5.13',
        ),
        (
            [TABLE, message.add_chain("t", Chain("c", "magic", hook=3, priority=0))],
            r"magic chain c .*\(ENOENT\)",
        ),
        ([message.delete_table("t")], r"deleting table t \(ENOENT\)"),
        ([TABLE, message.empty_set("t", "s")], r"emptying set s of t \(ENOENT\)"),
        (
            [TABLE, message.add_set("t", port_set("s", ())), message.add_set("t", port_set("s", ()))],
            "EEXIST",
        ),
    ],
)
def test_the_message_that_is_refused_is_named_and_nothing_is_done(steps: list[Message], words: str) -> None:
    with Namespace() as space:
        with pytest.raises(NftRefused, match=words):
            commit(space, *steps, CHAIN)
        assert space.command("nft", "list", "ruleset") == ""


def test_a_dry_run_says_the_same_and_does_nothing() -> None:
    def ask(*steps: Message) -> Failure | None:
        with Conversation() as kernel:
            return kernel.dry_run(steps)

    with Namespace() as space:
        assert space.run(lambda: ask(TABLE, CHAIN, rule(x.counter()))) is None
        failure = space.run(lambda: ask(TABLE, CHAIN, rule(*x.port_in("nothing"))))
        assert failure is not None
        assert failure.refusal().errno_name == "ENOENT"
        assert space.command("nft", "list", "ruleset") == ""


def test_an_empty_transaction_is_done_at_once() -> None:
    with Namespace() as space:
        commit(space)


def test_a_conversation_goes_on_after_a_refusal() -> None:
    def job() -> int:
        with Conversation() as kernel:
            with pytest.raises(NftRefused):
                kernel.commit([message.delete_table("t")])
            kernel.commit([TABLE, CHAIN, rule(x.counter()), rule(x.counter())])
            body = RuleMessage()
            body["attrs"] = [("NFTA_RULE_TABLE", "t")]
            return len(kernel.dump(7, body, 1))

    with Namespace() as space:
        assert space.run(job) == 2


def test_without_the_capability_the_refusal_says_which() -> None:
    """pyroute2's own transaction waits for ever here."""
    text = (
        "from meshtrio.intercept.nft_transaction import Conversation\n"
        "from meshtrio.intercept import nft_message as message\n"
        "import os; os.setuid(65534)\n"
        "with Conversation() as kernel: print(kernel.dry_run([message.add_table('t')]).refusal())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=30, cwd=Path.cwd(), check=True
    )
    assert done.stdout.startswith("nf_tables (EPERM): needs CAP_NET_ADMIN")
