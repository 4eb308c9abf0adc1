"""World. For whom a connection counts: its member while that has the seat, never who has it afterwards."""

from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import SERVICE_BYTES, Carried, Pick, Seat, ServiceWords, member_key
from meshtrio.intercept.direct_seats import DirectSeats
from tests.bpf.direct import PORT, Direct, direct_in
from tests.bpf.pod import HERE, VIP, WORKLOAD, Pod

pytestmark = [pytest.mark.world, pytest.mark.kernel]

OTHER = Address.of("10.99.0.1", 80), Address.of("10.99.0.2", 80)


@pytest.fixture
def direct(pod: Pod) -> Iterator[Direct]:
    with direct_in(pod, VIP, [HERE, HERE]) as made:
        made.serve([0])
        yield made


@pytest.fixture
def seats(direct: Direct) -> Iterator[DirectSeats]:
    """Give the seats, in other hands than those of the maps."""
    maps = direct.pod.kernel.maps
    given = DirectSeats(maps["direct_seats"], maps["direct_members"])
    yield given
    given.take_back(OTHER)


def pass_on(direct: Direct, seats: DirectSeats) -> None:
    """Let another member have the seat of the first, though that is picked still."""
    role = direct.vip, direct.members[0]
    before, _ = seats.give(role)
    seats.take_back(role)
    after = Seat(before.index, before.holder + 1)
    bpf.update(direct.pod.kernel.maps["direct_seats"], member_key(*OTHER), after.pack())
    assert seats.carried(OTHER) == Carried()


def test_a_connection_does_not_count_for_who_has_its_member_s_seat_now(
    direct: Direct, seats: DirectSeats
) -> None:
    direct.pod.dial(VIP, PORT)
    _, accepted, _ = direct.accept()
    pass_on(direct, seats)
    direct.pod.app.do("kept.close()")
    accepted.close()
    assert direct.ending().was.member == direct.members[0], "it is told all the same"
    assert seats.carried(OTHER) == Carried()


def test_who_was_picked_before_its_seat_was_another_s_is_carried_and_not_counted(
    direct: Direct, seats: DirectSeats
) -> None:
    pass_on(direct, seats)
    _, peer = direct.pod.dial(VIP, PORT)
    assert peer == direct.vip
    _, accepted, _ = direct.accept()
    assert seats.carried(OTHER) == Carried()
    assert len(list(direct.maps.live())) == 1
    direct.pod.app.do("kept.close()")
    accepted.close()
    assert direct.ending().was.member == direct.members[0]
    assert seats.carried(OTHER) == Carried()


def test_what_was_not_counted_is_not_counted_back(direct: Direct, seats: DirectSeats) -> None:
    pass_on(direct, seats)
    direct.pod.dial(VIP, PORT)
    direct.arrived()
    direct.pod.hooks.detach()
    assert len(direct.maps.lose(WORKLOAD)) == 1
    assert seats.carried(OTHER) == Carried()


def test_least_connections_take_who_lost_its_seat_for_idle(direct: Direct, seats: DirectSeats) -> None:
    direct.serve([0, 1], Pick.LEAST)
    direct.pod.app.do("one = dial(host, port); two = dial(host, port)", host=VIP, port=PORT)
    assert sorted((direct.arrived(), direct.arrived())) == [0, 1]
    pass_on(direct, seats)
    assert direct.dial(4) == [0] * 4
    assert seats.carried(OTHER) == Carried()


def test_turns_go_on_when_the_order_is_replaced(direct: Direct) -> None:
    direct.serve([0, 1])
    assert direct.dial(3) == [0, 1, 0]
    direct.serve([0, 1])
    assert direct.dial(3) == [1, 0, 1]
    raw = bpf.look_up(direct.pod.kernel.maps["services"], direct.vip.pack(), SERVICE_BYTES)
    assert raw is not None
    assert ServiceWords.unpack(raw).turn == 6
    direct.maps.drop(direct.vip)
    direct.serve([0, 1])
    assert direct.dial(2) == [0, 1], "it was relayed meanwhile, and begins anew"
