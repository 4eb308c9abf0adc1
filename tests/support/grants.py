"""Shell. A direct service of a pod whose members are workloads: the pod's process has a grant to go there."""

import contextlib
import time
from collections.abc import Iterator

from meshtrio.intercept.direct_layout import Guard, Pick
from meshtrio.intercept.tables import Ports
from tests.bpf.direct import Direct
from tests.bpf.pod import WORKLOAD

STRANGER = 99
"""A workload that serves nowhere."""


@contextlib.contextmanager
def granted(direct: Direct, called: int = WORKLOAD, *, serves: int = WORKLOAD) -> Iterator[None]:
    """Let the process go to the members itself, which are taken for `called`'s, and are those of `serves`."""
    maps, pod = direct.maps, direct.pod
    ports = Ports(pod.kernel.maps["ports"])
    for member in direct.members:
        ports.note(pod.netns.id, member.port, serves)
    guards = dict.fromkeys(direct.members, Guard(called, pod.netns.id))
    maps.put(direct.vip, Pick.TURNS, direct.members, guards)
    assert maps.grant(direct.vip, {WORKLOAD: time.monotonic() + 100}) == set()
    with pod.inbound():
        yield
