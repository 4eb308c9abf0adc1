"""World. How direct connections end: each once, with its bytes, and every count comes back to zero."""

import contextlib
import mmap
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.intercept.direct_layout import Pick
from meshtrio.intercept.followed_layout import ENDED_BYTES
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import Reason
from tests.bpf.app import Failed
from tests.bpf.direct import PORT, Direct, berths_taken, direct_in, soon
from tests.bpf.pod import HERE, HERE6, VIP, VIP6, WORKLOAD, Pod, pod_in
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.world, pytest.mark.kernel]

ESTABLISHED, SYN_SENT, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK = 1, 2, 4, 5, 8, 9
"""As in the kernel's net/tcp_states.h."""
ABORT = struct.pack("ii", 1, 0)


@pytest.fixture(params=[(VIP, False), (VIP6, False), (VIP, True)], ids=["v4", "v6", "crowded"])
def direct(pod: Pod, request: pytest.FixtureRequest) -> Iterator[Direct]:
    vip, is_crowded = request.param
    with (
        berths_taken(pod) if is_crowded else contextlib.nullcontext(),
        direct_in(pod, vip, [HERE6 if ":" in vip else HERE] * 2) as made,
    ):
        made.serve([0])
        yield made
        made.pod.app.kill()
        assert soon(lambda: made.followed() == [0, 0])


def talk(direct: Direct) -> socket.socket:
    """Have a connection over which 8 bytes went up, and 5 down."""
    direct.pod.dial(direct.vip.host, PORT)
    _, accepted, _ = direct.accept()
    direct.pod.app.do("kept.sendall(b'question')")
    assert accepted.recv(100) == b"question"
    accepted.sendall(b"reply")
    assert direct.pod.app.do("said = kept.recv(100).decode()") == "reply"
    return accepted


def client_closes_first(direct: Direct, accepted: socket.socket) -> None:
    direct.pod.app.do("kept.close()")
    assert accepted.recv(1) == b""
    accepted.close()


def client_closes_first_and_waits_long(direct: Direct, accepted: socket.socket) -> None:
    direct.pod.app.do("kept.shutdown(socket.SHUT_WR)")
    assert accepted.recv(1) == b""
    accepted.close()
    direct.pod.app.do("kept.recv(1); kept.close()")


def server_closes_first(direct: Direct, accepted: socket.socket) -> None:
    accepted.close()
    direct.pod.app.do("kept.recv(1); kept.close()")


def client_aborts(direct: Direct, accepted: socket.socket) -> None:
    direct.pod.app.do(
        "kept.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); kept.close()"
    )
    accepted.close()


def server_aborts(direct: Direct, accepted: socket.socket) -> None:
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    accepted.close()


def server_aborts_after_client_closed(direct: Direct, accepted: socket.socket) -> None:
    direct.pod.app.do("kept.shutdown(socket.SHUT_WR)")
    assert accepted.recv(1) == b""
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    accepted.close()


def client_aborts_after_server_closed(direct: Direct, accepted: socket.socket) -> None:
    accepted.close()
    direct.pod.app.do(
        "kept.recv(1); kept.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))"
        "; kept.close()"
    )


def client_is_killed(direct: Direct, accepted: socket.socket) -> None:
    direct.pod.app.kill()
    assert accepted.recv(1) == b""
    accepted.close()


@pytest.mark.parametrize(
    ("end", "states", "released"),
    [
        (client_closes_first, {FIN_WAIT2}, True),
        (client_closes_first_and_waits_long, {FIN_WAIT2}, False),
        (server_closes_first, {LAST_ACK}, True),
        (client_aborts, {ESTABLISHED}, True),
        (server_aborts, {ESTABLISHED}, False),
        (client_aborts_after_server_closed, {CLOSE_WAIT}, True),
        (client_is_killed, {FIN_WAIT2}, True),
    ],
)
def test_each_end_is_told_once_with_its_bytes(
    direct: Direct, end: Callable[[Direct, socket.socket], None], states: set[int], released: bool
) -> None:
    accepted = talk(direct)
    assert direct.active() == [1, 0, 1]
    (_, live) = next(one for one in direct.maps.live() if one[1].destination == direct.vip)
    end(direct, accepted)
    ended = direct.ending()
    assert ended.state in states
    assert ended.released == released
    assert (ended.sent, ended.received) == (8, 5)
    assert ended.was == live
    assert (live.member, live.workload) == (direct.members[0], WORKLOAD)
    assert live.netns == direct.pod.netns.id
    assert live.began_at < ended.at
    assert direct.at_rest()
    carried = direct.carried(0)
    assert carried
    assert (carried.connections, carried.failed, carried.sent, carried.received) == (1, 0, 8, 5)


