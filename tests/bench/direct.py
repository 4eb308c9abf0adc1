"""Shell. Direct services beside no mesh at all, and what a pick costs.

`python -m tests.bench.direct ROUNDS SCENARIO...`, or without arguments for the picks. The scenario `udp` is
round trips to a UDP service (datagrams.py).

Linux IPVS would be the other one to compare with; it is measured nowhere here, for it needs a kernel that has
it (CONFIG_IP_VS).
"""

import contextlib
import ctypes
import json
import os
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import trio

from meshtrio.address import Address
from meshtrio.benchmark.cores import choose_cores
from meshtrio.benchmark.statistics import ratio_by_round, spread_of
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import Pick
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.intercept.kernel import open_kernel
from meshtrio.intercept.udp_maps import UdpMaps
from tests.bench import datagrams
from tests.bench.backend import Ground, Place
from tests.bench.mesh import Meshtrio, configuration
from tests.bench.peer import Unmeshed
from tests.bench.scenario import SCENARIOS
from tests.bench.toolchain import build
from tests.bench.turn import under_load
from tests.bpf.pod import HERE, VIP, Pod, pod_in
from tests.support.namespace import Namespace

SECONDS = 2
MEASURED = {
    "connect": "per_second",
    "connect-16": "per_second",
    "roundtrip-1": "per_second",
    "roundtrip-64": "per_second",
    "bulk-up": "gigabytes_per_second",
    "bulk-down": "gigabytes_per_second",
}
ENABLE_STATS = 32
_INFO_BYTES, _RUN_TIME_AT = 256, 192
"""Of struct bpf_prog_info (include/uapi/linux/bpf.h): run_time_ns and run_cnt stand there."""


class MeshtrioDirect(Meshtrio):
    """As the eBPF rung, and the services are direct: after the start nobody of ours has anything to do."""

    workload = "bench-direct"

    def __init__(self) -> None:
        super().__init__("ebpf")
        self.name = "meshtrio-direct"

    def configured(self, place: Place, services: Path) -> str:
        """Write the configuration."""
        settings = json.loads(configuration(place, services))
        return json.dumps(settings | {"traffic": {"direct": "auto", "retries": {"attempts": 0}}})


def compare(rounds: int, wanted: Sequence[str]) -> None:
    """Print how many times the unmeshed number the direct one is, round by round.

    And how many times its own unmeshed is, measured twice: what lies between these is the machine's.
    """
    again = Unmeshed()
    again.name = "unmeshed again"
    peers = (Unmeshed(), again, MeshtrioDirect())
    with tempfile.TemporaryDirectory() as folder:
        cores = choose_cores(os.sched_getaffinity(0))
        build(Path(folder))
        ground = Ground(Path(folder), cores)
        for scenario in SCENARIOS:
            if scenario.name not in wanted:
                continue
            key = MEASURED[scenario.name]
            numbers: dict[str, dict[int, float]] = {peer.name: {} for peer in peers}
            ours = []
            for number in range(rounds):
                for peer in peers if number % 2 else reversed(peers):
                    found, _ = under_load(peer, scenario, ground, seconds=SECONDS)
                    numbers[peer.name][number] = found[key]
                    ours += [found["proxy_us_per_operation"]] if peer is peers[2] else []
            print(f"{scenario.title}: unmeshed {spread_of(list(numbers[peers[0].name].values())).median:.5g}")
            for peer in peers[1:]:
                ratio = ratio_by_round(numbers[peer.name], numbers[peers[0].name])
                assert ratio is not None
                print(f"    {peer.name}: {ratio.median:.3f} x ({ratio.low:.3f} to {ratio.high:.3f})")
            print(f"    agent and worker: {max(ours):.2f} us an operation at most", flush=True)


@contextlib.contextmanager
def counted_runs() -> Iterator[None]:
    """Let the kernel count how often programs run, and for how long (5.8)."""
    held = bpf.call(ENABLE_STATS, struct.pack("<I", 0))
    try:
        yield
    finally:
        os.close(held)


