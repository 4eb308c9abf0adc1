"""World. The way of a connection where there is a choice: endpoints that fail, and limits."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from meshtrio.address import Address
from meshtrio.balance.ports import Ports
from meshtrio.config.schema import Limits, Timeouts
from meshtrio.config.traffic import Retries, Traffic
from meshtrio.messages import Resolved
from meshtrio.outcome import Outcome
from tests.support.scene import QUICK, on_its_way, only_ending, recorded, scene
from tests.support.worker_side import VIP, found, is_reset, refusing, serving, silent, talk

pytestmark = pytest.mark.kernel


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    with recorded() as seen:
        yield seen


@pytest.mark.parametrize("start", [0, 1, 2])
async def test_a_refusal_leads_to_the_next_endpoint_in_turn(
    start: int, records: list[dict[str, Any]]
) -> None:
    async with scene() as made, serving() as two, serving() as zero:
        made.site.ports = Ports(made.site.breakers.of, start=start, luck=made.site.luck)
        with refusing() as one:
            made.catalog[VIP] = found(zero, one, two)
            reached = [zero, two, two][start]
            async with on_its_way(made) as client:
                assert await talk(client, b"hello") == b"hello"
        ended = only_ending(made, records)
    assert (ended.outcome, ended.endpoint) == (Outcome.CARRIED, str(reached))


async def test_silence_leads_to_the_next_endpoint(records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        with silent() as one:
            made.catalog[VIP] = found(one, server)
            async with on_its_way(made) as client:
                assert await talk(client, b"hello") == b"hello"
        assert only_ending(made, records).endpoint == str(server)


async def test_each_endpoint_is_tried_and_the_last_word_is_told(records: list[dict[str, Any]]) -> None:
    async with scene() as made:
        made.configure(traffic=Traffic(retries=Retries(attempts=1)))
        with refusing() as one, refusing() as other:
            made.catalog[VIP] = found(one, other)
            async with on_its_way(made) as client:
                assert await is_reset(client)
            ended = only_ending(made, records)
            assert ended.endpoint == str(other)
            why = "tried 2 times, as traffic.retries.attempts allows"
            assert ended.detail == f"cannot connect to {other}: Connection refused ({why})"


async def test_all_tries_together_have_one_deadline(records: list[dict[str, Any]]) -> None:
    async with scene() as made:
        with contextlib.ExitStack() as stack:
            made.catalog[VIP] = found(*(stack.enter_context(silent()) for _ in range(8)))
            async with on_its_way(made) as client:
                assert await is_reset(client)
            ended = only_ending(made, records)
    assert QUICK.connect_s <= ended.lasted_s < 0.75, "eight tries would take 0.8 s"
    assert "no endpoint answered within 0.25 s" in ended.detail


async def test_an_endpoint_that_cannot_be_dialled_at_all_is_a_failure(records: list[dict[str, Any]]) -> None:
    """No route, no permission: told by connect() itself."""
    async with scene() as made, serving() as server:
        made.catalog[VIP] = found(Address.of("255.255.255.255", 80), server)
        async with on_its_way(made) as client:
            assert await talk(client, b"hello") == b"hello"
        assert only_ending(made, records).endpoint == str(server)


async def test_an_endpoint_that_is_a_door_is_left_out(records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        made.catalog[VIP] = found(made.at, server)
        async with on_its_way(made) as client:
            assert await talk(client, b"hello") == b"hello"
        only_ending(made, records)
        made.catalog[VIP] = found(made.at)
        made.site.interest.learn(Resolved(VIP, made.catalog[VIP]))
        records.clear()
        async with on_its_way(made) as client:
            assert await is_reset(client)
        assert only_ending(made, records).outcome is Outcome.LOOP


# Limits


@pytest.mark.parametrize("which", ["connections", "pending", "per_workload"])
async def test_beyond_a_limit_one_is_refused_and_the_others_go_on(
    which: str, records: list[dict[str, Any]]
) -> None:
    async with scene() as made, serving() as server:
        made.configure(limits=Limits(**{which: 1}))
        # For `pending` the first one must not be connected yet.
        with silent() as nobody:
            made.configure(timeouts=Timeouts())
            made.catalog[VIP] = found(nobody if which == "pending" else server)
            async with on_its_way(made) as first:
                if which == "pending":
                    while not made.site.pending:
                        await trio.sleep(0.001)
                else:
                    await first.send_all(b"x")
                    assert await first.receive_some() == b"x"
                kept, scope = made.client, made.scope
                async with on_its_way(made) as second:
                    assert await is_reset(second)
                assert [record["outcome"] for record in records] == ["limit"]
                assert f".{which}" in records[0]["detail"]
                assert kept is not None
                assert kept.fileno() >= 0
                assert len(made.site.ledger) == 1
                scope.cancel()
                await first.aclose()
        # The place is free again.
        made.catalog[VIP] = found(server)
        made.site.interest.learn(Resolved(VIP, made.catalog[VIP]))
        async with on_its_way(made) as third:
            assert await talk(third, b"hello") == b"hello"
    assert sorted(record["outcome"] for record in records) == ["carried", "drained", "limit"]
