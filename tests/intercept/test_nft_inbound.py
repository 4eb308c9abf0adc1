"""World. What the nf_tables rung catches of what arrives at a workload, and each end once."""

import contextlib
from collections.abc import Iterator

import pytest

from meshtrio.intercept import marks, nft
from meshtrio.intercept.nft_plan import InboundCapture, NftPlan, OutboundCapture, Sets
from tests.support.namespace import Namespace, wire
from tests.support.namespace_box import Box, full_box, inbound_plan, plan_of
from tests.support.namespace_door import Door
from tests.support.namespace_program import program

pytestmark = pytest.mark.world


@pytest.fixture
def box() -> Iterator[Box]:
    with full_box() as made:
        yield made


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
async def test_each_end_of_a_local_connection_is_caught_once(box: Box, order: tuple[str, str]) -> None:
    """A dials B by the host's own address: A's outbound, then B's inbound, then the application."""
    for address in ("10.7.0.1/24", "fd07::1/64"):
        box.space.add_address(address, "lo")
    plans = {"a": plan_of(box.group, "a"), "b": inbound_plan(None, (8080,), "b")}
    with Door(box.space, 8080, "application"), program(box.space) as worker:
        for name in order:
            await nft.apply(plans[name], box.space.fd)
        for host in ("10.7.0.1", "fd07::1"):
            assert box.app.dial(host, 8080)["greeting"]["name"] == "outbound", "the first end"
            second = worker.dial(host, 8080, mark=marks.OUTBOUND_DIAL)["greeting"]
            assert second["name"] == "inbound", "the second end"
            assert second["local"][0].removeprefix("::ffff:") == host, "the address is kept"
            assert second["original"] in (f"{host}:8080", f"[{host}]:8080")
            assert worker.dial(host, 8080, mark=marks.APP_DIAL)["greeting"]["name"] == "application"
        for host in ("127.0.0.1", "::1"):
            # A dials B over loopback: no outbound, but B's inbound.
            assert box.app.dial(host, 8080)["greeting"]["name"] == "inbound"
            assert worker.dial(host, 8080, mark=marks.APP_DIAL)["greeting"]["name"] == "application"


@pytest.fixture
def neighbours() -> Iterator[tuple[Namespace, Namespace]]:
    with Namespace() as here, Namespace() as there:
        wire(here, there)
        for space, last in ((here, 1), (there, 2)):
            space.add_address(f"10.8.0.{last}/24", "wire")
            space.add_address(f"fd08::{last}/64", "wire")
        yield here, there


async def test_inbound_from_another_machine(neighbours: tuple[Namespace, Namespace]) -> None:
    here, there = neighbours
    with contextlib.ExitStack() as stack:
        stack.enter_context(Door(here, 15001, "inbound"))
        for port in (8080, 8081, 9901):
            stack.enter_context(Door(here, port, f"app {port}"))
        peer = stack.enter_context(program(there))
        await nft.apply(inbound_plan(None, (8080, 9901)), here.fd)
        for host in ("10.8.0.1", "fd08::1"):
            said = peer.dial(host, 8080)
            assert said["greeting"]["name"] == "inbound"
            assert said["greeting"]["original"] in ("10.8.0.1:8080", "[fd08::1]:8080")
            assert said["greeting"]["peer"][0].removeprefix("::ffff:") in ("10.8.0.2", "fd08::2")
            assert peer.dial(host, 8081)["greeting"]["name"] == "app 8081", "not listed"
            assert peer.dial(host, 9901)["greeting"]["name"] == "app 9901", "excluded though listed"
            assert peer.dial(host, 15001)["greeting"]["original"] is None, "the door itself"
        await nft.update(Sets(workload="shop", ports=(8081,)), here.fd)
        assert peer.dial("10.8.0.1", 8080)["greeting"]["name"] == "app 8080"
        assert peer.dial("10.8.0.1", 8081)["greeting"]["name"] == "inbound"


async def test_inbound_to_an_address_that_the_interface_does_not_have(
    neighbours: tuple[Namespace, Namespace],
) -> None:
    here, there = neighbours
    here.add_address("10.9.9.9/32", "lo")
    there.ip("route", "add", "10.9.9.9", "via", "10.8.0.1")
    with Door(here, 15001, "inbound"), program(there) as peer:
        await nft.apply(inbound_plan(None, (8080,)), here.fd)
        said = peer.dial("10.9.9.9", 8080)["greeting"]
        assert said["original"] == "10.9.9.9:8080"
        assert said["local"][0] == "::ffff:10.9.9.9"


async def test_what_is_only_routed_through_is_not_caught(neighbours: tuple[Namespace, Namespace]) -> None:
    router, left = neighbours
    with Namespace() as right:
        wire(router, right, device="wire2")
        router.add_address("10.18.0.1/24", "wire2")
        right.add_address("10.18.0.2/24", "wire2")
        right.ip("route", "add", "default", "via", "10.18.0.1")
        left.ip("route", "add", "default", "via", "10.8.0.1")
        router.set_sysctl("net.ipv4.ip_forward", "1")
        with Door(router, 15001, "inbound"), Door(right, 8080, "far"), program(left) as peer:
            await nft.apply(inbound_plan(None, (8080,)), router.fd)
            assert peer.dial("10.18.0.2", 8080)["greeting"]["name"] == "far"
            assert peer.dial("10.18.0.1", 8080)["greeting"]["name"] == "inbound"
        with Door(right, 8080, "far"), program(router) as local:
            assert local.dial("10.18.0.2", 8080)["greeting"]["name"] == "far", "nor what we dial elsewhere"


async def test_link_local_peers_are_dialled_directly(neighbours: tuple[Namespace, Namespace]) -> None:
    here, there = neighbours
    there.add_address("fe80::2/64", "wire")
    here.add_address("fe80::1/64", "wire")
    with Door(here, 15002, "outbound"), Door(there, 8080, "far"), program(here) as app:
        await nft.apply(plan_of(None), here.fd)
        assert app.dial("fe80::2%wire", 8080)["greeting"]["name"] == "far"


async def test_a_workload_that_owns_its_namespace(neighbours: tuple[Namespace, Namespace]) -> None:
    here, there = neighbours
    inbound = InboundCapture(door=15001, except_ports=(22,))
    plan = NftPlan(workload="pod", owner="1.1", outbound=OutboundCapture(door=15002), inbound=inbound)
    with contextlib.ExitStack() as stack:
        for port, name in ((15001, "inbound"), (15002, "outbound"), (22, "ssh"), (8080, "app")):
            stack.enter_context(Door(here, port, name))
        stack.enter_context(Door(there, 8080, "far"))
        app, peer = stack.enter_context(program(here)), stack.enter_context(program(there))
        await nft.apply(plan, here.fd)
        for mine, far in (("10.8.0.1", "10.8.0.2"), ("fd08::1", "fd08::2")):
            assert peer.dial(mine, 8080)["greeting"]["name"] == "inbound"
            assert peer.dial(mine, 7777)["greeting"]["name"] == "inbound", "every port"
            assert peer.dial(mine, 22)["greeting"]["name"] == "ssh"
            assert app.dial(far, 8080)["greeting"]["name"] == "outbound"
            assert app.dial(far, 8080, mark=marks.OUTBOUND_DIAL)["greeting"]["name"] == "far"
            hairpin = app.dial(mine, 8080, mark=marks.OUTBOUND_DIAL)["greeting"]
            assert hairpin["name"] == "inbound", "what a worker dials here is inbound"
        assert app.dial("127.0.0.1", 8080)["greeting"]["name"] == "app", "processes of a pod among themselves"