def test_a_reset_in_the_midst_of_an_answer_ends_it(direct: Direct) -> None:
    accepted = talk(direct)
    server_aborts_after_client_closed(direct, accepted)
    ended = direct.ending()
    assert ended.state in (FIN_WAIT1, FIN_WAIT2)  # the kernel may be slow to acknowledge our FIN
    assert (ended.sent, ended.received) == (8, 5)
    assert direct.at_rest()


def test_many_bytes_are_counted_exactly(direct: Direct) -> None:
    direct.pod.dial(direct.vip.host, PORT)
    _, accepted, _ = direct.accept()
    answer = threading.Thread(target=lambda: accepted.sendall(bytes(3_000_000)))
    answer.start()
    counting = "count = 0\nwhile count < 3000000: count += len(kept.recv(65536))"
    direct.pod.app.do(counting)
    answer.join()
    direct.pod.app.do("kept.close()")
    accepted.close()
    ended = direct.ending()
    assert (ended.sent, ended.received) == (0, 3_000_000)


def test_a_refused_connect_is_a_failure_of_its_member(direct: Direct) -> None:
    direct.doors[0].close()
    with pytest.raises(Failed, match="ECONNREFUSED"):
        direct.pod.dial(direct.vip.host, PORT)
    ended = direct.ending()
    assert (ended.state, ended.sent, ended.received) == (SYN_SENT, 0, 0)
    assert not ended.retransmitted
    assert not ended.released
    carried = direct.carried(0)
    assert carried
    assert (carried.connections, carried.established, carried.failed, carried.active) == (1, 0, 1, 0)
    assert direct.maps.established(direct.vip, direct.members[0]) == 0
    assert direct.at_rest()


def test_what_the_agent_has_given_up_is_not_counted_again_when_it_ends(direct: Direct) -> None:
    """The hooks of its workload were gone, and are there again."""
    accepted = talk(direct)
    (live,) = list(direct.maps.live())
    assert direct.maps.lose(WORKLOAD) == [live]
    assert direct.active() == [0, 0, 0]
    client_closes_first(direct, accepted)
    direct.pod.dial(direct.vip.host, PORT)
    assert direct.active() == [1, 0, 1]
    assert direct.maps.ended(10) == []


def test_one_that_stands_is_counted_at_once(direct: Direct) -> None:
    direct.pod.dial(direct.vip.host, PORT)
    carried = direct.carried(0)
    assert carried
    assert (carried.connections, carried.established, carried.active) == (1, 1, 1)
    assert direct.maps.established(direct.vip, direct.members[0]) == 1
    assert direct.maps.established(direct.vip, direct.vip) == 0, "who is no member has none"


def test_a_failure_wakes_who_waits_for_it_and_no_other_end_does(direct: Direct) -> None:
    waiting = select.epoll()
    try:
        waiting.register(direct.maps.failing, select.EPOLLIN | select.EPOLLET)
        assert waiting.poll(0) == []
        direct.dial(3)
        assert direct.at_rest()
        assert waiting.poll(0) == []
        direct.doors[0].close()
        with pytest.raises(Failed, match="ECONNREFUSED"):
            direct.pod.dial(direct.vip.host, PORT)
        assert waiting.poll(3) == [(direct.maps.failing, select.EPOLLIN)]
    finally:
        waiting.close()


def test_a_connect_that_is_given_up_is_counted_back(direct: Direct) -> None:
    """Nobody answers, and the process closes the socket."""
    family = "ip6" if ":" in direct.vip.host else "ip"
    rules = f"add table {family} dark; add chain {family} dark in {{ type filter hook input priority 0; }}; "
    rules += f"add rule {family} dark in tcp dport {direct.members[0].port} drop"
    direct.pod.space.command("nft", rules)
    with pytest.raises(Failed):
        direct.pod.app.do(
            "lone = tcp(host); lone.settimeout(1.3); lone.connect((host, port))",
            host=direct.vip.host,
            port=PORT,
        )
    assert direct.active() == [1, 0, 1]
    direct.pod.app.do("lone.close()")
    ended = direct.ending()
    assert ended.state == SYN_SENT
    assert ended.released
    assert ended.retransmitted
    assert direct.at_rest()


def test_an_address_that_leads_nowhere_leaves_no_count(direct: Direct) -> None:
    away = "fd00:9::1" if ":" in direct.vip.host else "192.0.2.1"
    direct.members.append(type(direct.vip).of(away, 80))
    direct.serve([2])
    with pytest.raises(Failed, match=r"ENETUNREACH|EHOSTUNREACH"):
        direct.pod.dial(direct.vip.host, PORT)
    assert direct.at_rest()


