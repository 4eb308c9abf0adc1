"""World. connect4 and connect6 where a connection cannot be caught: open passes, closed refuses."""

import socket
import struct
import time
from collections.abc import Callable

import pytest

from meshtrio.intercept import bpf
from meshtrio.intercept.layout import Reason
from tests.bpf.dialling import passes, refused
from tests.bpf.pod import HERE, HERE6, VIP, VIP6, Pod

pytestmark = [pytest.mark.world, pytest.mark.kernel]

TO_LO = [socket.SOL_SOCKET, socket.SO_BINDTODEVICE, "lo"]


@pytest.mark.parametrize("host", [HERE, HERE6])
def test_a_socket_bound_to_a_device_follows_the_policy(pod: Pod, host: str) -> None:
    passes(pod, host, Reason.OPEN_CANNOT_CATCH, options=[TO_LO])
    pod.describe(closed=True)
    assert refused(pod, host, 80, options=[TO_LO]) == "EPERM"
    assert pod.counted() == {Reason.REFUSED_CANNOT_CATCH: 1}


@pytest.mark.parametrize(("host", "door"), [(HERE, "door4"), (HERE6, "door6"), (f"::ffff:{HERE}", "door4")])
def test_no_door_for_the_family_follows_the_policy(pod: Pod, host: str, door: str) -> None:
    pod.describe(**{door: 0})
    passes(pod, host, Reason.OPEN_CANNOT_CATCH)
    pod.describe(closed=True)
    assert refused(pod, host, 80) == "EPERM"
    assert pod.counted() == {Reason.REFUSED_CANNOT_CATCH: 1}
    pod.dial(VIP6 if door == "door4" else VIP)
    assert pod.counted() == {Reason.REDIRECTED: 1}, "the other family has its door"


@pytest.mark.parametrize("host", [VIP, VIP6])
def test_a_process_that_went_to_another_namespace_follows_the_policy(pod: Pod, host: str) -> None:
    if not pod.netns.has_cookie:
        pytest.skip("this kernel has no namespace cookies (5.14), so nothing can be compared")
    pod.app.do("if libc.unshare(0x40000000): raise OSError(ctypes.get_errno(), 'unshare')")
    # Left alone, in a namespace that leads nowhere. Which of the two it is depends on the family.
    nowhere = ("ENETUNREACH", "EADDRNOTAVAIL")
    assert refused(pod, host, 80) in nowhere
    assert pod.counted() == {Reason.OPEN_CANNOT_CATCH: 1}
    pod.describe(closed=True)
    assert refused(pod, host, 80) == "EPERM"
    assert pod.counted() == {Reason.REFUSED_CANNOT_CATCH: 1}
    # Where the kernel has no cookie there is nothing to compare, and the doors are dialled in vain.
    pod.describe(check_netns=False)
    assert refused(pod, host, 80) in nowhere
    assert pod.counted() == {Reason.REDIRECTED: 1}


def silent(pod: Pod) -> None:
    pod.heartbeat.silence()


def stale(pod: Pod) -> None:
    at = struct.pack("<Q", time.monotonic_ns() - 3_001_000_000)
    bpf.update(pod.kernel.maps["heartbeat"], bytes(4), at)


@pytest.mark.parametrize("lose", [silent, stale])
@pytest.mark.parametrize("host", [HERE, HERE6])
def test_a_lost_agent_follows_the_policy_until_it_is_back(
    pod: Pod, host: str, lose: Callable[[Pod], None]
) -> None:
    lose(pod)
    passes(pod, host, Reason.OPEN_AGENT_LOST)
    pod.describe(closed=True)
    started = time.monotonic()
    assert refused(pod, host, 80) == "EPERM"
    assert time.monotonic() - started < 1, "refused at once, not after a timeout"
    assert pod.counted() == {Reason.REFUSED_AGENT_LOST: 1}
    pod.heartbeat.beat()
    pod.dial(host, 80)
    assert pod.counted() == {Reason.REDIRECTED: 1}


def test_a_beat_is_good_for_almost_three_seconds(pod: Pod) -> None:
    at = struct.pack("<Q", time.monotonic_ns() - 2_500_000_000)
    bpf.update(pod.kernel.maps["heartbeat"], bytes(4), at)
    pod.dial(VIP)
    assert pod.counted() == {Reason.REDIRECTED: 1}
