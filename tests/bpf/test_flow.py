"""World. What a socket remembers: sockops, getpeername, and the life of an entry in `destinations`."""

import socket
import time
from collections.abc import Callable

import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.layout import EXCLUDED_OUTBOUND, Reason, excluded_port_key
from tests.bpf.app import Failed
from tests.bpf.pod import HERE, HERE6, VIP, VIP6, VIP_MAPPED, Pod, accept

pytestmark = [pytest.mark.world, pytest.mark.kernel]

FAMILY = {VIP: socket.AF_INET, VIP6: socket.AF_INET6, VIP_MAPPED: socket.AF_INET}
each_family = pytest.mark.parametrize("host", [VIP, VIP6, VIP_MAPPED])


def entries(pod: Pod) -> int:
    """Count what is remembered for this pod's namespace."""
    keys = bpf.keys(pod.kernel.maps["destinations"], 32)
    return sum(int.from_bytes(key[:8], "little") == pod.netns.id for key in keys)


def soon(what: Callable[[], bool], patience_s: float = 2.0) -> bool:
    until = time.monotonic() + patience_s
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@each_family
def test_the_process_sees_what_it_dialled(pod: Pod, host: str) -> None:
    pod.dial(host, 80)
    said = pod.app.do("said = kept.getpeername()")
    assert said[:2] == [host, 80], "in the form that the process used, mapped or not"
    pod.at_door(FAMILY[host])
    assert pod.app.do("said = kept.getpeername()")[:2] == [host, 80], "also after the worker took the entry"


def test_a_socket_that_is_left_alone_sees_its_real_peer(pod: Pod) -> None:
    with pod.space.bound("", 0) as there:
        port = there.getsockname()[1]
        _, peer = pod.dial("127.0.0.1", port)
        assert peer == Address.of("127.0.0.1", port)
        accept(there)


@each_family
def test_a_connect_that_fails_takes_its_entry_back(pod: Pod, host: str) -> None:
    pod.outbound.close()
    with pytest.raises(Failed, match="ECONNREFUSED"):
        pod.dial(host)
    assert pod.counted() == {Reason.REDIRECTED: 1}
    assert entries(pod) == 0


def test_a_connect_that_is_given_up_takes_its_entry_back(pod: Pod) -> None:
    """The door's queue is full, so the SYN is dropped and the socket waits."""
    door = pod.outbound.by_family(socket.AF_INET)
    assert door
    door.listen(0)
    pod.app.do(
        """
kept = [socket.socket() for _ in range(4)]
for one in kept:
    one.setblocking(False)
    one.connect_ex((host, 80))
""",
        host=VIP,
    )
    assert entries(pod) == 4, "each is there before its SYN leaves"
    pod.app.do("time.sleep(0.05)\nfor one in kept: one.close()")
    # Those that were established stay for the worker: their close may have followed what they had to say.
    assert soon(lambda: entries(pod) < 4)
    established = 0
    door.setblocking(False)
    while True:
        try:
            accepted, peer = door.accept()
        except BlockingIOError:
            break
        accepted.close()
        established += 1
        assert pod.destinations.take(pod.netns.id, Address.of(*peer), door.getsockname()[1])
    assert 0 < established < 4
    assert entries(pod) == 0


def test_two_doors_that_are_dialled_from_one_port_are_told_apart(pod: Pod) -> None:
    """As two workloads of a namespace do at times, for each has doors of its own."""
    twice = """
kept.append(tcp(host))
kept[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
kept[-1].bind(("127.0.0.1", kept[0].getsockname()[1] if kept[1:] else 0))
kept[-1].connect((host, port))
said = kept[-1].getsockname()[1]
"""
    source = pod.app.do("kept = []" + twice, host=VIP, port=80)
    other = pod.app.do("other = socket.create_server(('127.0.0.1', 0)); said = other.getsockname()[1]")
    pod.describe(door4=other)
    assert pod.app.do(twice, host=VIP, port=81) == source
    assert entries(pod) == 2
    at = Address.of("127.0.0.1", source)
    found = pod.destinations.take(pod.netns.id, at, other)
    assert found is not None and found.destination == Address.of(VIP, 81)
    first = pod.at_door()
    assert first.origin is not None and first.origin.destination == Address.of(VIP, 80)


@each_family
def test_what_is_said_and_closed_before_the_worker_accepts_is_not_lost(pod: Pod, host: str) -> None:
    mine, _ = pod.dial(host)
    pod.app.do("kept.sendall(b'fire'); kept.close()")
    assert pod.remembered(mine)
    arrival = pod.at_door(FAMILY[host])
    assert arrival.origin is not None
    assert arrival.origin.destination == Address.of(host, 80)


def test_a_reset_before_the_worker_accepts_leaves_the_entry_too(pod: Pod) -> None:
    mine, _ = pod.dial(VIP)
    pod.app.do("kept.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); kept.close()")
    assert pod.remembered(mine)
    arrival = pod.at_door()
    assert arrival.source == mine
    assert arrival.origin is not None


