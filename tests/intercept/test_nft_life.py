"""World. Tables come, change and go under traffic, and nobody notices."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import trio

from meshtrio.intercept import nft
from meshtrio.intercept.nft_child import act
from meshtrio.intercept.nft_plan import InboundCapture, NftPlan, OutboundCapture, Sets
from meshtrio.intercept.nft_request import Apply, NftRefused, Update
from tests.support.namespace_box import VIP, VIP6, Box, full_box, listing, match, plan_of
from tests.support.namespace_door import Door, cgroup
from tests.support.namespace_program import program

pytestmark = pytest.mark.world


@pytest.fixture
def box() -> Iterator[Box]:
    with full_box() as made:
        yield made


async def test_two_workloads_in_one_namespace_come_and_go_alone(box: Box) -> None:
    before = box.space.command("nft", "list", "tables")
    with Door(box.space, 16002, "second"), cgroup() as group, program(box.space, group) as second:
        await nft.apply(plan_of(box.group), box.space.fd)
        other = NftPlan(
            workload="other", owner="2.2", cgroup=match(group), outbound=OutboundCapture(door=16002)
        )
        await nft.apply(other, box.space.fd)
        assert box.app.dial(VIP, 80, keep="long")["greeting"]["name"] == "outbound"
        assert second.dial(VIP, 80)["greeting"]["name"] == "second"
        assert [(table.workload, table.owner) for table in await nft.tables(box.space.fd)] == [
            ("shop", "1.1"),
            ("other", "2.2"),
        ]
        assert await nft.remove("other", box.space.fd)
        assert second.dial(VIP, 80, patience=0.1) == {"error": "timed out"}
        assert box.app.tell("say", keep="long", text="still here") == {"heard": "still here"}
        assert box.app.dial(VIP, 80)["greeting"]["name"] == "outbound"
    assert await nft.remove("shop", box.space.fd)
    assert not await nft.remove("shop", box.space.fd)
    assert box.space.command("nft", "list", "tables") == before == ""


async def test_applying_again_changes_nothing(box: Box) -> None:
    plan = NftPlan(
        workload="shop",
        owner="1.1",
        cgroup=match(box.group),
        outbound=OutboundCapture(door=15002, services=("127.1.0.1:80", "[::1]:80"), except_ports=(25,)),
        inbound=InboundCapture(door=15001, ports=(8080, 8081)),
        transparent=True,
    )
    first = await nft.apply(plan, box.space.fd)
    once = listing(box.space)
    assert await nft.apply(plan, box.space.fd) == first
    assert listing(box.space) == once
    assert (first.rules, first.elements) == (once.count("counter"), 1 + 1 + 1 + 2 + 3)


async def dialled_during(box: Box, host: str, change: Callable[[int], object]) -> tuple[dict[str, int], int]:
    """Dial 200 times while rules change, at least 50 times; who answered how often, and how many changes."""
    heard: list[dict[str, int]] = []
    changes = 0
    async with trio.open_nursery() as pair:

        async def dial() -> None:
            burst = partial(box.app.tell, "burst", times=200, host=host, port=80)
            heard.append(await trio.to_thread.run_sync(burst))

        pair.start_soon(dial)
        while not heard or changes < 50:
            # On the thread of the namespace: children would leave the rules alone most of the time.
            await trio.to_thread.run_sync(box.space.run, partial(change, changes))
            changes += 1
    return heard[0], changes


@pytest.mark.parametrize("host", [VIP, VIP6, "127.1.0.1"])
async def test_no_connection_is_lost_while_a_plan_is_applied_again(box: Box, host: str) -> None:
    plan = plan_of(box.group, services=("127.1.0.1:80",))
    box.space.run(lambda: act(Apply(plan)))
    heard, _ = await dialled_during(box, host, lambda _: act(Apply(plan)))
    assert heard == {"outbound": 200}


async def test_no_connection_is_lost_while_sets_are_replaced(box: Box) -> None:
    box.space.run(lambda: act(Apply(plan_of(box.group, services=("127.1.0.1:80",)))))

    def change(number: int) -> None:
        for port in range(4):
            services = ("127.1.0.1:80", f"127.1.0.2:{100 + (number + port) % 1000}")
            act(Update(Sets(workload="shop", services=services)))

    heard, _ = await dialled_during(box, "127.1.0.1", change)
    assert heard == {"outbound": 200}


async def test_an_established_connection_survives_applying_again_and_release(box: Box) -> None:
    await nft.apply(plan_of(box.group), box.space.fd)
    for host in (VIP, VIP6):
        box.app.dial(host, 80, keep=host)
    await nft.apply(plan_of(box.group), box.space.fd)
    for host in (VIP, VIP6):
        assert box.app.tell("say", keep=host, text="one") == {"heard": "one"}
    for _ in range(2):
        assert await nft.release("shop", box.space.fd)
    assert box.app.dial(VIP, 80, patience=0.1) == {"error": "timed out"}, "nothing new is caught"
    for host in (VIP, VIP6):
        assert box.app.tell("say", keep=host, text="two") == {"heard": "two"}
    await nft.apply(plan_of(box.group), box.space.fd)
    assert box.app.dial(VIP, 80)["greeting"]["name"] == "outbound"
    assert not await nft.release("nobody", box.space.fd)


async def test_cleanup_takes_ours_and_spares_the_living_and_the_foreign(box: Box) -> None:
    for name, owner in (("one", "1.1"), ("two", "1.1"), ("three", "2.2")):
        plan = NftPlan(workload=name, owner=owner, outbound=OutboundCapture(door=15002))
        await nft.apply(plan, box.space.fd)
    box.space.command("nft", "add table inet meshtrio_theirs; add table inet other; add table ip meshtrio_v4")
    assert await nft.cleanup(box.space.fd, spare=["2.2"]) == ["meshtrio_one", "meshtrio_two"]
    assert await nft.cleanup(box.space.fd) == ["meshtrio_three"]
    assert await nft.cleanup(box.space.fd) == []
    left = box.space.command("nft", "list", "tables").split("\n")
    assert left[:-1] == ["table inet meshtrio_theirs", "table inet other", "table ip meshtrio_v4"]
    with pytest.raises(NftRefused, match=r"meshtrio_theirs \(EEXIST\)"):
        await nft.apply(plan_of(box.group, "theirs"), box.space.fd)


async def test_a_table_that_somebody_flushed_is_missed(box: Box) -> None:
    await nft.apply(plan_of(box.group), box.space.fd)
    box.space.command("nft", "flush", "ruleset")
    with pytest.raises(NftRefused, match=r"meshtrio_shop \(ENOENT\): somebody removed it"):
        await nft.counters("shop", box.space.fd)
    with pytest.raises(NftRefused, match="ENOENT"):
        await nft.update(Sets(workload="shop", services=()), box.space.fd)
