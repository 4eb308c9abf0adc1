"""Shell. A direct service for tests of the hooks: listeners of the pod's namespace that are its members."""

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence

from meshtrio.address import Address
from meshtrio.intercept import bpf, bpf_entries
from meshtrio.intercept.direct_layout import Carried, Pick
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.intercept.followed_layout import BERTH_BYTES, BERTHS, COOKIE_BYTES, DirectEnded, unpack_berths
from tests.bpf.pod import WORKLOAD, Pod

PORT = 80
NOBODY = 1 << 63
"""A cookie that no socket has."""


def soon(what: Callable[[], bool], patience_s: float = 3.0) -> bool:
    """Say whether something becomes true within the patience."""
    until = time.monotonic() + patience_s
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


class Direct:
    """Members of one address, each a listener that the test accepts at."""

    def __init__(self, pod: Pod, vip: str, hosts: Sequence[str]) -> None:
        self.pod = pod
        self.vip = Address.of(vip, PORT)
        self.maps = DirectMaps(pod.kernel.maps)
        self.doors = [pod.space.bound(host, 0) for host in hosts]
        self.members = [Address.of(*door.getsockname()[:2]) for door in self.doors]

    def serve(self, order: Sequence[int], pick: Pick = Pick.TURNS) -> None:
        """Let these members serve, by number."""
        self.maps.put(self.vip, pick, [self.members[at] for at in order])

    def dial(self, count: int = 1) -> list[int]:
        """Dial one after the other, close each, and return which members they came to."""
        came = []
        for _ in range(count):
            self.pod.app.do("dial(host, port).close()", host=self.vip.host, port=self.vip.port)
            came.append(self.arrived())
        return came

    def arrived(self) -> int:
        """Accept whoever has come, and say to which member."""
        at, accepted, _ = self.accept()
        accepted.close()
        return at

    def accept(self) -> tuple[int, socket.socket, Address]:
        """Accept whoever has come: at which member, the socket, and where from."""
        for at, door in enumerate(self.doors):
            door.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                accepted, peer = door.accept()
                accepted.settimeout(3)
                return at, accepted, Address.of(*peer[:2])
        raise AssertionError("nobody came")

    def carried(self, at: int) -> Carried | None:
        """Return what a member has carried."""
        return self.maps.carried().get((self.vip, self.members[at]))

    def active(self) -> list[int]:
        """Return how many connections each member has, and how many are listed as live."""
        counts = [(self.carried(at) or Carried()).active for at in range(len(self.members))]
        return [*counts, sum(live.destination == self.vip for _, live in self.maps.live())]

    def followed(self) -> list[int]:
        """Return in how many berths something is known of a socket, and in how many entries beside them."""
        maps = self.pod.kernel.maps
        berths = bpf_entries.first_values(maps["direct_berths"], BERTHS, BERTH_BYTES)
        taken = [cookie for cookie, _ in unpack_berths(berths) if cookie < NOBODY]
        return [len(taken), len(list(bpf.keys(maps["direct_live"], COOKIE_BYTES)))]

    def at_rest(self) -> bool:
        """Say whether all counts are back at zero within a moment."""
        return soon(lambda: not any(self.active()))

    def ending(self) -> DirectEnded:
        """Return the one connection that has ended, within a moment."""
        found: list[DirectEnded] = []

        def has_come() -> bool:
            found.extend(one.whole() for one in self.maps.ended(10))
            return bool(found)

        assert soon(has_come), "none has ended"
        assert len(found) == 1
        return found[0]


@contextlib.contextmanager
def berths_taken(pod: Pod, step: int = 1) -> Iterator[None]:
    """Let all berths be others' while the block lasts, or each so manieth."""
    berths = pod.kernel.maps["direct_berths"]
    keys = [struct.pack("<I", at) for at in range(0, BERTHS, step)]
    bpf.update_many(berths, keys, struct.pack("<I4xQ", 1, NOBODY).ljust(BERTH_BYTES, b"\0"))
    try:
        yield
    finally:
        bpf.update_many(berths, keys, bytes(BERTH_BYTES))
        # The hooks count only what they themselves take out.
        bpf.update(pod.kernel.maps["direct_crowd"], bytes(4), bytes(8))


@contextlib.contextmanager
def direct_in(pod: Pod, vip: str, hosts: Sequence[str]) -> Iterator[Direct]:
    """Have a direct service until the block ends; nothing of it is left then."""
    made = Direct(pod, vip, hosts)
    try:
        yield made
    finally:
        for door in made.doors:
            door.close()
        pod.app.kill()
        made.at_rest()
        for service in list(made.maps.standing):
            made.maps.drop(service, known=False)
        made.maps.lose(WORKLOAD)
        made.maps.sweep()
        while made.maps.ended(1000):
            pass
