"""World. UDP services: the hooks pick a member, a flow stays with it, and the process sees the service."""

import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf, marks
from meshtrio.intercept.attachment import CgroupHooks
from meshtrio.intercept.direct_layout import Pick
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import BEAT_OF_RESOLVER, EXCLUDED_OUTBOUND, Reason, excluded_port_key, prefix
from meshtrio.intercept.tables import Heartbeat
from tests.bpf.app import Failed
from tests.bpf.direct_udp import PORT, Datagrams, datagrams_in
from tests.bpf.pod import HERE, HERE6, VIP, VIP6, VIP_MAPPED, Pod, pod_in
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.world, pytest.mark.kernel]

HOSTS = {VIP: HERE, VIP6: HERE6, VIP_MAPPED: HERE}
OTHER = "10.96.0.12"


@pytest.fixture
def udp(pod: Pod) -> Iterator[Datagrams]:
    with datagrams_in(pod, [HERE, HERE, HERE]) as made:
        pod.app.do("one, two = udp(''), udp('')")
        yield made


@pytest.mark.parametrize("vip", HOSTS)
def test_a_socket_that_is_not_connected_reaches_a_member_and_hears_the_service(pod: Pod, vip: str) -> None:
    with datagrams_in(pod, [HOSTS[vip]]) as udp:
        udp.serve(vip, [0])
        pod.app.do("one = udp(host)", host=vip)
        assert udp.ask("one", vip) == 0
        assert pod.counted() == {Reason.UDP_DIRECT: 1}


@pytest.mark.parametrize("vip", HOSTS)
def test_a_connected_socket_sees_the_service_and_nobody_else(pod: Pod, vip: str) -> None:
    with datagrams_in(pod, [HOSTS[vip], HOSTS[vip]]) as udp:
        udp.serve(vip, [0, 1])
        pod.app.do("one = udp(host); one.connect((host, port))", host=vip, port=PORT)
        assert pod.counted() == {Reason.UDP_DIRECT: 1}
        assert pod.app.do("said = list(one.getpeername()[:2])") == [vip, PORT]
        for how in ("one.send(b'question')", "one.sendto(b'question', (host, port))"):
            pod.app.do(how)
            heard = udp.heard()
            assert (heard.member, heard.text) == (0, "question")
            udp.answer(heard)
            assert pod.app.do("said = heard(one)") == ["answer", vip, PORT]
        udp.answer(heard)
        assert pod.app.do("said = one.recv(100).decode()") == "answer"


def test_a_flow_stays_and_each_socket_has_its_own(udp: Datagrams) -> None:
    udp.serve(VIP, [0, 1, 2])
    assert [udp.ask("one", VIP) for _ in range(5)] == [0] * 5
    assert [udp.ask("two", VIP) for _ in range(5)] == [1] * 5
    assert [udp.ask("one", VIP), udp.ask("two", VIP)] == [0, 1]
    assert udp.flows(VIP) == [1, 1, 0]
    udp.pod.app.do("one.connect((host, port))", host=VIP, port=PORT)
    udp.pod.app.do("one.send(b'question')")
    assert udp.heard().member == 0, "the same flow"


def test_a_flow_moves_when_its_member_has_left_and_not_before(udp: Datagrams) -> None:
    udp.serve(VIP, [0, 1])
    assert udp.ask("one", VIP) == 0
    udp.serve(VIP, [2, 1, 0])
    assert udp.ask("one", VIP) == 0, "it serves still"
    udp.serve(VIP, [1, 2])
    moved = udp.ask("one", VIP)
    assert moved in (1, 2)
    udp.serve(VIP, [0, 1, 2])
    assert udp.ask("one", VIP) == moved
    assert udp.flows(VIP)[moved] == 1


def test_a_connected_socket_stays_with_whom_it_hears(udp: Datagrams) -> None:
    udp.serve(VIP, [0])
    udp.pod.app.do("one.connect((host, port))", host=VIP, port=PORT)
    udp.serve(VIP, [1])
    assert udp.ask("one", VIP) == 0, "the answer of anybody else would be lost"
    udp.pod.app.do("one.connect((host, port))", host=VIP, port=PORT)
    assert udp.ask("one", VIP) == 1


