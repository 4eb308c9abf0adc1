"""World. Where direct connections are kept: in berths, beside them if those are others'; never in both."""

import contextlib
import os
import struct
import threading
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf, bpf_entries
from meshtrio.intercept.followed_layout import BERTH_BYTES, BERTHS
from meshtrio.intercept.layout import Reason
from tests.bpf.direct import PORT, Direct, berths_taken, direct_in, soon
from tests.bpf.pod import HERE, VIP, WORKLOAD, Pod, accept

CROWD = """
kids = []
for number in range(processes):
    kid = os.fork()
    if not kid:
        os.sched_setaffinity(0, {processors[number % len(processors)]})
        for _ in range(rounds):
            dials = [dial(host, 80) for _ in range(5)]
            ok = all(one.recv(1) == b"" and one.getpeername()[0] == host for one in dials)
            for one in dials: one.close()
            if not ok: os._exit(1)
        os._exit(0)
    kids.append(kid)
said = [os.waitpid(kid, 0)[1] for kid in kids]
"""
"""Processes that dial five times at a time, on all processors."""

pytestmark = [pytest.mark.world, pytest.mark.kernel]


@pytest.fixture
def direct(pod: Pod) -> Iterator[Direct]:
    with direct_in(pod, VIP, [HERE]) as made:
        made.serve([0])
        yield made


def crowd(direct: Direct) -> bytes | None:
    return bpf.look_up(direct.pod.kernel.maps["direct_crowd"], bytes(4), 8)


def claims(direct: Direct) -> int:
    """Return how many berths are had, or tried for."""
    raw = bpf_entries.first_values(direct.pod.kernel.maps["direct_berths"], BERTHS, BERTH_BYTES)
    return sum(number for (number,) in struct.iter_unpack(f"<i{BERTH_BYTES - 4}x", raw))


def test_a_berth_is_had_until_the_end(direct: Direct) -> None:
    for _ in range(3):
        direct.pod.dial(VIP, PORT)
        assert (direct.followed(), claims(direct)) == ([1, 0], 1)
        direct.arrived()
        direct.pod.app.do("kept.close()")
        assert soon(lambda: direct.followed() == [0, 0])
    assert (claims(direct), crowd(direct)) == (0, bytes(8))
    assert len(direct.maps.ended(10)) == 3


def test_sockets_of_one_berth_are_two_connections(direct: Direct) -> None:
    """The second one's cookie is that of the first and so many more."""
    app = direct.pod.app
    app.do("one = dial(host, port)", host=VIP, port=PORT)
    direct.arrived()
    fill = "for _ in range(rounds):\n with tcp(host) as s: s.getsockopt(socket.SOL_SOCKET, 57, 8)"
    asked = "said = int.from_bytes({}.getsockopt(socket.SOL_SOCKET, 57, 8), 'little') % berths"
    first = app.do(asked.format("one"), berths=BERTHS)
    app.do("two = tcp(host)", host=VIP)
    for _ in range(4 * BERTHS):
        at = app.do(asked.format("two"), berths=BERTHS)
        if at == first:
            break
        left = (first - at) % BERTHS
        app.do(fill + "\ntwo = tcp(host)", rounds=max(0, left - 1), host=VIP)
    else:
        pytest.fail("no second socket has that berth")
    app.do("two.connect((host, port))", host=VIP, port=PORT)
    direct.arrived()
    assert (direct.followed(), direct.active()) == ([1, 1], [2, 2])
    seen = app.do("said = [one.getpeername(), two.getpeername()]")
    assert [Address.of(*peer) for peer in seen] == [direct.vip] * 2
    app.do("one.close()")
    assert soon(lambda: direct.followed() == [0, 1])
    assert app.do("said = two.getpeername()") == [VIP, PORT]
    app.do("two.close()")
    assert soon(lambda: direct.followed() == [0, 0])
    assert (direct.active(), claims(direct), crowd(direct)) == ([0, 0], 0, bytes(8))
    assert len(direct.maps.ended(10)) == 2


def test_who_finds_its_berth_free_the_second_time_is_not_beside_it_any_more(direct: Direct) -> None:
    with berths_taken(direct.pod):
        nowhere = Address.of("203.0.113.7", 80)
        direct.maps.put(direct.vip, direct.maps.standing[direct.vip].pick, [nowhere])
        direct.pod.app.do("kept = tcp(host)\ntry: kept.connect((host, 80))\nexcept OSError: pass", host=VIP)
        assert direct.followed() == [0, 1]
        count = crowd(direct)
    bpf.update(direct.pod.kernel.maps["direct_crowd"], bytes(4), count or b"")
    direct.serve([0])
    direct.pod.app.do("kept.connect((host, 80))", host=VIP)
    direct.arrived()
    assert (direct.followed(), crowd(direct)) == ([1, 0], bytes(8))
    direct.pod.app.do("kept.close()")
    assert soon(lambda: direct.followed() == [0, 0])


def test_an_aborted_connection_leaves_its_berth_when_its_socket_goes_elsewhere(direct: Direct) -> None:
    direct.pod.dial(VIP, PORT)
    direct.arrived()
    with direct.pod.space.bound("127.0.0.1", 0) as there:
        direct.pod.app.do(
            "libc.connect(kept.fileno(), bytes(16), 16); kept.connect(('127.0.0.1', port))",
            port=there.getsockname()[1],
        )
        accept(there)
    assert (direct.followed(), claims(direct), direct.active()) == ([0, 0], 0, [0, 0])
    assert len(direct.maps.ended(10)) == 1


def test_what_is_lost_leaves_its_berth_to_others(direct: Direct) -> None:
    direct.pod.dial(VIP, PORT)
    direct.arrived()
    assert len(direct.maps.lose(WORKLOAD)) == 1
    assert (direct.followed(), claims(direct), direct.active()) == ([0, 0], 0, [0, 0])
    assert direct.pod.counted() == {Reason.DIRECT: 1}


def test_many_at_once_are_counted_exactly(direct: Direct) -> None:
    """Half of them find their berths taken."""
    ended = threading.Event()
    door = direct.doors[0]

    def serve() -> None:
        door.settimeout(0.1)
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                door.accept()[0].close()

    server = threading.Thread(target=serve)
    server.start()
    with berths_taken(direct.pod, 2):
        try:
            words = {"processes": 6, "rounds": 100, "processors": sorted(os.sched_getaffinity(0))}
            assert direct.pod.app.do(CROWD, host=VIP, **words) == [0] * 6
            assert direct.at_rest()
        finally:
            ended.set()
            server.join()
        assert soon(lambda: direct.followed() == [0, 0])
        assert (claims(direct), crowd(direct)) == (BERTHS // 2, bytes(8))
    carried = direct.carried(0)
    assert carried
    assert (carried.connections, carried.established, carried.failed) == (3000, 3000, 0)
    assert len(direct.maps.ended(5000)) == 3000
