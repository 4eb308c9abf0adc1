"""Shell. Direct services beside no mesh at all, in slots (slots.py): rate, and the processor's time.

All clients live all the time, each in a cgroup of its own, on one core, before the same server, which is on
that core if there are only two. One works, the others wait for their slots. All of it begins anew now and
then, for where processes, maps and programs lie in memory is luck that stays as long as they do.

Unmeshed is here: on a node with a mesh, whose kernel asks at each socket whether a hook is attached to its
cgroup, and in the namespace of a workload, whose sk_lookup program sees each SYN.
"""

import contextlib
import ctypes
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from meshtrio.benchmark.cores import choose_cores
from meshtrio.benchmark.procfs import processes, user_and_system
from meshtrio.benchmark.statistics import median
from tests.bench.backend import Ground, Place, serving
from tests.bench.mesh import Meshtrio, configuration
from tests.bench.peer import Peer, Standing, Unmeshed
from tests.bench.slots import Middle, Slot, middle, orders, verdict
from tests.bench.toolchain import build
from tests.bench.turn import proxy_pids
from tests.bench.workload import Conversation
from tests.support.namespace_door import cgroup

CLONE_NEWNET = 0x4000_0000
UNMESHED, AGAIN, DIRECT = WAYS = ("unmeshed", "unmeshed again", "direct")
WARM_ROUNDS = 50
"""Not counted: the agent settles, and ports come to be in TIME_WAIT, as many as will be."""
USUAL_PORTS = {"ip_local_port_range": "32768 60999", "tcp_tw_reuse_delay": "1000"}
"""As the kernel has them. At such rates most are those of the last second, in TIME_WAIT, and to find another
is much of what a connection takes. The second is there since Linux 6.14."""
MANY_PORTS = {"ip_local_port_range": "1024 65535", "tcp_tw_reuse_delay": "1"}
"""So that one is found at once, and what a mesh adds is a larger part of all."""
ROUNDS_A_CLIENT, ROUNDS_A_MESH = 30, 120


class Load(NamedTuple):
    """One thing that clients do."""

    title: str
    words: tuple[str, str]
    """As slots.c wants them."""
    operation: str
    goal: float
    """How many times the unmeshed rate it should be."""
    slot_ms: int = 20
    scale: float = 1
    """So many of what slots.c counts are an operation."""
    ports: Mapping[str, str] = MANY_PORTS


LOADS = {
    "connect": Load("connect, first byte, close: one at a time", ("connect", "1"), "connection", 0.95),
    "connect-16": Load("connect, first byte, close: 16 at a time", ("connect", "16"), "connection", 0.95),
    "connect-usual": Load(
        *(
            "connect, first byte, close: one at a time, the kernel's ports",
            ("connect", "1"),
            "connection",
            0.95,
        ),
        ports=USUAL_PORTS,
    ),
    "connect-usual-16": Load(
        *(
            "connect, first byte, close: 16 at a time, the kernel's ports",
            ("connect", "16"),
            "connection",
            0.95,
        ),
        ports=USUAL_PORTS,
    ),
    "roundtrip-1": Load("1 byte there and back", ("roundtrip", "1"), "round trip", 0.99),
    "roundtrip-1024": Load("1 KiB there and back", ("roundtrip", "1024"), "round trip", 0.99),
    "roundtrip-65536": Load("64 KiB there and back", ("roundtrip", "65536"), "round trip", 0.99),
    "bulk-up": Load("bulk, client to server", ("up", "0"), "MB", 0.99, 50, 1e6),
    "bulk-down": Load("bulk, server to client", ("down", "0"), "MB", 0.99, 50, 1e6),
}


class MeshtrioDirect(Meshtrio):
    """As the eBPF rung, and the services are direct: after the start nobody of ours has anything to do."""

    workload = "bench-direct"

    def __init__(self) -> None:
        super().__init__("ebpf")
        self.name = DIRECT

    def configured(self, place: Place, services: Path) -> str:
        """Write the configuration."""
        settings = json.loads(configuration(place, services))
        return json.dumps(settings | {"traffic": {"direct": "auto", "retries": {"attempts": 0}}})


class Bench(NamedTuple):
    """What is there for one load."""

    load: Load
    standings: Mapping[str, Standing]
    client: str
    """Its path."""
    server: int
    """Its pid."""


class Found(NamedTuple):
    """What a load gave before one mesh."""

    rounds: list[Mapping[str, Slot]]
    proxy_s: float
    """What agent and worker took of their core meanwhile."""


def compare(rounds: int, wanted: Sequence[str]) -> None:
    """Print how many times the unmeshed numbers the direct ones are, and whether the goals are reached."""
    _move_apart()
    cores = choose_cores(os.sched_getaffinity(0))
    # Where the agent is: this process works between slots only.
    os.sched_setaffinity(0, {cores.proxy})
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        ground = Ground(Path(folder), cores)
        for name in wanted:
            parts = []
            _set_ports(LOADS[name].ports)
            for at in range(0, rounds, ROUNDS_A_MESH):
                with serving(ground) as place, _standing(place) as standings:
                    bench = Bench(LOADS[name], standings, f"{folder}/client", place.server)
                    parts.append(_measured(bench, min(ROUNDS_A_MESH, rounds - at)))
            _print(LOADS[name], parts)


