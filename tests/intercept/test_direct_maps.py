"""World. What the hooks are told of direct services, in real maps: whole, bounded, and found again."""

import struct
from collections.abc import Callable, Iterator

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import (
    MEMBER_KEY_BYTES,
    SERVICE_BYTES,
    SLOT_BYTES,
    SLOT_KEY_BYTES,
    UNGUARDED,
    Carried,
    Guard,
    Pick,
    Seat,
    ServiceWords,
    member_key,
    slot,
    slot_key,
    unpack_slot_key,
)
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.intercept.direct_seats import NoRoom
from meshtrio.intercept.followed_layout import BERTH_BYTES, BERTHS, FLOW_BEGUN, FOLLOWED_BYTES
from meshtrio.intercept.grant_layout import GRANT_BYTES, GRANTEE_BYTES, PASSAGE_BYTES, grantee, unpack_grant
from meshtrio.intercept.kernel import Kernel
from tests.support.seats import let_carry, seat_of

pytestmark = pytest.mark.kernel

WEB, SHOP = Address.of("10.96.0.10", 80), Address.of("fd00::10", 80)
A, B, C = (Address.of(f"10.1.0.{at}", 8080) for at in (1, 2, 3))
SMALL = {"services": 2, "direct_slots": 8, "direct_seats": 4, "direct_members": 4, "grants": 2}


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


GUARDS = {A: Guard(1, 100), B: Guard(2, 2**40)}


def guards(kernel: Kernel, service: Address) -> list[bytes]:
    """Return what is written of the members' workloads, in the order of the slots."""
    known = words(kernel, service)
    assert known is not None
    keys = [slot_key(service, at, known.generation) for at in range(known.slots)]
    return [bpf.look_up(kernel.maps["direct_slots"], key, SLOT_BYTES) or b"" for key in keys]


def granted(kernel: Kernel) -> dict[bytes, int]:
    """Return the grants, and for which generation each is."""
    keys = bpf.keys(kernel.maps["grants"], GRANTEE_BYTES)
    found = {key: bpf.look_up(kernel.maps["grants"], key, GRANT_BYTES) for key in keys}
    return {key: unpack_grant(value)[1] for key, value in found.items() if value is not None}


def for_ever(*workloads: int) -> dict[int, float]:
    return dict.fromkeys(workloads, 1e6)


def test_guards_are_written_with_the_members(small: Kernel, maps: DirectMaps) -> None:
    maps.put(WEB, Pick.LEAST, [A, B, A], GUARDS)
    found = words(small, WEB)
    assert found is not None
    assert (found.guarded, found.pick, found.slots) == (True, Pick.LEAST, 3)
    seats = {one: seat_of(small.maps, WEB, one) for one in (A, B)}
    assert guards(small, WEB) == [slot(one, seats[one], GUARDS[one]) for one in (A, B, A)]
    maps.put(WEB, Pick.LEAST, [A])
    plain = words(small, WEB)
    assert plain is not None
    assert not plain.guarded
    assert guards(small, WEB) == [slot(A, seats[A], UNGUARDED)]


def test_grants_are_for_the_slots_that_hold(small: Kernel, maps: DirectMaps) -> None:
    maps.put(WEB, Pick.TURNS, [A, B], GUARDS)
    assert granted(small) == {}, "nobody has one yet"
    assert maps.grant(WEB, for_ever(5, 6, 7)) == {7}
    first = maps.standing[WEB].generation
    assert granted(small) == {grantee(WEB, 5): first, grantee(WEB, 6): first}
    maps.put(WEB, Pick.TURNS, [B], GUARDS)
    assert maps.standing[WEB].generation not in granted(small).values(), "those are void"
    assert maps.grant(WEB, for_ever(6)) == set()
    assert granted(small) == {grantee(WEB, 6): maps.standing[WEB].generation}


def test_without_guards_or_without_slots_nobody_has_a_grant(small: Kernel, maps: DirectMaps) -> None:
    undone: list[Callable[[], None]] = [lambda: maps.put(WEB, Pick.TURNS, [A]), lambda: maps.drop(WEB)]
    for undo in undone:
        maps.put(WEB, Pick.TURNS, [A, B], GUARDS)
        maps.put(SHOP, Pick.TURNS, [A], GUARDS)
        maps.grant(WEB, for_ever(5))
        maps.grant(SHOP, for_ever(5))
        undo()
        assert granted(small) == {grantee(SHOP, 5): maps.standing[SHOP].generation}
        assert maps.grants.count == 1
    maps.drop(SHOP, known=False)
    assert granted(small) == {}


def test_guards_that_do_not_fit_change_nothing(small: Kernel, maps: DirectMaps) -> None:
    maps.put(WEB, Pick.TURNS, [A, B], GUARDS)
    maps.grant(WEB, for_ever(5))
    before = words(small, WEB), slots(small), granted(small)
    with pytest.raises(NoRoom):
        maps.put(WEB, Pick.TURNS, [A, B] * 4, {A: Guard(3, 100), B: Guard(3, 100)})
    assert (words(small, WEB), slots(small), granted(small)) == before
    assert maps.grants.given(WEB) == for_ever(5)


def test_a_successor_finds_guards_and_grants(small: Kernel, maps: DirectMaps) -> None:
    maps.put(WEB, Pick.TURNS, [A, B], GUARDS)
    maps.grant(WEB, for_ever(5, 6))
    held = maps.standing[WEB]
    successor = DirectMaps(small.maps)
    assert successor.standing == {WEB: held}
    assert successor.standing[WEB].guarded
    assert granted(small) == dict.fromkeys((grantee(WEB, 5), grantee(WEB, 6)), held.generation)
    assert successor.grant(WEB, for_ever(6)) == set()
    assert granted(small) == {grantee(WEB, 6): held.generation}


def lives(kernel: Kernel, cookie: int, workload: int, there: int) -> bytes:
    """Let a connection live that was granted if it has come from `there`; return its key among passages."""
    source = Address.of("10.9.0.1", cookie).pack()
    live = source + WEB.pack() + A.pack() + struct.pack("<2xIIQQ", workload, bool(there), 3, 100)
    followed = live + struct.pack("<8xQ8sII", there, Seat(0, 0).pack(), FLOW_BEGUN, 0)
    assert len(followed) == FOLLOWED_BYTES
    berth = struct.pack("<I4xQ", 1, cookie) + followed
    bpf.update(kernel.maps["direct_berths"], struct.pack("<I", cookie % BERTHS), berth)
    key = struct.pack("<Q", there) + source + A.pack() + bytes(4)
    bpf.update(kernel.maps["passages"], key, struct.pack("<QII", cookie, 1, 1))
    return key


def test_what_nobody_follows_any_more_was_never_granted(small: Kernel, maps: DirectMaps) -> None:
    one, other, gone = lives(small, 11, 5, 100), lives(small, 12, 6, 100), lives(small, 13, 7, 100)
    bpf.update(small.maps["direct_berths"], struct.pack("<I", 13), bytes(BERTH_BYTES))

    def noted() -> set[bytes]:
        return set(bpf.keys(small.maps["passages"], PASSAGE_BYTES))

    assert noted() == {one, other, gone}
    maps.sweep_passages()
    assert noted() == {one, other}
    assert [cookie for cookie, _ in maps.lose(5)] == [11]
    assert noted() == {other}
    maps.sweep_passages()
    assert noted() == {other}
