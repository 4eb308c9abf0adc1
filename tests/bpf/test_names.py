"""World. The hooks and queries for names: every reason, and whom the process reaches then."""

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from meshtrio.address import Address
from meshtrio.intercept import bpf, marks
from meshtrio.intercept.asked import MeantByHooks
from meshtrio.intercept.dns_door import DnsDoor
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import (
    BEAT_OF_RESOLVER,
    EXCLUDED_INBOUND,
    EXCLUDED_OUTBOUND,
    Reason,
    excluded_port_key,
    prefix,
)
from meshtrio.intercept.tables import Heartbeat
from meshtrio.publisher import RELAYED
from tests.bpf.names import ASK, OURS, REAL, Resolver, real_resolver
from tests.bpf.pod import HERE, HERE6, VIP, WORKLOAD, Pod, pod_in
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.world, pytest.mark.kernel]

HOW = ["connect", "sendto"]
HOSTS = [HERE, HERE6, f"::ffff:{HERE}"]
TO_LO = [socket.SOL_SOCKET, socket.SO_BINDTODEVICE, "lo"]


class Names(NamedTuple):
    """A pod whose queries are caught, our resolver, and a real one at its addresses."""

    pod: Pod
    ours: Resolver
    real: Resolver
    beat: Heartbeat

    def ask(self, host: str, how: str = "sendto", **more: object) -> str:
        """Ask there, and say who answered. Whoever it was, it seems to come from there."""
        said = self.pod.app.do("said = ask(host, **how)", host=host, how={"how": how, **more})
        assert said["from"] == [host, 53]
        answer: str = said["answer"]
        return answer

    def ask_tcp(self, host: str) -> str:
        said = self.pod.app.do("said = ask_tcp(host)", host=host)
        assert said["peer"] == [host, 53]
        answer: str = said["answer"]
        return answer

    def left_alone(self, reason: Reason, *hosts: str, **more: object) -> None:
        """Queries go to whom they were meant for, and one reason is counted for each."""
        self.pod.counted()
        for host in hosts:
            for how in HOW:
                assert self.ask(host, how, **more) == REAL, (host, how)
                assert self.pod.counted() == {reason: 1}, (host, how)


@pytest.fixture
def names(pod: Pod) -> Iterator[Names]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(_caught(pod))
        door = DnsDoor(pod.netns, 0, any_port=True)
        stack.callback(door.close)
        door.serves("pod", MeantByHooks(pod.kernel, pod.netns, WORKLOAD))
        pod.describe(dns4=door.port, dns6=door.port)
        ours = Resolver(door)
        stack.callback(ours.stop)
        real = stack.enter_context(real_resolver(pod.space, HERE, HERE6))
        beat = Heartbeat(pod.kernel.maps["heartbeat"], BEAT_OF_RESOLVER)
        beat.beat()
        yield Names(pod, ours, real, beat)


@contextlib.contextmanager
def _caught(pod: Pod) -> Iterator[None]:
    pod.app.do(ASK)
    yield
    Heartbeat(pod.kernel.maps["heartbeat"], BEAT_OF_RESOLVER).silence()


def test_a_query_is_counted_once(names: Names) -> None:
    for host in HOSTS:
        for how in HOW:
            assert names.ask(host, how) == OURS
            assert names.pod.counted() == {Reason.RESOLVED_BY_US: 1}, (host, how)
        assert names.ask_tcp(host) == OURS
        assert names.pod.counted() == {Reason.RESOLVED_BY_US: 1}
    assert not any(waiting for _, waiting in names.real.heard)


def test_the_workload_is_known_with_the_resolver(names: Names) -> None:
    """By the socket's cookie, as the kernel itself names it."""
    said = names.pod.app.do(
        "one = udp(host); send(one, host, 'sendto'); heard(one); said = one.getsockopt(1, 57, 8).hex()",
        host=HERE,
    )
    raw = bpf.look_up(names.pod.kernel.maps["asked"], bytes.fromhex(said), 24)
    assert raw is not None
    assert Address.unpack(raw) == Address.of(HERE, 53)
    assert struct.unpack_from("<I", raw, 20)[0] == WORKLOAD


def test_the_unspecified_address_is_asked_like_any_other(names: Names) -> None:
    for host in ("0.0.0.0", "::"):
        names.pod.app.do("one = udp(host); send(one, host, 'connect'); heard(one)", host=host)
        assert names.ours.heard.pop() == ("udp", Address.of(host, 53))


def test_a_service_of_the_catalog_on_port_53_is_asked_likewise(names: Names) -> None:
    """A cluster's DNS is a service like others."""
    for host in (VIP, "127.0.0.53"):
        with names.pod.entry("services", Address.of(host, 53).pack(), RELAYED):
            assert names.ask(host) == names.ask_tcp(host) == OURS
            assert names.pod.counted() == {Reason.RESOLVED_BY_US: 2}