def test_what_it_connects_to_while_we_do_not_look_is_shown_as_it_is(udp: Datagrams) -> None:
    udp.serve(VIP, [0])
    udp.pod.app.do("one.connect((host, port))", host=VIP, port=PORT)
    udp.pod.hooks.detach()
    host, port = udp.members[1].host, udp.members[1].port
    udp.pod.app.do("one.connect((host, port))", host=host, port=port)
    udp.pod.hooks = CgroupHooks(udp.pod.kernel, udp.pod.group, None)
    udp.pod.describe()
    assert udp.pod.app.do("said = list(one.getpeername()[:2])") == [host, port]


def test_what_is_late_from_a_member_that_has_left_is_still_the_service_s(udp: Datagrams) -> None:
    udp.serve(VIP, [0])
    heard = udp.send("one", VIP)
    udp.serve(VIP, [1])
    udp.answer(heard, "late")
    assert udp.pod.app.do("said = heard(one)") == ["late", VIP, PORT]


def test_one_socket_speaks_to_several_services_and_to_strangers(udp: Datagrams) -> None:
    udp.serve(VIP, [0])
    udp.serve(OTHER, [1])
    udp.serve(VIP, [2], port=PORT + 1)
    asked = [udp.send("one", VIP), udp.send("one", OTHER), udp.send("one", VIP, port=PORT + 1)]
    assert [one.member for one in asked] == [0, 1, 2]
    with udp.bound(HERE) as stranger:
        stranger.sendto(b"unasked", (asked[0].source.host, asked[0].source.port))
        assert udp.pod.app.do("said = heard(one)") == ["unasked", *stranger.getsockname()]
    for one in reversed(asked):
        udp.answer(one, f"answer {one.member}")
    seen = [udp.pod.app.do("said = heard(one)") for _ in asked]
    assert seen == [["answer 2", VIP, PORT + 1], ["answer 1", OTHER, PORT], ["answer 0", VIP, PORT]]


def test_two_addresses_of_one_member_are_told_apart_by_who_was_asked_last(udp: Datagrams) -> None:
    udp.serve(VIP, [0])
    udp.serve(OTHER, [0])
    for vip in (VIP, OTHER, VIP, OTHER):
        assert udp.ask("one", vip) == 0


def test_two_sockets_are_never_mistaken_for_each_other(udp: Datagrams) -> None:
    udp.serve(VIP, [0])
    first = udp.send("one", VIP)
    host, port = udp.members[0].host, udp.members[0].port
    second = udp.send("two", host, port=port)
    udp.answer(first)
    udp.answer(second)
    assert udp.pod.app.do("said = [heard(one), heard(two)]") == [
        ["answer", VIP, PORT],
        ["answer", host, port],
    ]


@pytest.mark.parametrize("vip", HOSTS)
def test_where_nobody_may_be_picked_the_caller_is_told(pod: Pod, vip: str) -> None:
    with datagrams_in(pod, [HOSTS[vip]]) as udp:
        udp.serve(vip, [])
        pod.app.do("one = udp(host)", host=vip)
        for how in ("one.sendto(b'x', (host, port))", "one.connect((host, port))"):
            with pytest.raises(Failed, match="EPERM"):
                pod.app.do(how, port=PORT)
            assert pod.counted() == {Reason.REFUSED_NO_MEMBER: 1}
        udp.serve(vip, [0])
        assert udp.ask("one", vip) == 0


def test_what_is_no_udp_service_is_left_alone_and_not_counted(udp: Datagrams) -> None:
    udp.serve(VIP, [0])
    host, port = udp.members[1].host, udp.members[1].port
    heard = udp.send("one", host, port=port)
    udp.answer(heard)
    assert udp.pod.app.do("said = heard(one)") == ["answer", host, port]
    with pytest.raises(Failed):
        udp.pod.app.do("two.sendto(b'x', (host, port))", host=VIP, port=PORT + 1)
    assert udp.pod.counted() == {}


