"""World. The hooks' maps of UDP services: what is written, what does not fit, what a successor finds."""

import os
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept import direct_layout as layout
from meshtrio.intercept.direct_layout import Pick, ServiceWords
from meshtrio.intercept.direct_seats import NoRoom
from meshtrio.intercept.udp_maps import UdpMaps
from tests.support import direct_world
from tests.support.direct_world import ARRAY, HASH, SIZES
from tests.support.seats import let_carry

pytestmark = pytest.mark.kernel

UDP = {
    "udp_services": (HASH, 18, layout.SERVICE_BYTES),
    "udp_slots": (HASH, layout.SLOT_KEY_BYTES, layout.SLOT_BYTES),
    "udp_seats": (HASH, layout.MEMBER_KEY_BYTES, layout.SEAT_BYTES),
    "udp_members": (ARRAY, 4, layout.MEMBER_BYTES),
}
VIP, OTHER = Address.of("10.96.0.10", 53), Address.of("10.96.0.11", 53)
ONE, TWO = Address.of("10.1.0.1", 5353), Address.of("10.1.0.2", 5353)


def made_maps(entries: int) -> dict[str, int]:
    """Make all maps that are needed, each with room for so many."""
    return direct_world.made_maps(entries, UDP)


@pytest.fixture
def kernel_maps() -> Iterator[dict[str, int]]:
    made = made_maps(8)
    yield made
    for descriptor in made.values():
        os.close(descriptor)


def words(kernel_maps: dict[str, int], service: Address) -> ServiceWords | None:
    raw = bpf.look_up(kernel_maps["udp_services"], service.pack(), layout.SERVICE_BYTES)
    return ServiceWords.unpack(raw) if raw is not None else None


def count(kernel_maps: dict[str, int], name: str) -> int:
    return len(list(bpf.keys(kernel_maps[name], {**SIZES, **UDP}[name][1])))


def test_what_is_put_stands_and_leaves_tcp_alone(kernel_maps: dict[str, int]) -> None:
    maps = UdpMaps(kernel_maps)
    maps.put(VIP, Pick.LUCK, [ONE, TWO])
    assert words(kernel_maps, VIP) == ServiceWords(1, 2, Pick.LUCK)
    assert maps.flows() == {(VIP, ONE): 0, (VIP, TWO): 0}
    let_carry(kernel_maps, (VIP, TWO), layout.Carried(connections=5), "udp")
    assert (maps.flows_of(VIP, ONE), maps.flows_of(VIP, TWO), maps.flows_of(OTHER, TWO)) == (0, 5, 0)
    assert (count(kernel_maps, "services"), count(kernel_maps, "direct_slots")) == (0, 0)
    maps.put(VIP, Pick.LUCK, [TWO])
    assert maps.flows() == {(VIP, TWO): 5}, "who has left is gone at once"
    maps.drop(VIP)
    assert [count(kernel_maps, name) for name in ("udp_services", "udp_slots", "udp_seats")] == [0] * 3
    assert maps.standing == set()


def test_without_members_it_refuses(kernel_maps: dict[str, int]) -> None:
    maps = UdpMaps(kernel_maps)
    for order in ([ONE], []):
        maps.put(VIP, Pick.TURNS, order)
    assert words(kernel_maps, VIP) == ServiceWords()
    assert maps.flows() == {}
    assert maps.standing == {VIP}


def test_what_does_not_fit_changes_nothing(kernel_maps: dict[str, int]) -> None:
    maps = UdpMaps(kernel_maps)
    maps.put(VIP, Pick.TURNS, [ONE])
    before = words(kernel_maps, VIP)
    with pytest.raises(NoRoom):
        maps.put(VIP, Pick.TURNS, [ONE, TWO] * 8)
    assert words(kernel_maps, VIP) == before
    for at in range(7):
        maps.put(Address.of("10.97.0.1", 1 + at), Pick.TURNS, [])
    with pytest.raises(NoRoom):
        maps.put(OTHER, Pick.TURNS, [])
    assert OTHER not in maps.standing


def test_a_successor_finds_what_picks_and_what_refuses(kernel_maps: dict[str, int]) -> None:
    first = UdpMaps(kernel_maps)
    first.put(VIP, Pick.TURNS, [ONE])
    first.put(OTHER, Pick.TURNS, [])
    second = UdpMaps(kernel_maps)
    assert second.standing == {VIP, OTHER}
    second.put(VIP, Pick.TURNS, [TWO])
    assert second.flows() == {(VIP, TWO): 0}
    assert words(kernel_maps, VIP) == ServiceWords(2, 1, Pick.TURNS)
