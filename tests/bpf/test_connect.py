"""World. connect4 and connect6 with real sockets: every reason that a connect can end with, once each."""

import errno
import socket
import time

import pytest

from meshtrio.address import V4_PREFIX, Address
from meshtrio.intercept import marks
from meshtrio.intercept.attachment import CgroupHooks
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import EXCLUDED_INBOUND, EXCLUDED_OUTBOUND, Reason, excluded_port_key, prefix
from meshtrio.publisher import RELAYED
from tests.bpf.dialling import passes, refused
from tests.bpf.pod import HERE, HERE6, VIP, VIP6, VIP_MAPPED, WORKLOAD, Pod, accept, pod_in, waiting
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.world, pytest.mark.kernel]

FAMILY = {True: socket.AF_INET6, False: socket.AF_INET}


@pytest.mark.parametrize(
    ("host", "family"),
    [(VIP, socket.AF_INET), (VIP6, socket.AF_INET6), (VIP_MAPPED, socket.AF_INET)],
    ids=["v4", "v6", "mapped"],
)
def test_a_connect_goes_to_the_door_and_is_remembered(pod: Pod, host: str, family: int) -> None:
    mine, peer = pod.dial(host, 80)
    arrival = pod.at_door(family)
    assert arrival.source == mine
    assert arrival.local.port == pod.outbound.port
    assert arrival.origin is not None
    assert arrival.origin.destination == Address.of(host, 80) == peer
    assert arrival.origin.workload == WORKLOAD
    assert pod.counted() == {Reason.REDIRECTED: 1}
    assert not pod.remembered(mine), "taken, so forgotten"


def test_udp_is_left_alone(pod: Pod) -> None:
    pod.app.do("u = socket.socket(type=socket.SOCK_DGRAM); u.connect((host, 53))", host=HERE)
    assert pod.app.do("said = u.getpeername()") == [HERE, 53]
    assert pod.counted() == {Reason.LEFT_NOT_TCP: 1}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.200.0.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_left_alone(pod: Pod, host: str) -> None:
    passes(pod, host, Reason.LEFT_LOOPBACK)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_unspecified_address_means_loopback(pod: Pod, host: str) -> None:
    with pod.space.bound("", 0) as there:
        pod.dial(host, there.getsockname()[1])
        accept(there)
    assert pod.counted() == {Reason.LEFT_LOOPBACK: 1}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_service_on_loopback_is_caught(pod: Pod, host: str) -> None:
    service = Address.of(host, 8080)
    with pod.entry("services", service.pack(), RELAYED):
        pod.dial(host, 8080)
        arrival = pod.at_door(FAMILY[":" in host])
        assert arrival.origin is not None
        assert arrival.origin.destination == service
        assert pod.counted() == {Reason.REDIRECTED: 1}
        passes(pod, host, Reason.LEFT_LOOPBACK)  # another port of the same address is no service


@pytest.mark.parametrize("host", [HERE, HERE6, f"::ffff:{HERE}"])
def test_an_excluded_network_is_left_alone(pod: Pod, host: str) -> None:
    ip = Address.of(host, 0).ip
    bits = 96 + 16 if ip.startswith(V4_PREFIX) else 32
    with pod.excluded("excluded_networks", prefix(bits, ip)):
        passes(pod, host, Reason.LEFT_EXCLUDED)
        pod.dial(VIP if ":" not in host else VIP6)
        assert pod.counted() == {Reason.REDIRECTED: 1}, "the network excludes no more than itself"


def test_all_of_ipv4_can_be_excluded_without_ipv6(pod: Pod) -> None:
    with pod.excluded("excluded_networks", prefix(96, V4_PREFIX + bytes(4))):
        passes(pod, HERE, Reason.LEFT_EXCLUDED)
        pod.dial(HERE6)
        assert pod.counted() == {Reason.REDIRECTED: 1}


def test_an_excluded_port_is_left_alone(pod: Pod) -> None:
    with pod.space.bound("", 0) as there:
        port = there.getsockname()[1]
        with pod.excluded("excluded_ports", excluded_port_key(EXCLUDED_OUTBOUND, port)):
            for host in (HERE, HERE6):
                mine, peer = pod.dial(host, port)
                assert accept(there) == (mine, peer)
    assert pod.counted() == {Reason.LEFT_EXCLUDED: 2}