DISCONNECT = "libc.connect(kept.fileno(), bytes(16), 16)"


def test_a_second_connect_of_a_socket_is_remembered_anew(pod: Pod) -> None:
    pod.dial(VIP)
    pod.at_door()
    pod.app.do(f"{DISCONNECT}; kept.connect((host, 81)); said = ends(kept)", host="10.96.0.12")
    arrival = pod.at_door()
    assert arrival.origin is not None
    assert arrival.origin.destination == Address.of("10.96.0.12", 81)
    assert pod.app.do("said = kept.getpeername()") == ["10.96.0.12", 81]
    assert pod.counted() == {Reason.REDIRECTED: 2}


def test_a_second_connect_that_is_left_alone_forgets_the_first(pod: Pod) -> None:
    pod.dial(VIP)
    pod.at_door()
    with pod.space.bound("", 0) as there:
        port = there.getsockname()[1]
        with pod.excluded("excluded_ports", excluded_port_key(EXCLUDED_OUTBOUND, port)):
            said = pod.app.do(
                f"{DISCONNECT}; kept.connect((host, port)); said = ends(kept)", host=HERE, port=port
            )
        source, _ = accept(there)
    assert said["peer"] == [HERE, port]
    assert not pod.remembered(source)
    assert pod.counted() == {Reason.REDIRECTED: 1, Reason.LEFT_EXCLUDED: 1}


def test_a_connect_again_after_a_refusal_goes_on(pod: Pod) -> None:
    """The process tries the same socket again, as some clients do."""
    pod.app.do("kept = socket.socket(); kept.settimeout(3)")
    with pytest.raises(Failed, match="EPERM"):
        pod.app.do("kept.connect(('127.0.0.1', port))", port=pod.outbound.port)
    pod.app.do("kept.connect((host, 80))", host=VIP)
    arrival = pod.at_door()
    assert arrival.origin is not None
    assert arrival.origin.destination == Address.of(VIP, 80)


@each_family
def test_a_connect_that_does_not_block_is_caught_alike(pod: Pod, host: str) -> None:
    said = pod.app.do(
        """
import select
kept = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
kept.setblocking(False)
first = errno.errorcode[kept.connect_ex((host, 80))]
select.select([], [kept], [], 3)
said = [first, kept.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), kept.connect_ex((host, 80))]
""",
        host=host,
    )
    assert said == ["EINPROGRESS", 0, 0]
    arrival = pod.at_door(FAMILY[host])
    assert arrival.origin is not None
    assert arrival.origin.destination == Address.of(host, 80)
    assert pod.counted() == {Reason.REDIRECTED: 1}, "asking how it went is not a connect"


def test_a_first_message_in_the_syn_is_caught_alike(pod: Pod) -> None:
    """TCP Fast Open connects in sendto, without connect."""
    pod.app.do("kept = socket.socket(); kept.sendto(b'early', socket.MSG_FASTOPEN, (host, 80))", host=VIP)
    assert pod.app.do("said = kept.getpeername()") == [VIP, 80]
    arrival = pod.at_door()
    assert arrival.origin is not None
    assert arrival.origin.destination == Address.of(VIP, 80)


@pytest.mark.parametrize(("host", "source"), [(VIP, HERE), (VIP6, HERE6)])
def test_a_socket_that_chose_its_source_is_found_by_it(pod: Pod, host: str, source: str) -> None:
    mine, _ = pod.dial(host, source=source)
    arrival = pod.at_door(FAMILY[host])
    assert arrival.source == mine
    assert mine.host == source
    assert arrival.origin is not None
    assert arrival.origin.destination == Address.of(host, 80)


def test_many_at_once_are_never_mistaken_for_each_other(pod: Pod) -> None:
    """Eight threads, 320 connections, each to an address of its own."""
    said = pod.app.do(
        """
made, said = [], {}
def many(thread):
    for number in range(40):
        host = f"10.96.{thread + 1}.{number + 1}"
        one = dial(host, 1000 + number)
        made.append(one)
        said["%s:%s" % one.getsockname()] = f"{host}:{1000 + number}"
threads = [threading.Thread(target=many, args=(thread,)) for thread in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    )
    found = {}
    for _ in range(320):
        arrival = pod.at_door()
        assert arrival.origin is not None
        found[str(arrival.source)] = str(arrival.origin.destination)
    assert found == said
    assert entries(pod) == 0
    assert pod.counted() == {Reason.REDIRECTED: 320}


def test_a_multipath_socket_is_caught_by_its_first_path(pod: Pod) -> None:
    """Its own getpeername shows the door, for the flow belongs to the path (seen on 6.18)."""
    try:
        pod.app.do("kept = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)")  # IPPROTO_MPTCP
    except Failed as none:
        pytest.skip(f"this kernel has no MPTCP: {none}")
    pod.app.do("kept.connect((host, 80))", host=VIP)
    arrival = pod.at_door()
    assert arrival.origin is not None
    assert arrival.origin.destination == Address.of(VIP, 80)