def test_tcp_to_its_address_and_port_is_another_matter(udp: Datagrams) -> None:
    udp.serve(VIP, [0])
    udp.pod.dial(VIP, PORT)
    assert udp.pod.at_door().origin is not None
    assert udp.pod.counted() == {Reason.REDIRECTED: 1}


def test_it_goes_on_without_us(udp: Datagrams) -> None:
    udp.serve(VIP, [0, 1])
    udp.pod.heartbeat.silence()
    udp.pod.describe(closed=True, door4=0, door6=0)
    assert (udp.ask("one", VIP), udp.ask("two", VIP)) == (0, 1)


def left_alone(udp: Datagrams, reason: Reason) -> None:
    """A datagram does not reach a member, for its address leads nowhere, and the reason is counted."""
    udp.pod.counted()
    for how in ("one.sendto(b'x', (host, port))", "two.connect((host, port))"):
        with pytest.raises(Failed, match="UNREACH"):
            udp.pod.app.do(how, host=VIP, port=PORT)
        assert udp.pod.counted() == {reason: 1}


def test_what_is_excluded_is_left_alone(udp: Datagrams) -> None:
    udp.serve(VIP, [0])
    with udp.pod.excluded("excluded_ports", excluded_port_key(EXCLUDED_OUTBOUND, PORT)):
        left_alone(udp, Reason.LEFT_EXCLUDED)
    with udp.pod.excluded("excluded_networks", prefix(128, Address.of(VIP, 0).ip)):
        left_alone(udp, Reason.LEFT_EXCLUDED)
    assert udp.ask("one", VIP) == 0


def test_our_mark_is_left_alone(udp: Datagrams) -> None:
    udp.serve(VIP, [0])
    udp.pod.app.do(
        "for each in (one, two): each.setsockopt(*mark)",
        mark=[socket.SOL_SOCKET, socket.SO_MARK, marks.OUTBOUND_DIAL],
    )
    left_alone(udp, Reason.LEFT_OURS)


def test_a_workload_that_nobody_described_is_left_alone(kernel: Kernel) -> None:
    with (
        Namespace() as space,
        pod_in(kernel, space, described=False) as pod,
        datagrams_in(pod, [HERE]) as udp,
    ):
        pod.app.do("one, two = udp(''), udp('')")
        udp.serve(VIP, [0])
        left_alone(udp, Reason.LEFT_NO_CONFIG)


def test_a_caller_sticks_to_its_slot(udp: Datagrams) -> None:
    udp.serve(VIP, [0, 1, 2], Pick.STICKY)
    for sticky, member in ((7, 1), (9, 0), (5, 2)):
        udp.pod.describe(sticky=sticky)
        udp.pod.app.do("one = udp('')")
        assert udp.ask("one", VIP) == member


def test_luck_and_weights_go_everywhere(udp: Datagrams) -> None:
    def many(order: list[int], pick: Pick) -> Counter[int]:
        udp.serve(VIP, order, pick)
        udp.pod.app.do("for _ in range(60): udp('').sendto(b'x', (host, port))", host=VIP, port=PORT)
        return Counter(udp.heard().member for _ in range(60))

    assert many([0, 1, 0, 2], Pick.TURNS) == {0: 30, 1: 15, 2: 15}
    # 60 picks that leave out one of three: 3 * (2/3)^60, one in ten billion.
    assert set(many([0, 1, 2], Pick.LUCK)) == {0, 1, 2}


