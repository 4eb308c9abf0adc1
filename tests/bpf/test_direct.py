"""World. Direct services: the connect hook picks a member, and the process connects straight to it."""

from collections import Counter
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import Pick, slot_key
from meshtrio.intercept.layout import EXCLUDED_OUTBOUND, Reason, excluded_port_key
from tests.bpf.app import Failed
from tests.bpf.direct import PORT, Direct, direct_in
from tests.bpf.pod import HERE, HERE6, VIP, VIP6, VIP_MAPPED, Pod

pytestmark = [pytest.mark.world, pytest.mark.kernel]

HOSTS = {VIP: HERE, VIP6: HERE6, VIP_MAPPED: HERE}


@pytest.fixture
def direct(pod: Pod) -> Iterator[Direct]:
    with direct_in(pod, VIP, [HERE, HERE, HERE]) as made:
        yield made


@pytest.mark.parametrize("vip", [VIP, VIP6, VIP_MAPPED])
def test_the_process_reaches_a_member_and_sees_what_it_dialled(pod: Pod, vip: str) -> None:
    with direct_in(pod, vip, [HOSTS[vip]]) as direct:
        direct.serve([0])
        mine, peer = pod.dial(vip, PORT)
        _, accepted, source = direct.accept()
        assert source == mine, "its own idea of itself is the member's"
        assert peer == direct.vip
        assert pod.app.do("said = kept.getpeername()")[:2] == [vip, PORT], "in the form that it used"
        pod.app.do("kept.sendall(b'question'); said = 1")
        assert accepted.recv(100) == b"question"
        accepted.sendall(b"answer")
        assert pod.app.do("said = kept.recv(100).decode()") == "answer"
        accepted.close()
        assert pod.counted() == {Reason.DIRECT: 1}


def test_turns_are_taken_in_order_and_exactly(direct: Direct) -> None:
    direct.serve([0, 1, 2])
    assert direct.dial(30) == [0, 1, 2] * 10


def test_a_weight_is_a_share_of_the_order(direct: Direct) -> None:
    direct.serve([0, 1, 0, 2])
    assert Counter(direct.dial(40)) == {0: 20, 1: 10, 2: 10}


def test_luck_goes_everywhere(direct: Direct) -> None:
    direct.serve([0, 1, 2], Pick.LUCK)
    # 60 picks that leave out one of three: 3 * (2/3)^60, one in ten billion.
    assert set(direct.dial(60)) == {0, 1, 2}


def test_a_caller_sticks_to_its_slot(direct: Direct) -> None:
    direct.serve([0, 1, 2], Pick.STICKY)
    for sticky, member in ((7, 1), (9, 0), (2**32 - 1, 0), (5, 2)):
        direct.pod.describe(sticky=sticky)
        assert direct.dial(5) == [member] * 5


def test_least_connections_follow_the_counts(direct: Direct) -> None:
    direct.serve([0, 1], Pick.LEAST)
    held = []
    for name in ("one", "two", "three", "four"):
        direct.pod.app.do(f"{name} = dial(host, port)", host=VIP, port=PORT)
        at, accepted, _ = direct.accept()
        held.append((name, at, accepted))
    assert Counter(at for _, at, _ in held) == {0: 2, 1: 2}
    gone = [name for name, at, _ in held if at == 1]
    direct.pod.app.do("; ".join(f"{name}.close()" for name in gone))
    for _, at, accepted in held:
        if at == 1:
            accepted.close()
    assert direct.active()[:2] == [2, 0]
    assert direct.dial(6) == [1] * 6, "which has none, each time"
    for _, _, accepted in held:
        accepted.close()


def test_one_member_is_always_the_least(direct: Direct) -> None:
    direct.serve([2], Pick.LEAST)
    assert direct.dial(3) == [2] * 3


@pytest.mark.parametrize("pick", Pick)
def test_it_goes_on_without_us(direct: Direct, pick: Pick) -> None:
    direct.serve([0, 1, 2], pick)
    direct.pod.heartbeat.silence()
    direct.pod.describe(closed=True, door4=0, door6=0)
    direct.dial(6)
    assert direct.pod.counted() == {Reason.DIRECT: 6}


def test_who_has_left_gets_no_new_connection_and_keeps_the_old(direct: Direct) -> None:
    direct.serve([0, 1, 2])
    direct.pod.dial(VIP, PORT)
    _, accepted, _ = direct.accept()
    direct.serve([1, 2])
    assert set(direct.dial(20)) == {1, 2}
    direct.pod.app.do("kept.sendall(b'still')")
    assert accepted.recv(100) == b"still"
    direct.maps.sweep()
    assert direct.carried(0), "it is still counted"
    accepted.close()
    direct.pod.app.do("kept.close()")
    assert direct.at_rest()
    direct.maps.sweep()
    assert direct.carried(0) is None


