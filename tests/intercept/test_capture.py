"""World. What hooks catch follows the workload: its ports, its policy, its cgroup, its end."""

from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.capture import EbpfCapture
from meshtrio.intercept.kernel import Kernel, KernelRefused
from meshtrio.intercept.layout import (
    LISTENER_BYTES,
    PORT_KEY_BYTES,
    port_key,
    unpack_listener,
    unpack_port_key,
)
from tests.intercept.hooks import attached, foreign
from tests.intercept.node import (
    ELSEWHERE,
    HERE,
    RUNGS,
    VIP,
    Place,
    a_place,
    a_unit,
    caught_inbound,
    listen,
    node,
)

pytestmark = [pytest.mark.kernel, pytest.mark.world]


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


def ports(kernel: Kernel, netns: int) -> dict[int, tuple[int, int]]:
    """Return {port: (workload, sockets)} as the hooks know them."""
    found = {}
    for key in list(bpf.keys(kernel.maps["ports"], PORT_KEY_BYTES)):
        raw = bpf.look_up(kernel.maps["ports"], key, LISTENER_BYTES)
        if raw and unpack_port_key(key)[0] == netns:
            found[unpack_port_key(key)[1]] = unpack_listener(raw)
    return found


async def test_ebpf_notes_what_listened_before_and_what_is_configured(kernel: Kernel, place: Place) -> None:
    async with node(kernel) as made:
        listen(place, 8080)
        with place.space.bound(HERE, 7000):
            shop = await made.registry.add(place.spec(ports=(9000,)))
            netns = shop.site.netns.id
            assert ports(kernel, netns) == {8080: (shop.id, 1), 9000: (shop.id, 1)}, (
                "a stranger's is left out"
            )
            listen(place, 8081)
            assert ports(kernel, netns)[8081] == (shop.id, 1), "that was the hook"
            for port in (8080, 8081):
                assert caught_inbound(shop, place.space, HERE, port) == Address.of(HERE, port)
            assert caught_inbound(shop, place.space, HERE, 7000) is None
        await made.take_away("shop")
        assert ports(kernel, netns) == {}


async def test_ebpf_leaves_the_ports_of_others_alone(kernel: Kernel, place: Place) -> None:
    async with node(kernel) as made:
        with a_place() as other:
            shop = await made.registry.add(place.spec(ports=(80,)))
            till = await made.registry.add(other.spec("till", ports=(80,)))
            await made.take_away("shop")
            assert ports(kernel, shop.site.netns.id) == {}
            assert ports(kernel, till.site.netns.id) == {80: (till.id, 1)}
            assert bpf.look_up(kernel.maps["ports"], port_key(till.site.netns.id, 80), LISTENER_BYTES)
            await made.take_away("till")


@pytest.mark.parametrize("policy", ["open", "closed"])
async def test_ebpf_keeps_its_policy_when_the_agent_is_lost(
    policy: str, kernel: Kernel, place: Place
) -> None:
    async with node(kernel) as made:
        shop = await made.registry.add(place.spec(on_agent_loss=policy))
        assert isinstance(shop.capture, EbpfCapture)
        bpf.update(kernel.maps["heartbeat"], bytes(4), bytes(8))
        with place.space.bound(ELSEWHERE, 80):
            assert place.caught(shop, ELSEWHERE) is None
            said = place.app.do("said = tcp(host).connect_ex((host, 80)) == 0", host=ELSEWHERE)
            assert said is (policy == "open")
        made.beat()
        assert place.caught(shop, VIP) == Address.of(VIP, 80)


@pytest.mark.parametrize("rung", RUNGS)
async def test_a_cgroup_that_is_made_anew_is_caught_again(rung: str, kernel: Kernel, place: Place) -> None:
    async with node(kernel, rung=rung) as made:
        group = place.group.with_name(f"{place.group.name}.service")
        with a_unit(place, group) as first:
            shop = await made.registry.add(first.spec())
            assert first.caught(shop, VIP) == Address.of(VIP, 80)
        await made.registry.refresh()
        assert "has gone" in shop.lost
        with a_unit(place, group) as second:
            assert second.caught(shop, VIP) is None, "nobody has looked yet"
            listen(second, 8080)
            await made.registry.refresh()
            assert shop.lost == ""
            assert second.caught(shop, VIP) == Address.of(VIP, 80)
            assert caught_inbound(shop, place.space, HERE, 8080) == Address.of(HERE, 8080)
            hooks = attached(group)
            await made.registry.refresh()
            assert attached(group) == hooks, "and only once"
            await made.take_away("shop")
            assert attached(group) == {}


async def test_a_cgroup_that_cannot_be_caught_again_is_told(kernel: Kernel, place: Place) -> None:
    async with node(kernel, rung="ebpf") as made:
        group = place.group.with_name(f"{place.group.name}.service")
        with a_unit(place, group) as first:
            shop = await made.registry.add(first.spec())
        with a_unit(place, group) as second:
            with foreign(group, 0), pytest.raises(KernelRefused, match="exclusively"):
                await made.registry.refresh()
            assert "is not caught yet" in shop.lost
            await made.registry.refresh()
            assert shop.lost == ""
            assert second.caught(shop, VIP) == Address.of(VIP, 80)
            await made.take_away("shop")
