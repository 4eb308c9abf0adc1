"""World. The door for queries in the life of a workload: opened, shared by nobody, lost, adopted, refused."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.intercept.kernel import DATAGRAM_HOOKS, Kernel
from meshtrio.intercept.layout import BEAT_OF_RESOLVER
from meshtrio.intercept.object import CompiledProgram
from meshtrio.intercept.tables import Heartbeat
from meshtrio.intercept.workload import Spec, WorkloadError
from tests.bpf.names import ASK, OURS, REAL, real_resolver
from tests.intercept.hooks import another, attached, foreign
from tests.intercept.node import (
    ELSEWHERE,
    HERE,
    RUNGS,
    VIP,
    Node,
    Place,
    a_place,
    another_place,
    node,
    path_of,
)
from tests.intercept.test_kernel import NO_RESULT

pytestmark = [pytest.mark.kernel, pytest.mark.world]

PORT = 15053
each_rung = pytest.mark.parametrize("rung", RUNGS)


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        made.app.do(ASK)
        yield made


def answer(place: Place, host: str = HERE) -> str:
    said: dict[str, Any] = place.app.do("said = ask(host)", host=host)
    assert said["from"] == [host, 53]
    answered: str = said["answer"]
    return answered


@each_rung
async def test_workloads_of_one_namespace_have_doors_of_their_own(
    rung: str, kernel: Kernel, place: Place
) -> None:
    async with node(kernel, rung=rung, dns=True, dns_port=PORT, any_port=False) as made:
        with another_place(place.space) as other:
            other.app.do(ASK)
            await made.registry.add(place.spec())
            await made.registry.add(other.spec("till"))
            doors = {name: resolver.door for name, resolver in made.resolvers.items()}
            assert doors["shop"]
            assert doors["till"]
            assert doors["shop"].port == PORT != doors["till"].port
            for who, name, host in ((place, "shop", HERE), (other, "till", ELSEWHERE)):
                assert answer(who, host) == OURS
                assert made.resolvers[name].heard == [("udp", Address.of(host, 53))]
            await made.take_away("till")
            assert doors["till"].udp == (), "closed"
            assert answer(place) == OURS


@each_rung
async def test_a_port_that_is_taken_refuses_the_workload_and_leaves_nothing(
    rung: str, kernel: Kernel, place: Place
) -> None:
    async with node(kernel, rung=rung, dns=True, dns_port=PORT, any_port=False) as made:
        taken = pytest.raises(WorkloadError, match=f"port {PORT} for queries is taken")
        with real_resolver(place.space, "127.0.0.1", port=PORT), taken:
            await made.registry.add(place.spec())
        assert made.resolvers == {}
        assert place.remains() == []
        await made.registry.add(place.spec())
        assert answer(place) == OURS


async def test_a_namespace_without_a_cgroup_has_its_queries_caught(place: Place) -> None:
    async with node(None, dns=True) as made:
        await made.registry.add(Spec(name="pod", netns=path_of(place.space)))
        for host in (HERE, "127.0.0.53", "::1"):
            assert answer(place, host) == OURS
            assert made.resolvers["pod"].heard.pop() == ("udp", Address.of(host, 53))


async def test_where_ebpf_is_refused_the_door_is_opened_anew_for_rules(kernel: Kernel, place: Place) -> None:
    async with node(kernel, dns=True) as made:
        with foreign(place.group, 0):
            shop = await made.registry.add(place.spec())
        assert shop.rung == "nft"
        assert answer(place) == OURS
        assert made.resolvers["shop"].heard == [("udp", Address.of(HERE, 53))]


def lacking(kernel: Kernel, name: str, pins: Path | None = None) -> Kernel:
    """Load as a kernel would that does not have this hook."""
    programs = [
        CompiledProgram(name=name, code=NO_RESULT, uses=[]) if one.name == name else one
        for one in kernel.compiled.programs
    ]
    made = Kernel(msgspec.structs.replace(kernel.compiled, programs=programs), pins)
    made.load()
    return made


@pytest.mark.parametrize("name", DATAGRAM_HOOKS)
async def test_a_kernel_without_the_hooks_goes_on_without_names_and_says_so(
    name: str, kernel: Kernel, place: Place
) -> None:
    with contextlib.closing(lacking(kernel, name)) as old:
        assert f"program {name}" in old.why_no_names
        async with node(old, dns=True) as made:
            with real_resolver(place.space, HERE):
                shop = await made.registry.add(place.spec())
                assert (shop.rung, shop.dns) == ("ebpf", None)
                assert "hook since kernel" in shop.why_no_dns
                assert answer(place) == REAL
                assert not set(attached(place.group)) & set(DATAGRAM_HOOKS)
                assert place.caught(shop, VIP) == Address.of(VIP, 80)


async def test_without_capture_its_hooks_are_there_for_udp_services(kernel: Kernel, place: Place) -> None:
    async with node(kernel) as made:
        await made.registry.add(place.spec())
        assert set(DATAGRAM_HOOKS) <= set(attached(place.group))


def crash(made: Node) -> None:
    """Let nobody take anything away."""
    for resolver in made.resolvers.values():
        resolver.stop()
    made.resolvers.clear()
    made.registry.let_go()
    made.registry._workloads.clear()
    made.registry._sites.clear()
    made.told.clear()


async def test_a_successor_adopts_what_is_pinned_or_takes_it_away(
    kernel: Kernel, place: Place, bpffs: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "workloads.json"
    rules = {"dns": True, "dns_port": PORT, "any_port": False}
    with another(kernel, bpffs) as first:
        async with node(first, **rules) as crashed:
            crashed.registry.list_path = listed
            await crashed.registry.add(place.spec())
            place.app.do("one = udp(host); one.connect((host, 53))", host=HERE)
            crash(crashed)
        Heartbeat(first.maps["heartbeat"], BEAT_OF_RESOLVER).silence()
    with real_resolver(place.space, HERE):
        assert set(DATAGRAM_HOOKS) <= set(attached(place.group)), "pinned"
        assert answer(place) == REAL, "nobody resolves"
        with another(kernel, bpffs) as second:
            async with node(second, **rules) as made:
                made.registry.list_path = listed
                assert await made.registry.adopt() == []
                assert answer(place) == OURS
                # A socket from before the crash is known, also to the successor.
                place.app.do("one.send(QUERY); heard(one)")
                assert made.resolvers["shop"].heard == [("udp", Address.of(HERE, 53))] * 2
                crash(made)
        with another(kernel, bpffs) as third:
            async with node(third) as off:
                off.registry.list_path = listed
                assert await off.registry.adopt() == []
                assert answer(place) == REAL, "it captures no names"
                crash(off)
        with contextlib.closing(lacking(kernel, "recvmsg4", bpffs)) as fourth:
            async with node(fourth) as old:
                old.registry.list_path = listed
                assert await old.registry.adopt() == []
                assert not set(attached(place.group)) & set(DATAGRAM_HOOKS), "its pins go too"
                assert answer(place) == REAL
            fourth.unpin()
