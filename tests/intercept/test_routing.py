"""World. Callers' addresses across a veth, and virtual IPs on a machine without a default route."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from meshtrio.intercept import marks, nft, routing
from meshtrio.intercept.nft_plan import InboundCapture, NftPlan, OutboundCapture
from meshtrio.intercept.routing_plan import RoutingPlan, RoutingRefused
from tests.support.namespace import Namespace, wire
from tests.support.namespace_door import Door
from tests.support.namespace_program import program

pytestmark = pytest.mark.world

IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
BOTH = RoutingPlan(transparent=True, vips=("10.96.0.0/16", "fd6d:6573:68::/48"))


def state(space: Namespace) -> str:
    parts = ["ip rule", "ip -6 rule", "ip route show table all", "ip -6 route show table all"]
    return space.command("sh", "-c", ";".join([*parts, "cat /proc/sys/net/ipv4/tcp_fwmark_accept"]))


@pytest.fixture
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    """The caller's machine and the application's, connected."""
    with Namespace() as caller, Namespace() as callee:
        wire(caller, callee)
        for space, last in ((caller, 2), (callee, 1)):
            space.add_address(f"10.8.0.{last}/24", "wire")
            space.add_address(f"fd08::{last}/64", "wire")
        yield caller, callee


def transparent_dial(space: Namespace, source: tuple[str, int], to: tuple[str, int]) -> socket.socket:
    """Dial an application as the worker does: from the caller's address, with the mark."""
    v6 = ":" in to[0]
    made = space.tcp_socket(socket.AF_INET6 if v6 else socket.AF_INET)
    try:
        made.settimeout(2)
        level, option = (socket.IPPROTO_IPV6, IPV6_TRANSPARENT) if v6 else (socket.SOL_IP, IP_TRANSPARENT)
        made.setsockopt(level, option, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, marks.marked(marks.APP_DIAL, 0x11))
        made.bind(source)
        made.connect(to)
    except BaseException:
        made.close()
        raise
    return made


@pytest.mark.parametrize(("caller_ip", "callee_ip"), [("10.8.0.2", "10.8.0.1"), ("fd08::2", "fd08::1")])
async def test_the_application_sees_the_callers_address(
    pair: tuple[Namespace, Namespace], caller_ip: str, callee_ip: str
) -> None:
    caller, callee = pair
    applied = await routing.apply(RoutingPlan(transparent=True), callee.fd)
    assert applied.families == ("v4", "v6")
    # Reverse path filtering, as strict as it gets: our packets never leave lo.
    for name in ("all", "default", "lo", "wire"):
        callee.set_sysctl(f"net.ipv4.conf.{name}.rp_filter", "1")
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(program(callee))
        app.tell("listen", host=callee_ip, port=8080, name="app")
        with transparent_dial(callee, (caller_ip, 0), (callee_ip, 8080)) as made:
            assert made.getsockname()[0] == caller_ip
            line = made.makefile("r").readline()
        assert f'"peer": ["{caller_ip}", ' in line
        # The machine at that address is as reachable as before, in both directions.
        peer = stack.enter_context(program(caller))
        assert peer.dial(callee_ip, 8080)["greeting"]["peer"][0] == caller_ip
        peer.tell("listen", host=caller_ip, port=9090, name="peer")
        assert app.dial(caller_ip, 9090)["greeting"]["name"] == "peer"


@pytest.mark.parametrize(("caller_ip", "callee_ip"), [("10.8.0.2", "10.8.0.1"), ("fd08::2", "fd08::1")])
async def test_even_the_callers_port_can_be_used_again(
    pair: tuple[Namespace, Namespace], caller_ip: str, callee_ip: str
) -> None:
    """The four-tuple is then that of a connection that conntrack translates: see nft_rules.py."""
    caller, callee = pair
    inbound = InboundCapture(door=15001, ports=(8080,))
    plan = NftPlan(workload="shop", owner="1.1", inbound=inbound, transparent=True)
    await nft.apply(plan, callee.fd)
    await routing.apply(RoutingPlan(transparent=True), callee.fd)
    with Door(callee, 15001, "inbound"), program(callee) as app, program(caller) as peer:
        app.tell("listen", host=callee_ip, port=8080, name="app")
        said = peer.dial(callee_ip, 8080, keep="it")
        assert said["greeting"]["name"] == "inbound"
        with transparent_dial(callee, (caller_ip, said["local"][1]), (callee_ip, 8080)) as made:
            line = made.makefile("r").readline()
        assert f'"peer": ["{caller_ip}", {said["local"][1]}]' in line
        assert peer.tell("say", keep="it", text="not mixed up") == {"heard": "not mixed up"}