def silent(names: Names) -> None:
    names.beat.silence()


def stale(names: Names) -> None:
    at = struct.pack("<Q", time.monotonic_ns() - 3_001_000_000)
    bpf.update(names.pod.kernel.maps["heartbeat"], struct.pack("<I", BEAT_OF_RESOLVER), at)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("lose", [silent, stale])
def test_without_our_resolver_the_real_one_is_asked_whatever_the_policy(
    names: Names, lose: Callable[[Names], None], closed: bool
) -> None:
    names.pod.describe(closed=closed)
    lose(names)
    names.left_alone(Reason.OPEN_NO_RESOLVER, *HOSTS)
    names.pod.dial(VIP, 53)
    assert names.pod.at_door().origin is not None
    assert names.pod.counted() == {Reason.REDIRECTED: 1}, "by TCP it is a connection like any other"
    names.beat.beat()
    assert names.ask(HERE) == OURS


def test_without_workers_names_are_resolved_all_the_same(names: Names) -> None:
    names.pod.heartbeat.silence()
    names.pod.describe(closed=True)
    assert names.ask(HERE) == names.ask_tcp(HERE) == OURS


@pytest.mark.parametrize("host", HOSTS)
def test_a_socket_that_was_connected_to_a_real_resolver_stays_with_it(names: Names, host: str) -> None:
    """It would not hear us; an IPv6 socket meets the hook for each datagram to an IPv4 address."""
    names.beat.silence()
    names.pod.app.do("one = udp(host); one.connect((host, 53))", host=host)
    names.beat.beat()
    for send in ("one.send(QUERY)", "one.sendto(QUERY, (host, 53))"):
        said = names.pod.app.do(f"{send}; said = heard(one)", host=host)
        assert said == {"answer": REAL, "from": [host, 53], "peer": [host, 53]}
    said = names.pod.app.do("one.connect((host, 53)); one.send(QUERY); said = heard(one)", host=host)
    assert said == {"answer": OURS, "from": [host, 53], "peer": [host, 53]}


def test_an_answer_that_comes_after_the_resolver_was_lost_still_fits(names: Names) -> None:
    names.ours.stop()
    names.pod.app.do("one = udp(host); send(one, host, 'sendto')", host=HERE)
    names.beat.silence()
    again = Resolver(names.ours.door)
    try:
        assert names.pod.app.do("said = heard(one)") == {"answer": OURS, "from": [HERE, 53]}
    finally:
        again.stop()


def test_an_answer_that_is_waited_for_fits_though_somebody_else_was_asked_meanwhile(names: Names) -> None:
    names.ours.stop()
    with names.pod.excluded("excluded_networks", prefix(128, Address.of(HERE, 0).ip)):
        said = names.pod.app.do(
            "one = udp(vip); send(one, vip, 'sendto'); send(one, host, 'sendto'); said = heard(one)",
            vip=VIP,
            host=HERE,
        )
    assert said == {"answer": REAL, "from": [HERE, 53]}
    again = Resolver(names.ours.door)
    try:
        assert names.pod.app.do("said = heard(one)") == {"answer": OURS, "from": [VIP, 53]}
    finally:
        again.stop()


@pytest.mark.parametrize("host", HOSTS)
def test_a_socket_that_asked_and_then_connects_elsewhere_sees_its_peer(names: Names, host: str) -> None:
    said = names.pod.app.do(
        "one = udp(host); send(one, host, 'sendto'); heard(one); one.connect((host, 5353))"
        "; said = list(one.getpeername()[:2])",
        host=host,
    )
    assert said == [host, 5353]


@pytest.mark.parametrize(("host", "door"), [(HERE, "dns4"), (HERE6, "dns6"), (f"::ffff:{HERE}", "dns4")])
def test_no_door_for_the_family_leaves_its_queries_alone(names: Names, host: str, door: str) -> None:
    names.pod.describe(**{door: 0})
    names.left_alone(Reason.OPEN_NO_RESOLVER, host)
    assert names.ask(HERE6 if door == "dns4" else HERE) == OURS, "the other family has its door"


def test_a_workload_whose_names_are_not_wanted_is_left_alone(names: Names) -> None:
    names.pod.describe(dns4=0, dns6=0)
    names.left_alone(Reason.LEFT_NOT_TCP, *HOSTS)


def test_a_socket_bound_to_a_device_asks_whom_it_wants(names: Names) -> None:
    names.left_alone(Reason.OPEN_NO_RESOLVER, HERE, HERE6, options=[TO_LO])


@pytest.mark.parametrize("host", HOSTS)
def test_an_excluded_network_is_left_alone(names: Names, host: str) -> None:
    ip = Address.of(host, 0).ip
    with names.pod.excluded("excluded_networks", prefix(128, ip)):
        names.left_alone(Reason.LEFT_EXCLUDED, host)
    assert names.ask(host) == OURS