def test_names_come_first_and_without_our_resolver_its_service_is_picked_for(udp: Datagrams) -> None:
    with udp.bound(HERE) as resolver:
        port = resolver.getsockname()[1]
        udp.pod.describe(dns4=port)
        beat = Heartbeat(udp.pod.kernel.maps["heartbeat"], BEAT_OF_RESOLVER)
        udp.serve(VIP, [0], port=53)
        beat.beat()
        try:
            udp.pod.app.do("two.connect((host, 53)); said = two.getpeername()[0]", host=VIP)
            assert udp.pod.counted() == {Reason.RESOLVED_BY_US: 1}
        finally:
            beat.silence()
        assert udp.ask("one", VIP, port=53) == 0
        assert udp.pod.counted() == {Reason.OPEN_NO_RESOLVER: 1, Reason.UDP_DIRECT: 1}


def test_a_socket_that_connects_again_forgets_where_it_was(udp: Datagrams) -> None:
    udp.serve(VIP, [0])
    host, port = udp.members[0].host, udp.members[0].port
    lines = "one.connect((host, port)); said = list(one.getpeername()[:2])"
    assert udp.pod.app.do(lines, host=VIP, port=PORT) == [VIP, PORT]
    assert udp.pod.app.do(lines, host=host, port=port) == [host, port], "its member, by its own name"
    assert udp.pod.app.do(lines, host=VIP, port=PORT) == [VIP, PORT]
    udp.pod.app.do("libc.connect(one.fileno(), bytes(16), 16)")  # AF_UNSPEC: it is connected no more
    udp.serve(VIP, [1])
    assert udp.ask("one", VIP) == 1


def test_no_room_in_a_socket_is_no_reason_to_fail(udp: Datagrams) -> None:
    if not udp.pod.space.has_sysctl("net.core.optmem_max"):
        pytest.skip("this kernel has no optmem_max of a namespace (6.8), so no socket can be made full")
    udp.serve(VIP, [0])
    udp.pod.space.set_sysctl("net.core.optmem_max", "0")
    udp.pod.app.do("one.connect((host, port)); one.send(b'question')", host=VIP, port=PORT)
    udp.answer(udp.heard())
    assert udp.pod.app.do("said = heard(one)") == ["answer", VIP, PORT], "by udp_sources"
    assert udp.pod.counted() == {Reason.FULL_FLOWS: 1, Reason.UDP_DIRECT: 1}


def crowd(pod: Pod, name: str, value: bytes) -> None:
    """Fill a map twice over, from each processor: what one has taken last is not evicted by another."""
    processors = os.sched_getaffinity(0)
    try:
        for processor in processors:
            os.sched_setaffinity(0, {processor})
            keys = [struct.pack("<Q24s", 1 << 63 | at, os.urandom(24)) for at in range(131_072)]
            for begin in range(0, len(keys), 4096):
                bpf.update_many(pod.kernel.maps[name], keys[begin : begin + 4096], value)
    finally:
        os.sched_setaffinity(0, processors)


def test_full_maps_forget_who_was_silent_longest(udp: Datagrams) -> None:
    udp.serve(VIP, [0, 1])
    asked = udp.send("one", VIP)
    crowd(udp.pod, "udp_flows", bytes(32))
    crowd(udp.pod, "udp_sources", bytes(18))
    udp.answer(asked)
    member = udp.members[0]
    assert udp.pod.app.do("said = heard(one)") == ["answer", member.host, member.port], "nobody remembers"
    assert udp.ask("one", VIP) == 1, "it picks anew, and is known again"
    assert udp.ask("one", VIP) == 1
    for name in ("udp_flows", "udp_sources"):
        for key in list(bpf.keys(udp.pod.kernel.maps[name], 32)):
            bpf.delete(udp.pod.kernel.maps[name], key)


def test_nothing_stays_behind(pod: Pod) -> None:
    with datagrams_in(pod, [HERE]) as udp:
        udp.serve(VIP, [0])
        udp.serve(OTHER, [])
        pod.app.do("one = udp('')")
        udp.ask("one", VIP)
    sizes = {"udp_services": 18, "udp_slots": 24, "udp_seats": 36}
    left = {name: len(list(bpf.keys(pod.kernel.maps[name], size))) for name, size in sizes.items()}
    assert left == dict.fromkeys(sizes, 0)