def ran(program: int) -> tuple[int, int]:
    """Return the nanoseconds that a program has run, and how often."""
    info = bytearray(_INFO_BYTES)
    buffer = (ctypes.c_char * _INFO_BYTES).from_buffer(info)
    bpf.call(bpf.INFO_BY_FD, struct.pack("<IIQ", program, _INFO_BYTES, ctypes.addressof(buffer)))
    nanoseconds, runs = struct.unpack_from("<QQ", info, _RUN_TIME_AT)
    return nanoseconds, runs


def cost(pod: Pod, name: str) -> float:
    """Return the nanoseconds that a program takes for one of 5,000 connects."""
    before = ran(pod.kernel.programs[name])
    pod.app.do("for _ in range(5000):\n d = tcp(host); d.connect_ex((host, 80)); d.close()", host=VIP)
    after = ran(pod.kernel.programs[name])
    return (after[0] - before[0]) / max(1, after[1] - before[1])


def connection_costs(pod: Pod) -> None:
    """Print what each hook takes for one of 2,000 direct connections, from connect to the end."""
    with pod.space.bound(HERE, 0) as door:
        DirectMaps(pod.kernel.maps).put(
            Address.of(VIP, 80), Pick.TURNS, [Address.of(*door.getsockname()[:2])]
        )
        before = {name: ran(program) for name, program in pod.kernel.programs.items()}
        for _ in range(2000):
            pod.app.do("d = tcp(host); d.connect((host, 80)); d.close()", host=VIP)
            door.accept()[0].close()
        for name, program in pod.kernel.programs.items():
            took, runs = (after - was for after, was in zip(ran(program), before[name], strict=True))
            if runs:
                print(f"a connection: {name} {took / 2000:.0f} ns, in {runs / 2000:g} runs", flush=True)


def datagram_costs(pod: Pod) -> None:
    """Print what sendmsg4 and recvmsg4 take for one of 5,000 datagrams that a socket sends to itself."""
    UdpMaps(pod.kernel.maps).put(Address.of(VIP, 80), Pick.TURNS, [Address.of(HERE, 20_000)])
    pod.app.do("own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); own.bind((host, 20000))", host=HERE)
    for name, to in (("no service", [HERE, 20_000]), ("a service", [VIP, 80])):
        before = [ran(pod.kernel.programs[hook]) for hook in ("sendmsg4", "recvmsg4")]
        pod.app.do("for _ in range(5000):\n own.sendto(b'x', tuple(to)); own.recvfrom(9)", to=to)
        after = [ran(pod.kernel.programs[hook]) for hook in ("sendmsg4", "recvmsg4")]
        took = [(a[0] - b[0]) / (a[1] - b[1]) for a, b in zip(after, before, strict=True)]
        print(f"UDP to {name}: sendmsg4 {took[0]:.0f} ns, recvmsg4 {took[1]:.0f} ns")


def picks() -> None:
    """Print what connect4 and sockops cost, by pick and by the number of members; then UDP.

    Nobody listens at the members: what is measured is the way to the refusal.
    """
    kernel = trio.run(open_kernel, None, None)
    try:
        with counted_runs(), Namespace() as space, pod_in(kernel, space) as pod:
            print(f"connect4 to the door (relay): {cost(pod, 'connect4'):.0f} ns")
            maps = DirectMaps(kernel.maps)
            service = Address.of(VIP, 80)
            for pick in Pick:
                for count in (3, 1000):
                    pod.heartbeat.beat()
                    maps.put(service, pick, [Address.of(HERE, 20_000 + at) for at in range(count)])
                    hook, follow = cost(pod, "connect4"), cost(pod, "sockops")
                    print(
                        f"{pick.name.lower()}, {count} members: connect4 {hook:.0f} ns,"
                        f" sockops {follow:.0f} ns an event",
                        flush=True,
                    )
            connection_costs(pod)
            datagram_costs(pod)
    finally:
        kernel.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        rounds, wanted = int(sys.argv[1]), sys.argv[2:] or [*MEASURED, "udp"]
        compare(rounds, wanted)
        if "udp" in wanted:
            datagrams.compare(rounds)
    else:
        picks()
