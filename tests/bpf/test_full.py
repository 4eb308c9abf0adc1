"""World. Maps that are full: what is counted, and what becomes of the connection or the bind."""

from collections.abc import Iterator

import msgspec
import pytest

from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import Reason
from tests.bpf.app import BIND, Failed
from tests.bpf.pod import HERE, VIP, WORKLOAD, Pod, accept, pod_in
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.world, pytest.mark.kernel]

PORT = 8080


def test_no_room_in_a_socket_follows_the_policy(pod: Pod) -> None:
    if not pod.space.has_sysctl("net.core.optmem_max"):
        pytest.skip("this kernel has no optmem_max of a namespace (6.8), so no socket can be made full")
    pod.space.set_sysctl("net.core.optmem_max", "0")
    with pod.space.bound("", 0) as there:
        mine, peer = pod.dial(HERE, there.getsockname()[1])
        assert accept(there) == (mine, peer)
    assert pod.counted() == {Reason.FULL_FLOWS: 1, Reason.OPEN_CANNOT_CATCH: 1}
    pod.describe(closed=True)
    with pytest.raises(Failed, match="EPERM"):
        pod.dial(VIP)
    assert pod.counted() == {Reason.FULL_FLOWS: 1, Reason.REFUSED_CANNOT_CATCH: 1}


def test_no_room_among_destinations_is_counted_and_the_worker_finds_nothing(kernel: Kernel) -> None:
    """The real map is LRU and makes room; a plain one of one entry shows what is counted when it cannot."""
    plain, no_lru = 1, {"destinations": 1}
    small = msgspec.structs.replace(
        kernel.compiled,
        maps=[
            msgspec.structs.replace(one, type=plain, max_entries=no_lru[one.name])
            if one.name in no_lru
            else one
            for one in kernel.compiled.maps
        ],
    )
    other = Kernel(small, None)
    other.load()
    try:
        with Namespace() as space, pod_in(other, space) as pod:
            pod.dial(VIP)
            assert pod.counted() == {Reason.REDIRECTED: 1}
            pod.app.do("second = dial(host, 80)", host=VIP)
            assert pod.counted() == {Reason.REDIRECTED: 1, Reason.FULL_DESTINATIONS: 1}
            assert pod.at_door().origin is not None
            assert pod.at_door().origin is None
    finally:
        other.close()


@pytest.fixture
def crowded(kernel: Kernel) -> Iterator[Pod]:
    """A pod whose `ports` map has room for one entry."""
    maps = [
        msgspec.structs.replace(one, max_entries=1) if one.name == "ports" else one
        for one in kernel.compiled.maps
    ]
    other = Kernel(msgspec.structs.replace(kernel.compiled, maps=maps), None)
    other.load()
    with Namespace() as space, pod_in(other, space) as pod:
        pod.app.do(BIND + "first = bound('0.0.0.0')")
        yield pod
    other.close()


def test_no_room_for_a_port_leaves_it_uncaught_where_the_workload_is_open(crowded: Pod) -> None:
    crowded.app.do("second = bound('0.0.0.0', 8081); second.listen(); second.close()")
    assert crowded.listeners(8081) is None
    assert crowded.counted() == {Reason.FULL_PORTS: 1}
    assert crowded.listeners(PORT) == (WORKLOAD, 1)
    crowded.app.do("second = bound('0.0.0.0'); second.close()")
    assert crowded.counted() == {}, "a port that is known needs no more room"


def test_no_room_for_a_port_refuses_the_bind_where_the_workload_is_closed(crowded: Pod) -> None:
    crowded.describe(closed=True)
    with pytest.raises(Failed, match="EPERM"):
        crowded.app.do("second = bound('0.0.0.0', 8081)")
    assert crowded.counted() == {Reason.FULL_PORTS: 1}
    assert crowded.listeners(PORT) == (WORKLOAD, 1)
