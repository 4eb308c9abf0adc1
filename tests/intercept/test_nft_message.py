"""World. Sets of any size go in whole. Rules are in test_nft_expression.py."""

import pytest

from meshtrio.intercept import nft_message as message
from meshtrio.intercept.nft_message import KEYS_A_MESSAGE
from meshtrio.intercept.nft_rules import port_set, service_sets
from meshtrio.intercept.nft_transaction import Conversation
from tests.support.namespace import Namespace

pytestmark = pytest.mark.world


@pytest.mark.parametrize("count", [0, 1, KEYS_A_MESSAGE, KEYS_A_MESSAGE + 1, 4096])
def test_a_set_of_any_size_goes_in_and_out(count: int) -> None:
    keys = port_set("ports", tuple(range(1, count + 1)))

    def fill() -> None:
        with Conversation() as kernel:
            added = [
                message.add_table("t", "whose"),
                message.add_set("t", keys),
                *message.add_keys("t", keys),
            ]
            kernel.commit(added)

    def empty() -> None:
        with Conversation() as kernel:
            kernel.commit([message.empty_set("t", "ports")])

    with Namespace() as space:
        space.run(fill)
        listing = space.command("nft", "list", "ruleset")
        assert 'comment "whose"' in listing
        _, _, elements = listing.partition("elements = {")
        assert len(elements.partition("}")[0].split(",") if elements else []) == count
        space.run(empty)
        assert "elements" not in space.command("nft", "list", "ruleset")


def test_the_longest_keys_fill_a_message_and_fit() -> None:
    services = tuple(f"[::1]:{port}" for port in range(1, 4097))
    _, v6 = service_sets(services)
    messages = list(message.add_keys("meshtrio_" + "w" * 200, v6))
    assert len(messages) == -(-4096 // KEYS_A_MESSAGE)
    assert max(len(message.encoded(one, 1)) for one in messages) < 65_536


def test_a_replaced_table_is_deleted_first_but_found_before() -> None:
    assert [message.add_table("t").kind, message.delete_table("t").kind] == [0, 2]