def test_an_excluded_port_is_left_alone(names: Names) -> None:
    with names.pod.excluded("excluded_ports", excluded_port_key(EXCLUDED_OUTBOUND, 53)):
        names.left_alone(Reason.LEFT_EXCLUDED, *HOSTS)
        assert names.ask_tcp(HERE) == REAL
    with names.pod.excluded("excluded_ports", excluded_port_key(EXCLUDED_INBOUND, 53)):
        assert names.ask(HERE) == OURS


def test_our_mark_is_left_alone(names: Names) -> None:
    mark = [socket.SOL_SOCKET, socket.SO_MARK, marks.OUTBOUND_DIAL]
    names.left_alone(Reason.LEFT_OURS, HERE, HERE6, options=[mark])


def test_a_link_local_resolver_is_left_alone(names: Names) -> None:
    """Our resolver would not know the zone."""
    space = names.pod.space
    space.ip("link", "add", "wire", "type", "veth", "peer", "name", "end")
    space.ip("link", "set", "end", "up")
    space.ip("link", "set", "wire", "up")
    space.add_address("fe80::7/64", "wire")
    said = names.pod.app.do(
        """
to = ("fe80::7", 53, 0, socket.if_nametoindex("wire"))
one, other = udp("::"), udp("::")
one.connect(to); other.sendto(QUERY, to)
said = list(one.getpeername()[:2])
"""
    )
    assert said == ["fe80::7", 53]
    assert names.pod.counted() == {Reason.OPEN_NO_RESOLVER: 2}
    assert names.ours.heard == []


def test_a_process_that_went_to_another_namespace_asks_there(names: Names) -> None:
    if not names.pod.netns.has_cookie:
        pytest.skip("this kernel has no namespace cookies (5.14), so nothing can be compared")
    said = names.pod.app.do(
        """
if libc.unshare(0x40000000): raise OSError(ctypes.get_errno(), 'unshare')
one = udp(host); said = one.connect_ex((host, 53))
""",
        host=HERE,
    )
    assert said, "that namespace leads nowhere"
    assert names.pod.counted() == {Reason.OPEN_NO_RESOLVER: 1}


def test_datagrams_to_other_ports_are_not_even_counted(names: Names) -> None:
    with real_resolver(names.pod.space, HERE, HERE6, port=5353):
        for host in HOSTS:
            said = names.pod.app.do("said = ask(host, port=5353)", host=host)
            assert said == {"answer": REAL, "from": [host, 5353]}
    assert names.pod.counted() == {}


def test_raw_and_ping_sockets_are_left_alone(names: Names) -> None:
    names.pod.space.set_sysctl("net.ipv4.ping_group_range", "0 2147483647")
    names.pod.app.do(
        "one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1); one.connect((host, 53))",
        host=HERE,
    )
    assert set(names.pod.counted()) <= {Reason.LEFT_NOT_TCP}
    assert names.pod.app.do("said = one.getpeername()[0]") == HERE


def test_two_workloads_of_one_namespace_are_told_apart(names: Names, kernel: Kernel) -> None:
    with pod_in(kernel, names.pod.space, workload=8) as other:
        other.app.do(ASK)
        said = other.app.do("said = ask(host)", host=HERE)
        assert said["answer"] == REAL, "this one has no door for queries"
    assert names.ask(HERE) == OURS


def test_a_workload_that_nobody_described_is_left_alone(kernel: Kernel) -> None:
    with Namespace() as space, pod_in(kernel, space, described=False) as pod, real_resolver(space, HERE):
        pod.app.do(ASK)
        Heartbeat(kernel.maps["heartbeat"], BEAT_OF_RESOLVER).beat()
        assert pod.app.do("said = ask(host)", host=HERE) == {"answer": REAL, "from": [HERE, 53]}
        Heartbeat(kernel.maps["heartbeat"], BEAT_OF_RESOLVER).silence()


def test_many_at_once_are_never_mistaken_for_each_other(names: Names) -> None:
    """Four threads, each with a socket for each query and one that it keeps, to addresses of their own."""
    names.pod.app.do(
        """
wrong = []
def many(thread):
    with udp("10.0.0.1") as kept:
        for number in range(40):
            host = f"10.{thread + 50}.0.{number + 1}"
            for how in ("connect", "sendto"):
                if ask(host, how)["from"] != [host, 53]: wrong.append((host, how))
            send(kept, host, "sendto")
            if heard(kept)["from"] != [host, 53]: wrong.append((host, "kept"))
threads = [threading.Thread(target=many, args=(thread,)) for thread in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong, wrong
"""
    )
    meant = [str(address) for _, address in names.ours.heard]
    wanted = [f"10.{thread + 50}.0.{number + 1}:53" for thread in range(4) for number in range(40)] * 3
    assert sorted(meant) == sorted(wanted)
    assert names.pod.counted() == {Reason.RESOLVED_BY_US: 480}