def test_a_port_excluded_for_inbound_is_still_caught_outbound(pod: Pod) -> None:
    with pod.excluded("excluded_ports", excluded_port_key(EXCLUDED_INBOUND, 80)):
        pod.dial(VIP, 80)
    assert pod.counted() == {Reason.REDIRECTED: 1}


@pytest.mark.parametrize("host", [HERE, HERE6])
@pytest.mark.parametrize("mark", [marks.OUTBOUND_DIAL, marks.marked(marks.APP_DIAL, 0x12)])
def test_our_mark_is_left_alone(pod: Pod, host: str, mark: int) -> None:
    passes(pod, host, Reason.LEFT_OURS, options=[[socket.SOL_SOCKET, socket.SO_MARK, mark]])


def test_a_mark_of_someone_else_is_caught(pod: Pod) -> None:
    pod.dial(VIP, options=[[socket.SOL_SOCKET, socket.SO_MARK, 0x4D540300]])
    assert pod.counted() == {Reason.REDIRECTED: 1}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_a_door_cannot_be_dialled(pod: Pod, host: str) -> None:
    assert refused(pod, host, pod.outbound.port) == "EPERM"
    assert pod.counted() == {Reason.REFUSED_DOOR: 1}
    assert not any(waiting(door, 0.05) for door in pod.outbound.sockets)


def test_a_workload_that_nobody_described_is_left_alone(kernel: Kernel) -> None:
    with Namespace() as space, pod_in(kernel, space, described=False) as pod:
        passes(pod, HERE, Reason.LEFT_NO_CONFIG)
        passes(pod, HERE6, Reason.LEFT_NO_CONFIG)
        pod.describe()
        pod.dial(VIP)
        assert pod.counted() == {Reason.REDIRECTED: 1}


def test_a_workload_that_comes_again_is_not_taken_for_what_it_was(pod: Pod) -> None:
    """The kernel keeps a cgroup's storage while the cgroup lives, and the old door may be gone."""
    pod.hooks.detach()
    pod.hooks = CgroupHooks(pod.kernel, pod.group, None)
    passes(pod, HERE, Reason.LEFT_NO_CONFIG)


def test_after_detach_nothing_is_caught_or_counted(pod: Pod) -> None:
    pod.hooks.detach()
    with pod.space.bound("", 0) as there:
        mine, peer = pod.dial(HERE, there.getsockname()[1])
        assert accept(there) == (mine, peer)
    assert pod.counted() == {}


def test_a_process_in_a_group_below_is_the_same_workload(pod: Pod) -> None:
    below = pod.group / "below"
    below.mkdir()
    try:
        pod.app.do("open(path, 'w').write(str(os.getpid()))", path=f"{below}/cgroup.procs")
        pod.dial(VIP)
        origin = pod.at_door().origin
        assert origin is not None
        assert origin.workload == WORKLOAD
    finally:
        pod.app.kill()
        _remove(below)


def _remove(group: object) -> None:
    from pathlib import Path

    for _ in range(100):
        try:
            Path(str(group)).rmdir()
        except OSError as busy:
            if busy.errno != errno.EBUSY:
                raise
            time.sleep(0.01)
        else:
            return


def test_two_workloads_of_one_namespace_are_told_apart(kernel: Kernel) -> None:
    with Namespace() as space, pod_in(kernel, space) as one, pod_in(kernel, space, workload=8) as other:
        for pod in (one, other, one):
            mine, _ = pod.dial(VIP)
            arrival = pod.at_door()
            assert arrival.source == mine
            assert arrival.origin is not None
            assert arrival.origin.workload == pod.words.id


def test_what_is_no_workload_is_not_caught(pod: Pod) -> None:
    """Another process of the same namespace, outside the cgroup: here the test itself."""
    with pod.space.bound("", 0) as there, pod.space.tcp_socket() as mine:
        mine.connect((HERE, there.getsockname()[1]))
        accept(there)
    assert pod.counted() == {}
