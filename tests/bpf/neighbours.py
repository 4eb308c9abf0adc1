"""Shell. Two workloads for tests of the hooks, in one namespace or on a wire: one calls past the doors."""

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import Guard, Pick
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.intercept.doors import Doors
from meshtrio.intercept.grant_layout import PASSAGE_BYTES
from meshtrio.intercept.kernel import Kernel
from tests.bpf.pod import HERE, HERE6, VIP, VIP6, Pod, pod_in, waiting
from tests.support.namespace import Namespace, wire

CALLER, CALLED = 7, 8
PORT, SERVED = 80, 8080
FAR, FAR6 = "10.7.0.2", "fd00:7::2"
"""Where the called one is, if it has a namespace of its own."""
SERVE = """
app = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
app.settimeout(3)
def accepted():
    global got
    got, peer = app.accept()
    got.settimeout(3)
    return peer[0].removeprefix("::ffff:"), peer[1]
"""


class Neighbours:
    """A service whose one member is the called workload."""

    def __init__(self, caller: Pod, called: Pod, doors: Doors, member: str) -> None:
        """Serve at the member's address; nobody has a grant."""
        self.caller, self.called, self.doors = caller, called, doors
        self.maps = DirectMaps(caller.kernel.maps)
        self.member = Address.of(member, SERVED)
        self.vip = Address.of(VIP6 if ":" in member else VIP, PORT)
        called.app.do(SERVE)

    @property
    def family(self) -> int:
        return socket.AF_INET if self.member.is_v4 else socket.AF_INET6

    def serve(self, *, workload: int = CALLED, netns: int | None = None) -> None:
        """Let the service be guarded, as if the member were this workload in that namespace."""
        there = self.called.netns.id if netns is None else netns
        self.maps.put(self.vip, Pick.TURNS, [self.member], {self.member: Guard(workload, there)})

    def grant(self, *workloads: int, for_s: float = 100.0) -> None:
        """Let these workloads go there for so long, and no others."""
        until = time.monotonic() + for_s
        assert not self.maps.grant(self.vip, dict.fromkeys(workloads, until))

    def dial(self, **how: Any) -> tuple[Address, Address]:
        """Let the caller dial the service while the doors are served; the socket stays open, named `kept`."""
        self.caller.heartbeat.beat()
        return self.caller.dial(self.vip.host, PORT, **how)

    def arrived(self) -> Address:
        """Let the called process accept; return who it says has come."""
        return Address.of(*self.called.app.do("said = accepted()"))

    def at_outbound_door(self) -> bool:
        """Say whether the caller's connection has come to its worker."""
        door = self.caller.outbound.by_family(self.family)
        assert door
        if not waiting(door, 0.2):
            return False
        door.accept()[0].close()
        return True

    def at_inbound_door(self, within_s: float = 0.2) -> bool:
        """Say whether the caller's connection was caught on its way in."""
        door = self.doors.by_family(self.family)
        assert door
        if not waiting(door, within_s):
            return False
        door.accept()[0].close()
        return True

    def passages(self) -> int:
        """Return how many granted connections are noted."""
        return len(list(bpf.keys(self.caller.kernel.maps["passages"], PASSAGE_BYTES)))


@contextlib.contextmanager
def neighbours_in(kernel: Kernel, *, apart: bool, v6: bool = False) -> Iterator[Neighbours]:
    """Have them until the block ends; nothing of them is left then."""
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(Namespace())
        there = stack.enter_context(Namespace()) if apart else here
        member = HERE6 if v6 else HERE
        if apart:
            wire(here, there)
            for space, end in ((here, 1), (there, 2)):
                space.add_address(f"10.7.0.{end}/24", "wire")
                space.add_address(f"fd00:7::{end}/64", "wire")
            member = FAR6 if v6 else FAR
        caller = stack.enter_context(pod_in(kernel, here, workload=CALLER))
        called = stack.enter_context(pod_in(kernel, there, workload=CALLED))
        doors = stack.enter_context(called.inbound())
        made = Neighbours(caller, called, doors, member)
        caller.counted()
        try:
            yield made
        finally:
            caller.app.kill()
            made.maps.drop(made.vip, known=False)
            made.maps.lose(CALLER)
            made.maps.sweep()
            made.maps.sweep_passages()
            while made.maps.ended(1000):
                pass
