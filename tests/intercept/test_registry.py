"""World. Workloads added, shared, removed, failed and adopted, in real namespaces and cgroups."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from meshtrio.address import Address
from meshtrio.intercept import cgroup as groups
from meshtrio.intercept.capture import Surroundings
from meshtrio.intercept.kernel import Kernel, pinned_folders
from meshtrio.intercept.tables import Ports
from meshtrio.intercept.workload import Spec, WorkloadError, read_list
from tests.intercept.hooks import another, foreign
from tests.intercept.node import (
    ELSEWHERE,
    HERE,
    RUNGS,
    VIP,
    VIP6,
    Place,
    a_place,
    another_place,
    caught_inbound,
    listen,
    node,
    path_of,
    remains,
)
from tests.support.namespace import Namespace
from tests.support.namespace_door import cgroup
from tests.support.world import our_cgroup, unique

pytestmark = [pytest.mark.kernel, pytest.mark.world]

each_rung = pytest.mark.parametrize("rung", RUNGS)
EXCLUSIVE = 0


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


@each_rung
async def test_a_workload_is_caught_until_it_is_removed(rung: str, kernel: Kernel, place: Place) -> None:
    async with node(kernel, rung=rung, show_callers=True) as made:
        listen(place, 8080)
        shop = await made.registry.add(place.spec())
        assert (shop.rung, len(made.registry), made.registry.get("shop")) == (rung, 1, shop)
        assert sorted(door.direction for door in made.doors().values()) == ["inbound", "outbound"]
        assert {(door.rung, door.workload.name) for door in made.doors().values()} == {(rung, "shop")}
        assert place.caught(shop, VIP) == Address.of(VIP, 80)
        assert place.caught(shop, VIP6) == Address.of(VIP6, 80)
        assert caught_inbound(shop, place.space, HERE, 8080) == Address.of(HERE, 8080)
        assert place.remains() != []
        with place.space.bound(ELSEWHERE, 80):
            assert place.caught(shop, ELSEWHERE) == Address.of(ELSEWHERE, 80)
            gone = await made.registry.catch_no_more("shop")
            assert gone is shop
            assert made.registry.get("shop") is None
            assert place.caught(shop, ELSEWHERE) is None
            assert caught_inbound(shop, place.space, HERE, 8080) is None
            assert len(made.doors()) == 2, "connections that came through still need them"
        assert await made.registry.remove(shop)
        assert place.remains() == []


async def test_who_leaves_is_told_of_while_its_hooks_are_there(kernel: Kernel, place: Place) -> None:
    """So nobody is sent there who would find that it is known no more."""
    async with node(kernel) as made:
        listen(place, 8080)
        shop = await made.registry.add(place.spec())
        ports, told = Ports(kernel.maps["ports"]), list[object]()

        def listener() -> int | None:
            return ports.listener(shop.site.netns.id, 8080)

        made.registry.leaving = lambda number: told.append((number, listener(), list(made.registry)))
        await made.registry.catch_no_more("shop")
        assert told == [(shop.id, shop.id, [])]
        assert listener() is None
        await made.registry.remove(shop)
        assert len(told) == 1


@each_rung
async def test_all_are_let_go_at_once_and_the_list_says_so(
    rung: str, kernel: Kernel, place: Place, tmp_path: Path
) -> None:
    async with node(kernel, rung=rung) as made:
        path = made.registry.list_path = tmp_path / "list"
        shop = await made.registry.add(place.spec())
        assert [one.spec.name for one in read_list(path)] == ["shop"]
        assert await made.registry.catch_nobody() == [shop]
        assert (len(made.registry), read_list(path), made.registry.list_path) == (0, [], path)
        with place.space.bound(ELSEWHERE, 80):
            assert place.caught(shop, ELSEWHERE) is None
        assert await made.registry.remove(shop)
        assert place.remains() == []


@each_rung
async def test_two_in_one_namespace_do_not_disturb_each_other(
    rung: str, kernel: Kernel, place: Place
) -> None:
    async with node(kernel, rung=rung) as made:
        with another_place(place.space) as other:
            listen(place, 8080)
            listen(other, 8081)
            shop = await made.registry.add(place.spec())
            till = await made.registry.add(other.spec("till"))
            assert shop.site is till.site
            assert shop.capture.outbound.port != till.capture.outbound.port
            assert len(made.doors()) == (3 if rung == "ebpf" else 4), "on eBPF the inbound doors are shared"
            assert place.caught(shop, VIP) == other.caught(till, VIP) == Address.of(VIP, 80)
            assert caught_inbound(till, place.space, HERE, 8081) == Address.of(HERE, 8081)
            await made.take_away("shop")
            assert other.caught(till, VIP) == Address.of(VIP, 80)
            assert caught_inbound(till, place.space, HERE, 8081) == Address.of(HERE, 8081)
            assert caught_inbound(till, place.space, HERE, 8080) is None
            again = await made.registry.add(place.spec())
            assert again.id not in (shop.id, till.id)
            assert place.caught(again, VIP) == Address.of(VIP, 80)
            for name in ("shop", "till"):
                await made.take_away(name)
            assert place.remains() == other.remains() == []


async def test_who_comes_while_the_last_one_is_seen_off_is_caught_inbound(
    kernel: Kernel, place: Place
) -> None:
    async with node(kernel) as made:
        with another_place(place.space) as other:
            listen(other, 8081)
            await made.registry.add(place.spec())
            shop = await made.registry.catch_no_more("shop")
            till = await made.registry.add(other.spec("till"))
            assert caught_inbound(till, place.space, HERE, 8081) == Address.of(HERE, 8081)
            assert await made.registry.remove(shop)
            assert caught_inbound(till, place.space, HERE, 8081) == Address.of(HERE, 8081)


@each_rung
def test_without_a_cgroup_one_is_made_in_the_own_namespace(rung: str, kernel: Kernel) -> None:
    name = unique("made")

    async def in_its_own_namespace() -> None:
        async with node(kernel, rung=rung) as made:
            shop = await made.registry.add(Spec(name=name))
            assert shop.cgroup == our_cgroup(name)
            assert shop.made_cgroup
            assert shop.site.netns.is_own
            with contextlib.suppress(OSError):
                await made.take_away(name)

    with Namespace() as space:
        space.run(lambda: trio.run(in_its_own_namespace))
        assert remains(space) == []
    assert not our_cgroup(name).exists()


async def test_a_cgroup_that_is_still_in_use_stays(kernel: Kernel, place: Place) -> None:
    mine = our_cgroup(unique("busy"))
    mine.mkdir(parents=True)
    groups.enter(mine, place.app.pid)
    async with node(kernel) as made:
        await made.registry.add(Spec(name="busy", cgroup=str(mine), netns=path_of(place.space)))
        shop = await made.registry.catch_no_more("busy")
        assert await made.registry.remove(shop) is False
    groups.enter(place.group, place.app.pid)
    assert groups.remove(mine)


# Refused


@each_rung
@pytest.mark.parametrize("port", [15001, 15002])
async def test_a_taken_port_leaves_nothing(rung: str, port: int, kernel: Kernel, place: Place) -> None:
    name = unique("late")
    async with node(kernel, rung=rung, any_port=False, outbound_port=15002, inbound_port=15001) as made:
        with place.space.bound("", port):
            with pytest.raises(
                WorkloadError, match=f"workload shop: port {port} is taken by another process"
            ):
                await made.registry.add(place.spec())
            assert place.remains() == []
            assert made.doors() == {}
            assert made.names() == {}
        assert len(made.registry) == 0
        await made.registry.add(place.spec())
    assert not our_cgroup(name).exists()


@each_rung
async def test_a_cgroup_that_was_made_for_a_failure_is_removed(rung: str, kernel: Kernel) -> None:
    name = unique("doomed")
    with Namespace() as space, space.bound("", 15002):

        async def fail() -> None:
            async with node(kernel, rung=rung, any_port=False, outbound_port=15002) as made:
                with pytest.raises(WorkloadError, match="15002 is taken"):
                    await made.registry.add(Spec(name=name))

        space.run(lambda: trio.run(fail))
        assert remains(space) == []
    assert not our_cgroup(name).exists()


async def test_an_exclusive_program_above_leads_to_the_next_rung(kernel: Kernel, place: Place) -> None:
    with (
        cgroup() as parent,
        foreign(parent, EXCLUSIVE),
        cgroup(parent) as below,
        contextlib.ExitStack() as undo,
    ):
        undo.callback(groups.enter, place.group, place.app.pid)
        groups.enter(below, place.app.pid)
        listen(place, 8080)
        spec = Spec(name="shop", cgroup=str(below), netns=path_of(place.space))
        async with node(kernel, rung="ebpf") as strict:
            with pytest.raises(WorkloadError, match=rf"(?s)workload shop: .*{parent.name}"):
                await strict.registry.add(spec)
            assert place.remains() == []
        async with node(kernel, any_port=False, outbound_port=15002, inbound_port=15001) as made:
            shop = await made.registry.add(spec)
            assert shop.rung == "nft"
            assert parent.name in shop.why
            assert "exclusive" in shop.why
            assert not [line for line in place.remains() if line.startswith("lookup")]
            assert made.names() == {}
            assert place.caught(shop, VIP) == Address.of(VIP, 80)
            for host in (HERE, "127.0.0.1"):
                assert caught_inbound(shop, place.space, host, 8080) == Address.of(host, 8080)
        assert place.remains() == []


async def test_what_is_no_workload_is_refused_in_words(kernel: Kernel, place: Place) -> None:
    async with node(kernel) as made:
        add = made.registry.add
        await add(place.spec("here"))
        told = len(made.told)
        for spec, words in (
            (place.spec("here"), "here already"),
            (place.spec(".."), "no DNS label"),
            (place.spec("shop", ports=(0,)), "port 0"),
            (Spec(name="shop", netns="/run/netns/nobody"), "cannot open network namespace /run/netns/nobody"),
            (Spec(name="shop", netns="/dev/null"), "/dev/null is not a network namespace"),
            (Spec(name="shop", cgroup="/nobody"), "not a cgroup v2"),
            (Spec(name="shop", cgroup="/../etc"), "not a cgroup v2"),
            (Spec(name="shop", cgroup="/"), "the root cgroup holds the agent itself"),
            (Spec(name="shop", cgroup=str(groups.mount_point())), "the root cgroup holds the agent itself"),
        ):
            with pytest.raises(WorkloadError, match=words):
                await add(spec)
        with pytest.raises(WorkloadError, match="workload shop is not known"):
            await made.registry.catch_no_more("shop")
        assert len(made.told) == told
        assert [one.spec.name for one in made.registry] == ["here"]


async def test_the_cgroup_of_the_agent_itself_is_refused(kernel: Kernel) -> None:
    with cgroup() as group:
        groups.enter(group)
        try:
            async with node(kernel) as made:
                with pytest.raises(WorkloadError, match="holds meshtrio itself"):
                    await made.registry.add(Spec(name="shop", cgroup=str(group)))
        finally:
            groups.enter(groups.mount_point())


@pytest.mark.parametrize("after_s", [0.1, 0.3, 0.6])
async def test_cancelled_while_adding_nothing_is_left(after_s: float, kernel: Kernel, place: Place) -> None:
    async with node(kernel, rung="nft", show_callers=True) as made:
        made.catcher.surroundings = Surroundings(vips=("10.96.0.10/32",))
        with trio.move_on_after(after_s) as scope:
            await made.registry.add(place.spec())
        if scope.cancelled_caught:
            assert len(made.registry) == 0
            assert place.remains() == []
            assert made.doors() == {}


async def test_cancelled_when_the_rules_are_there_already_they_go(kernel: Kernel, place: Place) -> None:
    async with node(kernel, rung="nft") as made:
        for _ in range(5):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as both:
                    both.start_soon(made.registry.add, place.spec())
                    while not place.space.command("nft", "list", "tables"):
                        await trio.sleep(0.002)
                    scope.cancel()
            if len(made.registry) == 0:
                break
            await made.take_away("shop")
        assert len(made.registry) == 0
        assert place.remains() == []
        assert made.doors() == {}


async def test_rules_do_not_come_back_while_they_are_removed(kernel: Kernel) -> None:
    with a_place(routed=False) as place:
        async with node(kernel, rung="nft") as made:
            await made.registry.add(place.spec())
            # Routes come first, so these rules would be set when the others have gone.
            made.catcher.surroundings = Surroundings(outbound_ports=(25,), vips=(f"{VIP}/32",))
            async with trio.open_nursery() as both:
                both.start_soon(made.registry.refresh)
                await trio.sleep(0.02)
                await made.take_away("shop")
            assert place.remains() == []


# Adopted


async def test_a_successor_finds_what_is_on_the_list(
    kernel: Kernel, place: Place, bpffs: Path, tmp_path: Path
) -> None:
    with another(kernel, bpffs) as first:
        async with node(first) as crashed:
            crashed.registry.list_path = tmp_path / "workloads.json"
            shop = await crashed.registry.add(place.spec(ports=(9000,)))
            crashed.registry.let_go()
            crashed.registry._workloads.clear()  # it has crashed: nobody takes anything away
            crashed.registry._sites.clear()
            crashed.told.clear()
    assert place.remains() != [], "what is pinned goes on catching"
    with another(kernel, bpffs) as second:
        async with node(second) as made:
            made.registry.list_path = tmp_path / "workloads.json"
            assert await made.registry.adopt() == []
            [adopted] = made.registry
            assert (adopted.id, adopted.rung, adopted.spec.ports) == (shop.id, "ebpf", (9000,))
            made.beat()
            assert place.caught(adopted, VIP) == Address.of(VIP, 80)
            with another_place(place.space) as other:
                till = await made.registry.add(other.spec("till"))
                assert till.id > adopted.id
                assert {kept.spec.name for kept in read_list(made.registry.list_path)} == {"shop", "till"}
                await made.take_away("till")
        assert place.remains() == []
        assert read_list(tmp_path / "workloads.json") == []
        assert list(pinned_folders(bpffs, "links")) == list(pinned_folders(bpffs, "netns")) == []
        second.unpin()


async def test_what_a_predecessor_had_on_the_other_rung_goes(
    kernel: Kernel, place: Place, tmp_path: Path
) -> None:
    """Or its rules would send connections to a door that is shut."""
    async with node(None) as crashed:
        crashed.registry.list_path = tmp_path / "workloads.json"
        await crashed.registry.add(place.spec())
        crashed.registry.let_go()
        crashed.registry._workloads.clear()
        crashed.registry._sites.clear()
        crashed.told.clear()
    assert [line for line in place.remains() if line.startswith("rule")]
    async with node(kernel) as made:
        made.registry.list_path = tmp_path / "workloads.json"
        assert await made.registry.adopt() == []
        [adopted] = made.registry
        assert adopted.rung == "ebpf"
        assert not [line for line in place.remains() if line.startswith("rule")]
        assert place.caught(adopted, VIP) == Address.of(VIP, 80)
    assert place.remains() == []


async def test_a_broken_list_is_no_reason_not_to_begin(kernel: Kernel, tmp_path: Path) -> None:
    async with node(kernel) as made:
        made.registry.list_path = tmp_path / "workloads.json"
        assert await made.registry.adopt() == []
        made.registry.list_path.write_text("[{]")
        assert await made.registry.adopt() == []
        assert os.listdir(tmp_path) == ["workloads.json"]