def test_it_moves_to_the_worker_and_back(direct: Direct) -> None:
    direct.serve([0])
    direct.pod.dial(VIP, PORT)
    _, accepted, _ = direct.accept()
    direct.maps.drop(direct.vip)
    direct.pod.app.do("second = dial(host, port)", host=VIP, port=PORT)
    arrival = direct.pod.at_door()
    assert arrival.origin is not None
    assert arrival.origin.destination == direct.vip
    direct.serve([1])
    assert direct.dial() == [1]
    direct.pod.app.do("kept.sendall(b'still')")
    assert accepted.recv(100) == b"still"
    accepted.close()
    assert direct.pod.counted() == {Reason.DIRECT: 2, Reason.REDIRECTED: 1}


def test_a_member_that_cannot_be_found_is_the_worker_s_business(direct: Direct) -> None:
    direct.serve([0])
    bpf.delete(
        direct.pod.kernel.maps["direct_slots"],
        slot_key(direct.vip, 0, direct.maps.standing[direct.vip].generation),
    )
    direct.pod.dial(VIP, PORT)
    assert direct.pod.at_door().origin is not None
    assert direct.pod.counted() == {Reason.MISSED_MEMBER: 1, Reason.REDIRECTED: 1}


def test_a_workload_that_is_to_be_relayed_is_sent_to_the_worker_and_back_as_before(direct: Direct) -> None:
    direct.serve([0])
    direct.pod.describe(relayed=True)
    direct.pod.dial(VIP, PORT)
    assert direct.pod.at_door().origin is not None
    assert direct.pod.counted() == {Reason.REDIRECTED: 1}
    direct.pod.describe(relayed=False)
    assert direct.dial() == [0]


def test_an_excluded_port_is_left_alone(direct: Direct) -> None:
    direct.serve([0])
    direct.pod.describe(closed=True)
    with direct.pod.excluded("excluded_ports", excluded_port_key(EXCLUDED_OUTBOUND, PORT)):
        with pytest.raises(Failed):
            direct.pod.app.do("lone = tcp(host); lone.settimeout(0.2); lone.connect((host, 80))", host=VIP)
        assert direct.pod.counted() == {Reason.LEFT_EXCLUDED: 1}
    direct.pod.app.do("lone.close()")


def test_a_socket_that_dials_again_forgets_where_it_was(direct: Direct) -> None:
    """AF_UNSPEC ends a connection and leaves the socket for another one (connect(2))."""
    direct.serve([0])
    direct.pod.dial(VIP, PORT)
    direct.arrived()
    direct.pod.app.do(
        "libc.connect(kept.fileno(), bytes(16), 16); kept.connect((host, port)); said = kept.getpeername()",
        host=direct.members[1].host,
        port=direct.members[1].port,
    )
    assert direct.pod.at_door().origin is not None, "no service, so the worker's"
    direct.pod.app.do("kept.close()")
    assert direct.at_rest()


def test_no_room_in_a_socket_does_not_matter(direct: Direct) -> None:
    if not direct.pod.space.has_sysctl("net.core.optmem_max"):
        pytest.skip("this kernel has no optmem_max of a namespace (6.8), so no socket can be made full")
    direct.serve([0])
    direct.pod.space.set_sysctl("net.core.optmem_max", "0")
    _, peer = direct.pod.dial(VIP, PORT)
    assert direct.arrived() == 0
    assert peer == direct.vip
    assert direct.pod.counted() == {Reason.DIRECT: 1}
    assert direct.active() == [1, 0, 0, 1]


def test_nothing_stays_behind(pod: Pod) -> None:
    with direct_in(pod, VIP, [HERE]) as direct:
        direct.serve([0])
        direct.dial()
        assert direct.at_rest()
        assert direct.followed() == [0, 0]
    sizes = {"direct_slots": 24, "direct_seats": 36, "services": 18}
    left = {name: len(list(bpf.keys(pod.kernel.maps[name], size))) for name, size in sizes.items()}
    assert left == dict.fromkeys(sizes, 0)


def test_another_port_of_its_address_is_not_direct(direct: Direct) -> None:
    direct.serve([0])
    direct.pod.dial(VIP, PORT + 1)
    origin = direct.pod.at_door().origin
    assert origin is not None
    assert origin.destination == Address.of(VIP, PORT + 1)
