"""World. What the hooks are told of direct services, in real maps: whole, bounded, and found again."""

from collections.abc import Iterator

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import (
    MEMBER_KEY_BYTES,
    SERVICE_BYTES,
    SLOT_BYTES,
    SLOT_KEY_BYTES,
    Carried,
    Pick,
    ServiceWords,
    member_key,
    unpack_slot_key,
)
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.intercept.direct_seats import NoRoom
from meshtrio.intercept.kernel import Kernel
from tests.support.seats import let_carry

pytestmark = pytest.mark.kernel

WEB, SHOP = Address.of("10.96.0.10", 80), Address.of("fd00::10", 80)
A, B, C = (Address.of(f"10.1.0.{at}", 8080) for at in (1, 2, 3))
SMALL = {"services": 2, "direct_slots": 8, "direct_seats": 4, "direct_members": 4}


@pytest.fixture
def small(kernel: Kernel) -> Iterator[Kernel]:
    """Our maps with little room, and nothing in them."""
    maps = [
        msgspec.structs.replace(one, max_entries=SMALL[one.name]) if one.name in SMALL else one
        for one in kernel.compiled.maps
    ]
    made = Kernel(msgspec.structs.replace(kernel.compiled, maps=maps), None)
    made.load()
    yield made
    made.close()


@pytest.fixture
def maps(small: Kernel) -> DirectMaps:
    return DirectMaps(small.maps)


def words(kernel: Kernel, service: Address) -> ServiceWords | None:
    raw = bpf.look_up(kernel.maps["services"], service.pack(), SERVICE_BYTES)
    return ServiceWords.unpack(raw) if raw is not None else None


def slots(kernel: Kernel) -> dict[tuple[Address, int], list[Address]]:
    """Return the orders that are written, by service and generation."""
    found: dict[tuple[Address, int], list[Address]] = {}
    for key in sorted(bpf.keys(kernel.maps["direct_slots"], SLOT_KEY_BYTES)):
        raw = bpf.look_up(kernel.maps["direct_slots"], key, SLOT_BYTES)
        assert raw is not None
        found.setdefault(unpack_slot_key(key), []).append(Address.unpack(raw))
    return found


def members(kernel: Kernel) -> set[bytes]:
    return set(bpf.keys(kernel.maps["direct_seats"], MEMBER_KEY_BYTES))


def test_an_order_is_written_and_replaced_whole(small: Kernel, maps: DirectMaps) -> None:
    maps.put(WEB, Pick.TURNS, [A, B, A])
    first = words(small, WEB)
    assert first is not None
    assert (first.slots, first.pick) == (3, Pick.TURNS)
    assert slots(small) == {(WEB, first.generation): [A, B, A]}
    maps.put(WEB, Pick.LEAST, [B])
    second = words(small, WEB)
    assert second is not None
    assert second.generation != first.generation
    assert slots(small) == {(WEB, second.generation): [B]}
    assert maps.standing == {WEB: second}
    maps.sweep()
    assert members(small) == {member_key(WEB, B)}


def test_what_is_dropped_is_relayed_or_unknown(small: Kernel, maps: DirectMaps) -> None:
    maps.put(WEB, Pick.TURNS, [A])
    maps.put(SHOP, Pick.TURNS, [A])
    maps.drop(WEB)
    maps.drop(SHOP, known=False)
    assert words(small, WEB) == ServiceWords()
    assert words(small, SHOP) is None
    maps.sweep()
    assert (slots(small), members(small), maps.standing) == ({}, set(), {})


@pytest.mark.parametrize("order", [[A] * 6, [A, B, C, Address.of("10.1.0.4", 1)]])
def test_what_does_not_fit_changes_nothing(small: Kernel, maps: DirectMaps, order: list[Address]) -> None:
    maps.put(WEB, Pick.TURNS, [A, B, C])
    before = words(small, WEB), slots(small)
    for service in (WEB, SHOP):
        with pytest.raises(NoRoom):
            maps.put(service, Pick.TURNS, order * 2)
    assert (words(small, WEB), slots(small)) == before
    assert words(small, SHOP) is None
    maps.sweep()
    assert members(small) == {member_key(WEB, one) for one in (A, B, C)}
    maps.drop(WEB)
    maps.sweep()
    maps.put(SHOP, Pick.TURNS, [A, B])


def test_no_room_for_the_address_itself_is_no_room(small: Kernel, maps: DirectMaps) -> None:
    for number in (1, 2):
        bpf.update(small.maps["services"], Address.of("10.0.0.1", number).pack(), ServiceWords().pack())
    with pytest.raises(NoRoom):
        maps.put(WEB, Pick.TURNS, [A])
    assert slots(small) == {}


def test_a_successor_finds_what_holds_and_takes_out_what_was_not_finished(
    small: Kernel, maps: DirectMaps
) -> None:
    maps.put(WEB, Pick.STICKY, [A, B])
    held = maps.standing[WEB]
    # It died after it had written slots, and before they held; and before it had wiped a service.
    other = DirectMaps(small.maps)
    other.put(SHOP, Pick.TURNS, [C])
    bpf.update(small.maps["services"], SHOP.pack(), ServiceWords().pack())
    successor = DirectMaps(small.maps)
    assert successor.standing == {WEB: held}
    assert slots(small) == {(WEB, held.generation): [A, B]}
    successor.sweep()
    assert members(small) == {member_key(WEB, A), member_key(WEB, B)}
    successor.put(WEB, Pick.TURNS, [B])
    assert successor.standing[WEB].generation > held.generation
    successor.sweep()
    assert members(small) == {member_key(WEB, B)}


def test_a_member_with_connections_is_kept(small: Kernel, maps: DirectMaps) -> None:
    maps.put(WEB, Pick.TURNS, [A, B])
    busy = Carried(connections=5, active=1)
    let_carry(small.maps, (WEB, A), busy)
    maps.put(WEB, Pick.TURNS, [B])
    maps.sweep()
    assert maps.carried() == {(WEB, A): busy, (WEB, B): Carried()}
    maps.put(WEB, Pick.TURNS, [A, B])
    maps.sweep()
    assert maps.carried()[WEB, A] == busy, "who comes back goes on counting"
    maps.drop(WEB)
    let_carry(small.maps, (WEB, A), Carried(connections=5))
    maps.sweep()
    assert maps.carried() == {}
