"""World. What workloads of one namespace share: sk_lookup, callers' routing, routes to virtual IPs."""

import contextlib
import os
from collections.abc import Iterator

import pytest
import trio

from meshtrio.address import Address
from meshtrio.intercept import bpf, nft
from meshtrio.intercept.capture import Surroundings
from meshtrio.intercept.doors import DoorError
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import WORKLOAD_CLOSED
from meshtrio.intercept.netns import Netns
from meshtrio.intercept.nft_plan import NftPlan, OutboundCapture
from meshtrio.intercept.site import NetnsSite
from tests.intercept.hooks import lookups
from tests.intercept.node import VIP, VIP6, a_place, node, remains
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.kernel, pytest.mark.world]

VIPS = (f"{VIP}/32", f"{VIP6}/128")


@pytest.fixture
def space() -> Iterator[Namespace]:
    with Namespace() as made:
        yield made


@contextlib.contextmanager
def site_in(space: Namespace) -> Iterator[NetnsSite]:
    with contextlib.closing(Netns.adopt(os.dup(space.fd), named="it")) as netns:
        yield NetnsSite(netns)


def routing(space: Namespace) -> list[str]:
    return [line for line in remains(space) if line.startswith("routing")]


async def test_it_opens_and_closes_and_opens_again(space: Namespace, kernel: Kernel) -> None:
    with site_in(space) as site:
        for _ in range(2):
            await site.open(kernel, 15001, any_port=False, closed=False, show_callers=True)
            doors = site.inbound
            assert doors
            assert doors.port == 15001
            assert site.transparent
            assert len(lookups(space.fd)) == 1
            await site.close()
            assert doors.sockets[0].fileno() == -1
            assert remains(space) == []
        await site.close()


async def test_caught_no_more_the_doors_stay_for_whoever_comes_next(space: Namespace, kernel: Kernel) -> None:
    with site_in(space) as site:
        await site.open(kernel, 0, any_port=True, closed=False, show_callers=False)
        doors = site.inbound
        site.catch_no_more()
        assert lookups(space.fd) == []
        assert site.inbound is doors
        await site.open(kernel, 0, any_port=True, closed=False, show_callers=False)
        assert site.inbound is doors
        assert len(lookups(space.fd)) == 1
        await site.close()


async def test_a_taken_port_leaves_nothing(space: Namespace, kernel: Kernel) -> None:
    with site_in(space) as site, space.bound("", 15001):
        with pytest.raises(DoorError, match="15001 is taken"):
            await site.open(kernel, 15001, any_port=False, closed=False, show_callers=True)
        assert remains(space) == []
        await site.open(kernel, 15001, any_port=True, closed=False, show_callers=False)
        assert site.inbound
        assert site.inbound.port != 15001
        await site.close()


async def test_callers_cannot_be_shown_in_the_own_namespace(kernel: Kernel) -> None:
    """Its routing is not ours to change."""
    with contextlib.closing(Netns.current()) as netns:
        site = NetnsSite(netns)
        assert site.descriptor is None
        await site.show_callers()
        assert site.transparent is False


async def test_virtual_ips_that_lead_nowhere_get_a_route_as_long_as_they_are_there() -> None:
    with a_place(routed=False) as place:
        before = place.space.ip("route", "show", "table", "all")
        async with node(None) as made:
            made.catcher.surroundings = Surroundings(vips=VIPS[:1])
            shop = await made.registry.add(place.spec())
            assert place.caught(shop, VIP) == Address.of(VIP, 80)
            assert place.caught(shop, VIP6) is None, "nobody has asked for it"
            made.catcher.surroundings = Surroundings(vips=VIPS)
            await made.registry.refresh()
            assert place.caught(shop, VIP6) == Address.of(VIP6, 80)
            made.catcher.surroundings = Surroundings(vips=VIPS[1:])
            await made.registry.refresh()
            assert place.caught(shop, VIP) is None
            assert place.caught(shop, VIP6) == Address.of(VIP6, 80)
        assert place.remains() == []
        assert place.space.ip("route", "show", "table", "all") == before


async def test_where_everything_has_a_route_none_is_added(space: Namespace) -> None:
    space.route_everything()
    with site_in(space) as site:
        await site.lead(VIPS)
        assert routing(space) == []
        await site.close()


async def test_routes_and_callers_share_the_routing(space: Namespace) -> None:
    with site_in(space) as site:
        await site.lead(VIPS)
        led = routing(space)
        assert any(VIP in line for line in led)
        await site.show_callers()
        assert set(routing(space)) > set(led)
        await site.lead(())
        assert site.transparent
        assert not any(VIP in line for line in routing(space))
        assert routing(space) != []
        await site.close()
        assert routing(space) == []


async def test_routing_stays_while_another_agent_has_a_workload_there(space: Namespace) -> None:
    with site_in(space) as site:
        await site.show_callers()
        there = routing(space)
        await nft.apply(NftPlan(workload="theirs", owner="1.1", outbound=OutboundCapture(door=1)), space.fd)
        await site.close()
        assert routing(space) == there
        await nft.remove("theirs", space.fd)
        site.routed = True
        await site.close()
        assert remains(space) == []


async def test_the_stricter_policy_wins(space: Namespace, kernel: Kernel) -> None:
    with site_in(space) as site:
        await site.open(kernel, 0, any_port=True, closed=False, show_callers=False)
        site.close_on_loss()
        assert site._hook is not None
        here = site._hook._maps["here"]
        raw = bpf.look_up(here, bytes(4), 16)
        assert raw is not None
        assert int.from_bytes(raw[8:12], "little") & WORKLOAD_CLOSED
        await site.close()


async def test_letting_go_of_what_is_not_pinned_ends_it(space: Namespace, kernel: Kernel) -> None:
    netns = Netns.adopt(os.dup(space.fd), named="it")
    site = NetnsSite(netns)
    await site.open(kernel, 0, any_port=True, closed=False, show_callers=False)
    site.let_go()
    with trio.fail_after(3):
        while lookups(space.fd):
            await trio.sleep(0.01)
