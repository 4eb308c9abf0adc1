"""Shell. Direct services beside no mesh at all, and what a pick costs.

`python -m tests.bench.direct ROUNDS LOAD...` compares (direct_slots.py; several hundred rounds, a minute a
load), without arguments it is the picks. With `ROUNDS granted LOAD...` it compares connections between two
workloads of one agent. The load `udp` is round trips to a UDP service (datagrams.py), of which five rounds
are enough; it must be named.

Linux IPVS would be the other one to compare with; it is measured nowhere here, for it needs a kernel that has
it (CONFIG_IP_VS).
"""

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterator, Mapping

import trio

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import Pick
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.intercept.kernel import Kernel, open_kernel
from meshtrio.intercept.layout import Reason
from meshtrio.intercept.udp_maps import UdpMaps
from tests.bench import datagrams, direct_slots
from tests.bench.direct_loads import LOADS
from tests.bench.process import end_on_sigterm
from tests.bpf.neighbours import CALLER, neighbours_in
from tests.bpf.pod import HERE, VIP, Pod, pod_in
from tests.support.namespace import Namespace

ENABLE_STATS, PROGRAM_BY_ID = 32, 13
SK_LOOKUP = 36
_INFO_BYTES, _RUN_TIME_AT = 256, 192
"""Of struct bpf_prog_info (include/uapi/linux/bpf.h): run_time_ns and run_cnt stand there."""


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
        with printed_costs("a connection", pod.kernel.programs):
            for _ in range(2000):
                pod.app.do("d = tcp(host); d.connect((host, 80)); d.close()", host=VIP)
                door.accept()[0].close()


def granted_costs(kernel: Kernel) -> None:
    """Print what each hook takes for one of 2,000 granted connections, at both of its ends."""
    with neighbours_in(kernel, apart=False) as pair, program_of(pair.called.space) as inbound:
        pair.serve()
        pair.grant(CALLER, for_s=600)
        with printed_costs("a granted connection", {**kernel.programs, "inbound": inbound}):
            for _ in range(2000):
                pair.caller.heartbeat.beat()
                pair.caller.app.do("d = tcp(host); d.connect((host, 80)); d.close()", host=VIP)
                pair.called.app.do("app.accept()[0].close()")
        told = pair.caller.counted()
        if told.get(Reason.PASSED_GRANTED, 0) < 2000:
            raise RuntimeError(f"not all were granted: {told}")


@contextlib.contextmanager
def printed_costs(what: str, programs: Mapping[str, int]) -> Iterator[None]:
    """Print what each program has taken meanwhile for one of 2,000."""
    before = {name: ran(program) for name, program in programs.items()}
    yield
    for name, program in programs.items():
        took, runs = (after - was for after, was in zip(ran(program), before[name], strict=True))
        if runs:
            print(f"{what}: {name} {took / 2000:.0f} ns, in {runs / 2000:g} runs", flush=True)


@contextlib.contextmanager
def program_of(space: Namespace) -> Iterator[int]:
    """Open the sk_lookup program of a namespace."""
    ((number,), _) = bpf.attached(space.fd, SK_LOOKUP)
    held = bpf.call(PROGRAM_BY_ID, struct.pack("<III", number, 0, 0))
    try:
        yield held
    finally:
        os.close(held)


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
        with counted_runs():
            granted_costs(kernel)
    finally:
        kernel.close()


if __name__ == "__main__":
    end_on_sigterm()
    if len(sys.argv) > 1:
        rounds, wanted = int(sys.argv[1]), sys.argv[2:]
        granted = wanted[:1] == ["granted"]
        wanted = wanted[granted:] or list(LOADS)
        direct_slots.compare(rounds, [name for name in wanted if name != "udp"], granted=granted)
        if "udp" in wanted:
            datagrams.compare(rounds)
    else:
        picks()
