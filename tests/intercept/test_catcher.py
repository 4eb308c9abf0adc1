"""World. Which rung a workload gets and why, and what the workers hear of its doors."""

import contextlib
from collections.abc import Iterator

import pytest

from meshtrio.intercept.kernel import Kernel, KernelRefused
from meshtrio.intercept.workload import Spec, WorkloadError
from meshtrio.messages import KnowWorkload, OpenDoor, WorkloadName
from tests.intercept.node import Place, a_place, another_place, node, path_of

pytestmark = [pytest.mark.kernel, pytest.mark.world]


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


async def test_ebpf_is_the_first_choice_and_its_doors_are_told(kernel: Kernel, place: Place) -> None:
    async with node(kernel, show_callers=True) as made:
        shop = await made.registry.add(place.spec())
        assert (shop.rung, shop.why) == ("ebpf", "")
        assert made.names() == {shop.id: "shop"}, "hooks give ids, and a door is shared by names"
        [inbound, outbound] = [message for message in made.told if isinstance(message, OpenDoor)]
        assert made.told.index(outbound) > made.told.index(KnowWorkload(WorkloadName(shop.id, "shop")))
        for door, direction in ((inbound, "inbound"), (outbound, "outbound")):
            assert (door.direction, door.rung, door.netns) == (direction, "ebpf", shop.site.netns.id)
            assert (door.workload, door.listeners) == (WorkloadName(shop.id, "shop"), 2)
            assert door.transparent, "callers are shown"
        assert shop.doors == [outbound.door]
        assert shop.site.door == inbound.door


@pytest.mark.parametrize("rung", ["auto", "nft"])
async def test_workers_hear_the_namespace_of_a_workload(rung: str, kernel: Kernel, place: Place) -> None:
    async with node(kernel, rung=rung, dns=True) as made:
        cart = await made.registry.add(place.spec(namespace="shop"))
        assert cart.dns is not None
        assert cart.dns.workload_namespace == "shop", "short names mean its services"
        named = WorkloadName(cart.id, cart.spec.name, "shop")
        assert {door.workload for door in made.doors().values()} == {named}
        if rung == "auto":
            assert KnowWorkload(named) in made.told


@pytest.mark.parametrize("rung", ["auto", "nft"])
async def test_without_a_kernel_nf_tables_says_why(rung: str, place: Place) -> None:
    async with node(None, rung=rung) as made:
        shop = await made.registry.add(place.spec())
        why = "no kernel in this test" if rung == "auto" else "configured (rung: nft)"
        assert (shop.rung, shop.why) == ("nft", why)
        assert {(door.direction, door.rung) for door in made.doors().values()} == {
            ("outbound", "nft"),
            ("inbound", "nft"),
        }
        assert sorted(made.doors()) == shop.doors


async def test_a_namespace_without_a_cgroup_is_for_nf_tables(kernel: Kernel, place: Place) -> None:
    spec = Spec(name="pod", netns=path_of(place.space))
    async with node(kernel) as made:
        pod = await made.registry.add(spec)
        assert pod.rung == "nft"
        assert pod.why == "the connect hooks need a cgroup, and none was given"
        # The process is in no cgroup of the workload, and all the same in its namespace.
        assert place.caught(pod, "10.96.0.10") is not None
    async with node(kernel, rung="ebpf") as strict:
        with pytest.raises(WorkloadError, match="need a cgroup"):
            await strict.registry.add(spec)


async def test_where_only_ebpf_is_wanted_its_absence_is_the_answer(place: Place) -> None:
    async with node(None, rung="ebpf") as made:
        with pytest.raises(WorkloadError, match="workload shop: no kernel in this test") as refused:
            await made.registry.add(place.spec())
        assert isinstance(refused.value.__cause__, KernelRefused)
        assert made.told == []
        assert place.remains() == []


@pytest.mark.parametrize("rung", ["ebpf", "nft"])
async def test_callers_are_shown_only_where_that_is_wanted(rung: str, kernel: Kernel, place: Place) -> None:
    async with node(kernel, rung=rung, show_callers=False) as made:
        shop = await made.registry.add(place.spec())
        assert shop.site.transparent is False
        assert not any(door.transparent for door in made.doors().values())
        assert not [line for line in place.remains() if line.startswith("routing")]


async def test_the_first_workload_gets_the_configured_ports_and_the_others_any(
    kernel: Kernel, place: Place
) -> None:
    async with node(kernel, any_port=False, outbound_port=15002, inbound_port=15001) as made:
        with another_place(place.space) as other:
            shop = await made.registry.add(place.spec())
            till = await made.registry.add(other.spec("till"))
            assert shop.capture.outbound.port == 15002
            assert till.capture.outbound.port not in (15001, 15002)
            assert shop.site.inbound
            assert shop.site.inbound.port == 15001
            await made.take_away("till")


async def test_two_rungs_may_stand_in_one_namespace(kernel: Kernel, place: Place) -> None:
    async with node(kernel, any_port=False, outbound_port=15002, inbound_port=15001) as made:
        with contextlib.ExitStack() as stack:
            other = stack.enter_context(another_place(place.space))
            made.catcher.use(None, "not yet")
            shop = await made.registry.add(place.spec())
            made.catcher.use(kernel, "")
            till = await made.registry.add(other.spec("till"))
            assert (shop.rung, till.rung) == ("nft", "ebpf")
            assert till.site.inbound
            assert till.site.inbound.port != 15001, "or SO_REUSEPORT would let both have it"
            assert place.caught(shop, "10.96.0.10") is not None
            assert other.caught(till, "10.96.0.10") is not None
            await made.take_away("till")
            assert place.caught(shop, "10.96.0.10") is not None