def _move_apart() -> None:
    """Be in a network namespace of our own from now on, as all that we start."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _set_ports(ports: Mapping[str, str]) -> None:
    for name, value in ports.items():
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys/net/ipv4", name).write_text(value)


@contextlib.contextmanager
def _standing(place: Place) -> Iterator[dict[str, Standing]]:
    peers: dict[str, Peer] = {UNMESHED: Unmeshed(), AGAIN: Unmeshed(), DIRECT: MeshtrioDirect()}
    with contextlib.ExitStack() as stack:
        # As deep as a workload's: with PSI, whoever goes to sleep pays for each group that it is in.
        parent = stack.enter_context(cgroup())
        standings = {}
        for way, peer in peers.items():
            own = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place.folder)))
            group = stack.enter_context(cgroup(parent))
            standings[way] = stack.enter_context(peer.stand(place._replace(folder=own)))
            if way != DIRECT:  # which has been given one
                (group / "cgroup.procs").write_text(str(standings[way].workload.pid))
        yield standings


def _measured(bench: Bench, rounds: int) -> Found:
    found: list[Mapping[str, Slot]] = []
    for order in _clients(bench, WARM_ROUNDS):
        _round(bench, order)
    pids = proxy_pids(bench.standings[DIRECT])
    before = sum(user_and_system(processes(), pids))
    for at in range(0, rounds, ROUNDS_A_CLIENT):
        for order in _clients(bench, min(ROUNDS_A_CLIENT, rounds - at)):
            found.append(_round(bench, order))
    return Found(found, sum(user_and_system(processes(), pids)) - before)


Turns = Sequence[tuple[str, Conversation]]


def _clients(bench: Bench, rounds: int) -> Iterator[Turns]:
    """Have a client each way, and give the orders in which they work. Afterwards they have ended."""
    with contextlib.ExitStack() as stack:
        ways = []
        for way, standing in bench.standings.items():
            ip, port = standing.dial["echo"]
            words = [bench.client, "slots", ip, str(port), *bench.load.words]
            ways.append((way, stack.enter_context(standing.workload.converse(words, within_s=20))))
        yield from orders(ways, rounds, random.shuffle)


def _round(bench: Bench, order: Turns) -> dict[str, Slot]:
    slots = {}
    for way, client in order:
        served = _processor_ns(bench.server)
        done = client.ask(str(bench.load.slot_ms))
        served = _processor_ns(bench.server) - served
        if done["errors"] or not done["operations"]:
            raise RuntimeError(f"{way}: {done['errors']:.0f} errors, {done['operations']:.0f} operations")
        operations = done["operations"] / bench.load.scale
        slots[way] = Slot(operations, done["ns"], done["processor_ns"], served)
    return slots


def _processor_ns(pid: int) -> int:
    """Say how long a process has run. Its clock's number is made of its pid (clock_getcpuclockid)."""
    return time.clock_gettime_ns(~pid << 3 | 2)


def _print(load: Load, parts: Sequence[Found]) -> None:
    rounds = [slots for part in parts for slots in part.rounds]
    rates = {way: [slots[way].per_second for slots in rounds] for way in WAYS}
    costs = {way: [slots[way].processor_us for slots in rounds] for way in WAYS}
    ratios = {way: _by_round(rates[way], rates[UNMESHED]) for way in WAYS}
    per = load.operation
    print(
        f"{load.title}: unmeshed {median(rates[UNMESHED]):.5g} {per}s a second,"
        f" {median(costs[UNMESHED]):.4g} us of processor time each;"
        f" {len(rounds)} rounds before {len(parts)} meshes, slots of {load.slot_ms} ms"
    )
    for way in (AGAIN, DIRECT):
        more = middle([mine - base for mine, base in zip(costs[way], costs[UNMESHED], strict=True)])
        processor = _by_round(costs[way], costs[UNMESHED])
        print(f"    {way}: {_words(ratios[way])}; processor {_words(processor)}")
        print(f"        {more.median:+.3f} us a {per} ({more.low:+.3f} to {more.high:+.3f})")
    each = [
        median([slots[DIRECT].per_second / slots[UNMESHED].per_second for slots in part.rounds])
        for part in parts
    ]
    print(f"    direct by mesh: {', '.join(f'{one:.3f}' for one in sorted(each))}")
    proxy_us = 1e6 * sum(part.proxy_s for part in parts) / sum(slots[DIRECT].operations for slots in rounds)
    print(f"    agent and worker: {proxy_us:.2f} us a {per}, on another core")
    print(f"    {load.goal} x: {verdict(ratios[DIRECT], ratios[AGAIN], load.goal)}", flush=True)


def _by_round(values: Sequence[float], base: Sequence[float]) -> Middle:
    return middle([mine / its for mine, its in zip(values, base, strict=True)])


def _words(ratio: Middle) -> str:
    return f"{ratio.median:.4f} x ({ratio.low:.4f} to {ratio.high:.4f})"