async def test_without_routing_the_dial_gets_no_answer(pair: tuple[Namespace, Namespace]) -> None:
    _, callee = pair
    with program(callee) as app:
        app.tell("listen", host="10.8.0.1", port=8080, name="app")
        with pytest.raises(TimeoutError):
            transparent_dial(callee, ("10.8.0.2", 0), ("10.8.0.1", 8080))


@pytest.mark.parametrize("accept_before", ["0", "1"])
async def test_applying_is_idempotent_and_removing_leaves_nothing(accept_before: str) -> None:
    with Namespace() as space:
        space.set_sysctl("net.ipv4.tcp_fwmark_accept", accept_before)
        before = state(space)
        first = await routing.apply(BOTH, space.fd)
        assert (first.rules, first.routes) == (4, 4)
        once = state(space)
        assert await routing.apply(BOTH, space.fd) == first
        assert state(space) == once != before
        assert once.endswith("1\n")
        assert await routing.remove(space.fd) == 8
        assert state(space) == before
        assert await routing.remove(space.fd) == 0


async def test_a_smaller_plan_takes_the_rest_away() -> None:
    with Namespace() as space:
        before = state(space)
        await routing.apply(BOTH, space.fd)
        applied = await routing.apply(RoutingPlan(vips=("10.97.0.0/16",)), space.fd)
        assert (applied.rules, applied.routes) == (2, 1)
        assert "10.96.0.0/16" not in state(space)
        assert state(space).endswith("0\n")
        await routing.apply(RoutingPlan(), space.fd)
        assert state(space) == before


async def test_a_virtual_ip_can_be_dialled_without_a_default_route() -> None:
    with Namespace() as space, Door(space, 15002, "outbound"), program(space) as app:
        plan = NftPlan(workload="shop", owner="1.1", outbound=OutboundCapture(door=15002))
        await nft.apply(plan, space.fd)
        vips = ("10.96.0.10", "fd6d:6573:68::10")
        assert await routing.unroutable(vips, space.fd) == list(vips)
        for vip in vips:
            assert app.dial(vip, 80) == {"error": "ENETUNREACH"}, "what a user sees without us"
        await routing.apply(BOTH, space.fd)
        assert await routing.unroutable((*vips, "10.1.1.1"), space.fd) == ["10.1.1.1"]
        for vip in vips:
            assert app.dial(vip, 80)["greeting"]["name"] == "outbound"
        assert app.dial("10.1.1.1", 80) == {"error": "ENETUNREACH"}, "the rest is as before"


async def test_a_real_route_to_a_virtual_ip_wins(pair: tuple[Namespace, Namespace]) -> None:
    caller, callee = pair
    callee.add_address("10.96.0.10/32", "lo")
    callee.add_address("fd6d:6573:68::10/128", "lo")
    caller.ip("route", "add", "default", "via", "10.8.0.1")
    caller.ip("-6", "route", "add", "default", "via", "fd08::1")
    await routing.apply(BOTH, caller.fd)
    with Door(callee, 80, "real"), program(caller) as peer:
        for vip in ("10.96.0.10", "fd6d:6573:68::10"):
            assert peer.dial(vip, 80)["greeting"]["name"] == "real"


async def test_a_wrong_plan_is_refused_with_all_its_faults() -> None:
    with pytest.raises(RoutingRefused, match=r"'nonsense'.*0\.0\.0\.0/0 is everything"):
        await routing.apply(RoutingPlan(vips=("nonsense", "0.0.0.0/0")))
