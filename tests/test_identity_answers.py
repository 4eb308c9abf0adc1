"""Ring 2. What is said of identities: rows, the section of status, and numbers."""

import pytest
import trio
from trio.testing import MockClock

from meshtrio.identity_answers import IdentityAnswers, gauges, section
from meshtrio.issuers.issuer import IssueError
from meshtrio.messages import Connection, Live
from tests.support.bearers import WEB, Node, living
from tests.support.identities import DAY_S, NOW


@pytest.fixture
def node() -> Node:
    return Node()


async def test_a_row_says_how_it_stands(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        await node.enter()
        (row,) = await IdentityAnswers(node.identities).certificates()
        assert 0.58 * DAY_S < row.pop("renews_at") - NOW < 0.68 * DAY_S  # type: ignore[operator]
        assert row == {
            "workload": "web",
            "workload_id": 1,
            "spiffe_id": WEB,
            "state": "fresh",
            "serves": True,
            "serial": f"{node.clerk.made[0].serial:x}",
            "not_before": NOW - 300,
            "not_after": NOW + DAY_S,
            "source": "clerk",
            "rotations": 1,
            "failures": 0,
            "error": "",
            "connections": 0,
        }


async def test_a_row_counts_the_connections_that_are_secured(autojump_clock: MockClock, node: Node) -> None:
    async def live() -> list[tuple[None, Live]]:
        told = (("web", "TLSv1.3"), ("web", "kernel"), ("web", ""), ("cart", "TLSv1.3"), ("gone", "TLSv1.3"))
        listed = [
            Connection(id=1, direction="inbound", workload=who, source="", destination="", began=0, tls=tls)
            for who, tls in told
        ]
        return [(None, Live(1, listed[:2])), (None, Live(1, listed[2:]))]

    async with living(node):
        await node.enter()
        await node.enter(2, "cart")
        rows = await IdentityAnswers(node.identities, live).certificates()
        assert {row["workload"]: row["connections"] for row in rows} == {"web": 2, "cart": 1}


async def test_a_row_without_certificate(autojump_clock: MockClock, node: Node) -> None:
    node.clerk.down = "no answer"
    async with living(node):
        await node.enter()
        (row,) = await IdentityAnswers(node.identities).certificates()
        assert (row["state"], row["serial"], row["not_after"], row["error"]) == ("none", "", 0.0, "no answer")
        assert (row["serves"], row["failures"]) == (False, 1)


async def test_status_counts_and_complains(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        await node.enter()
        node.clerk.down = "no answer"
        await node.enter(2, "cart")
        said = section(node.identities)
        assert (said["workloads"], said["without_certificate"]) == (2, 1)
        assert (said["states"], said["roots"], said["fault"]) == ({"fresh": 1, "none": 1}, {"td": 1}, "")


def test_status_without_identities() -> None:
    said = section(Node(source="off").identities)
    assert (said["source"], said["roots"], said["workloads"], said["revoked"]) == ("off", {}, 0, 0)
    assert IdentityAnswers(Node(source="off").identities).bundle() == b'{"keys":[]}'


async def test_numbers(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        await node.enter()
        node.clerk.down = "no answer"
        await node.identities.rotate()
        await trio.sleep(2 * DAY_S - trio.current_time())
        found = {(one.name, *one.labels.values()): one.value for one in gauges(node.identities)}
        assert found["meshtrio_certificate_expiry_seconds", "web"] == pytest.approx(-DAY_S, abs=2)
        assert found["meshtrio_certificate_rotations_total", "web", "issued"] == 1
        assert found["meshtrio_certificate_rotations_total", "web", "failed"] > 100


async def test_the_root_is_rotated_or_not(autojump_clock: MockClock, node: Node) -> None:
    async with living(node):
        await node.enter()
        answers = IdentityAnswers(node.identities)
        with pytest.raises(IssueError):
            await answers.rotate((), root=True)

        async def another() -> str:
            await trio.sleep(1)
            return "abc"

        node.clerk.rotate_root = another  # type: ignore[attr-defined]
        told = await answers.rotate((), root=True)
        assert told["root"] == "abc"
        assert len(node.clerk.made) == 2, "everybody gets another one"
