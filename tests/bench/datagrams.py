"""Shell. Round trips of a datagram: to an endpoint without a mesh, and to a UDP service whose member it is.

One client at a time, in short turns, inside the workload and outside of it: `passing` is a workload that
speaks to the endpoint itself, and pays for hooks that have nothing to do. Client and endpoint share a core,
so that a round trip is not the time in which another core wakes up.
"""

import contextlib
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import trio

from meshtrio.address import Address
from meshtrio.benchmark.statistics import ratio_by_round, spread_of
from meshtrio.intercept.direct_layout import Pick
from meshtrio.intercept.kernel import open_kernel
from meshtrio.intercept.udp_maps import UdpMaps
from tests.bench.toolchain import build
from tests.bpf.pod import HERE, HERE6, VIP, VIP6, Pod, pod_in
from tests.support.namespace import Namespace

MILLISECONDS = 40
TURNS = 12
"""A round is so many turns of each way, and its number is their median."""
PORT, SERVED = 5300, 5301


class Way(NamedTuple):
    """How a round trip goes."""

    name: str
    how: str
    meshed: bool
    to_service: bool


WAYS = (
    Way("unmeshed", "send", meshed=False, to_service=False),
    Way("passing", "send", meshed=True, to_service=False),
    Way("service", "send", meshed=True, to_service=True),
    Way("unmeshed, connected", "connect", meshed=False, to_service=False),
    Way("service, connected", "connect", meshed=True, to_service=True),
)
BASES = {"passing": "unmeshed", "service": "unmeshed", "service, connected": "unmeshed, connected"}


def compare(rounds: int) -> None:
    """Print how long a round trip takes each way, and how many times the unmeshed one that is."""
    kernel = trio.run(open_kernel, None, None)
    try:
        with tempfile.TemporaryDirectory() as folder, Namespace() as space, pod_in(kernel, space) as pod:
            build(Path(folder))
            program = f"{folder}/datagrams"
            maps = UdpMaps(kernel.maps)
            for host, vip in ((HERE, VIP), (HERE6, VIP6)):
                maps.put(Address.of(vip, PORT), Pick.TURNS, [Address.of(host, SERVED)])
                with _served(space, program, host):
                    family = "IPv6" if ":" in vip else "IPv4"
                    took, used = _measured(pod, program, host, vip, rounds)
                    _print(f"a round trip of 64 bytes by UDP, {family}", took)
                    _print(f"the client's processor time of it, {family}", used)
    finally:
        kernel.close()


Took = dict[str, dict[int, float]]
"""Microseconds of a round trip, by way and round."""


def _measured(pod: Pod, program: str, host: str, vip: str, rounds: int) -> tuple[Took, Took]:
    """Return how long round trips took, and how much of the processor the client used for one."""
    took: Took = {way.name: {} for way in WAYS}
    used: Took = {way.name: {} for way in WAYS}
    for number in range(rounds):
        found: dict[str, list[tuple[float, float]]] = {way.name: [] for way in WAYS}
        for turn in range(TURNS):
            for way in WAYS if turn % 2 else reversed(WAYS):
                to = (vip, PORT) if way.to_service else (host, SERVED)
                argv = [*_pinned(), program, way.how, to[0], str(to[1]), str(MILLISECONDS)]
                if way.meshed:
                    argv = ["sh", "-c", f'echo $$ > {pod.group}/cgroup.procs; exec "$@"', "sh", *argv]
                count, wall_ns, cpu_ns = map(int, pod.space.command(*argv).split())
                found[way.name].append((wall_ns / count / 1000, cpu_ns / count / 1000))
        for name, turns in found.items():
            took[name][number], used[name][number] = map(statistics.median, zip(*turns, strict=True))
    return took, used


def _pinned() -> list[str]:
    return ["taskset", "-c", str(max(os.sched_getaffinity(0)))]


def _print(title: str, took: Took) -> None:
    print(f"{title}:")
    for name, by_round in took.items():
        spread = spread_of(list(by_round.values()))
        line = f"  {name}: {spread.median:.2f} us"
        if name in BASES:
            ratio = ratio_by_round(by_round, took[BASES[name]])
            assert ratio is not None
            line += f", {ratio.median:.3f} x {BASES[name]} ({ratio.low:.3f} to {ratio.high:.3f})"
        print(line, flush=True)


@contextlib.contextmanager
def _served(space: Namespace, program: str, host: str) -> Iterator[None]:
    argv = [*_pinned(), program, "serve", host, str(SERVED)]
    with space.run(lambda: subprocess.Popen(argv, stdout=subprocess.PIPE)) as process:
        try:
            assert process.stdout
            assert process.stdout.readline()
            yield
        finally:
            process.kill()