def test_nobody_is_lost_while_members_change(direct: Direct) -> None:
    """3,000 connects while the order is replaced as fast as it goes, and goes to the worker and back."""
    ended = threading.Event()
    counts = [0, 0, 0]

    def serve(at: int, door: socket.socket) -> None:
        door.settimeout(0.1)
        while not ended.is_set():
            try:
                door.accept()[0].close()
            except TimeoutError:
                continue
            counts[at] += 1

    worker = direct.pod.outbound.by_family(direct.doors[0].family)
    assert worker
    servers = [threading.Thread(target=serve, args=each) for each in enumerate((*direct.doors, worker))]
    changes = 0
    dialling = threading.Thread(
        target=direct.pod.app.do,
        args=("for _ in range(3000):\n d = dial(host, port)\n d.recv(1)\n d.close()",),
        kwargs={"host": direct.vip.host, "port": PORT},
    )
    for one in (*servers, dialling):
        one.start()
    try:
        while dialling.is_alive():
            changes += 1
            direct.pod.heartbeat.beat()  # however long it takes, workers are there
            match changes % 4:
                case 0:
                    direct.maps.drop(direct.vip)
                case 1:
                    direct.serve([0, 1])
                case 2:
                    direct.serve([1], Pick.STICKY)
                case _:
                    direct.serve([1, 0, 1], Pick.LEAST)
            direct.maps.sweep()
            while direct.maps.ended(1000):
                pass
    finally:
        dialling.join()
        direct.serve([0])
        soon(lambda: sum(counts) == 3000)
        ended.set()
        for one in servers:
            one.join()
    assert sum(counts) == 3000
    assert changes > 100
    assert direct.at_rest()
    told = direct.pod.counted()
    assert told.pop(Reason.MISSED_MEMBER, 0) < 300
    assert sum(told.values()) == 3000
    assert told[Reason.DIRECT] == counts[0] + counts[1]


def small(kernel: Kernel, **room: int) -> Kernel:
    """Load once more, with less room in some maps."""
    maps = [
        msgspec.structs.replace(one, max_entries=room[one.name]) if one.name in room else one
        for one in kernel.compiled.maps
    ]
    made = Kernel(msgspec.structs.replace(kernel.compiled, maps=maps), None)
    made.load()
    return made


def test_what_cannot_be_followed_is_carried(kernel: Kernel) -> None:
    other = small(kernel, direct_live=1)
    try:
        with (
            Namespace() as space,
            pod_in(other, space) as pod,
            berths_taken(pod),
            direct_in(pod, VIP, [HERE]) as direct,
        ):
            direct.serve([0])
            pod.app.do("one = dial(host, 80); two = dial(host, 80)", host=VIP)
            assert direct.active() == [1, 1]
            assert pod.counted() == {Reason.DIRECT: 2, Reason.FULL_LIVE: 1}
            seen = pod.app.do("said = [one.getpeername(), two.getpeername()]")
            assert [Address.of(*one) for one in seen] == [direct.vip, direct.members[0]]
            pod.app.do("one.close(); two.close()")
            direct.arrived()
            direct.arrived()
            assert direct.at_rest()
            assert len(direct.maps.ended(10)) == 1
    finally:
        other.close()


def test_ends_that_nobody_reads_are_counted_as_such(kernel: Kernel) -> None:
    other = small(kernel, direct_ended=mmap.PAGESIZE)
    room = mmap.PAGESIZE // (8 + ENDED_BYTES) - 1  # the last byte of a ring stays free
    try:
        with Namespace() as space, pod_in(other, space) as pod, direct_in(pod, VIP, [HERE]) as direct:
            direct.serve([0])
            direct.dial(room + 1)
            assert direct.at_rest()
            assert pod.counted() == {Reason.DIRECT: room + 1, Reason.FULL_ENDED: 1}
            assert len(direct.maps.ended(1000)) == room
            carried = direct.carried(0)
            assert carried
            assert carried.connections == carried.established == room + 1
            direct.dial(1)
            assert direct.at_rest()
            assert len(direct.maps.ended(1000)) == 1, "what was read has made room"
    finally:
        other.close()


def test_a_workload_that_is_caught_no_more_is_counted_back(direct: Direct) -> None:
    accepted = talk(direct)
    direct.pod.hooks.detach()
    direct.pod.app.do("kept.close()")
    accepted.close()
    assert direct.active() == [1, 0, 1], "nobody saw the end"
    assert len(direct.maps.lose(WORKLOAD)) == 1
    assert direct.maps.lose(WORKLOAD) == [], "once is enough"
    assert direct.active() == [0, 0, 0]
