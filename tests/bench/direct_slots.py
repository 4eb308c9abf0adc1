"""Shell. Direct services beside no mesh at all, in slots (slots.py): rate, and the processor's time.

All clients live all the time, each in a cgroup of its own, on one core, before the same server, which is on
that core if there are only two. One works, the others wait for their slots. All of it begins anew now and
then, for where processes, maps and programs lie in memory is luck that stays as long as they do.

Granted connections are compared so, too; there each way has a server of its own (granted.py).

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
from tests.bench.direct_loads import GRANTED_GOALS, LOADS, Load
from tests.bench.granted import MeshtrioGranted, ServedApart
from tests.bench.mesh import Meshtrio, configuration
from tests.bench.peer import Peer, Standing, Unmeshed
from tests.bench.slots import Middle, Slot, middle, orders, verdict
from tests.bench.toolchain import build
from tests.bench.turn import proxy_pids
from tests.bench.workload import Conversation
from tests.support.namespace_door import cgroup

CLONE_NEWNET = 0x4000_0000
UNMESHED, AGAIN = "unmeshed", "unmeshed again"
WARM_ROUNDS = 50
"""Not counted: the agent settles, and ports come to be in TIME_WAIT, as many as will be."""
ROUNDS_A_CLIENT, ROUNDS_A_MESH = 30, 120


class MeshtrioDirect(Meshtrio):
    """As the eBPF rung, and the services are direct: after the start nobody of ours has anything to do."""

    workload = "bench-direct"

    def __init__(self) -> None:
        super().__init__("ebpf")
        self.name = "direct"

    def configured(self, place: Place, services: Path) -> str:
        """Write the configuration."""
        settings = json.loads(configuration(place, services))
        return json.dumps(settings | {"traffic": {"direct": "auto", "retries": {"attempts": 0}}})


class Bench(NamedTuple):
    """What is there for one load."""

    load: Load
    standings: Mapping[str, Standing]
    meshed: str
    """The way that is compared."""
    client: str
    """Its path."""
    servers: Mapping[str, int]
    """Their pids."""


class Found(NamedTuple):
    """What a load gave before one mesh."""

    rounds: list[Mapping[str, Slot]]
    proxy_s: float
    """What agent and worker took of their core meanwhile."""


def compare(rounds: int, wanted: Sequence[str], *, granted: bool = False) -> None:
    """Print how many times the unmeshed numbers the meshed ones are, and whether the goals are reached."""
    _move_apart()
    cores = choose_cores(os.sched_getaffinity(0))
    # Where the agent is: this process works between slots only.
    os.sched_setaffinity(0, {cores.proxy})
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        ground = Ground(Path(folder), cores)
        base: Peer = Unmeshed()
        peer: Peer = MeshtrioDirect()
        if granted:
            base, peer = ServedApart(ground.folder), MeshtrioGranted(ground.folder)
        for name in wanted:
            load = LOADS[name]
            if granted:
                load = load._replace(goal=GRANTED_GOALS.get(name, load.goal))
            parts = []
            _set_ports(load.ports)
            for at in range(0, rounds, ROUNDS_A_MESH):
                with _standing(ground, base, peer) as (place, standings):
                    pids = {way: standing.server or place.server for way, standing in standings.items()}
                    bench = Bench(load, standings, peer.name, f"{folder}/client", pids)
                    parts.append(_measured(bench, min(ROUNDS_A_MESH, rounds - at)))
            _print(load, peer.name, parts)


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
def _standing(ground: Ground, base: Peer, meshed: Peer) -> Iterator[tuple[Place, dict[str, Standing]]]:
    peers: dict[str, Peer] = {UNMESHED: base, AGAIN: base, meshed.name: meshed}
    with contextlib.ExitStack() as stack:
        # As deep as a workload's: with PSI, whoever goes to sleep pays for each group that it is in.
        parent = stack.enter_context(cgroup())
        groups = {way: stack.enter_context(cgroup(parent)) for way in (UNMESHED, AGAIN)}
        place = stack.enter_context(serving(ground))
        standings = {}
        for way, peer in peers.items():
            own = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place.folder)))
            standings[way] = stack.enter_context(peer.stand(place._replace(folder=own)))
            if way in groups:  # the other one has been given one
                (groups[way] / "cgroup.procs").write_text(str(standings[way].workload.pid))
        yield place, standings


def _measured(bench: Bench, rounds: int) -> Found:
    found: list[Mapping[str, Slot]] = []
    for order in _clients(bench, WARM_ROUNDS):
        _round(bench, order)
    pids = proxy_pids(bench.standings[bench.meshed])
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
        served = _processor_ns(bench.servers[way])
        done = client.ask(str(bench.load.slot_ms))
        served = _processor_ns(bench.servers[way]) - served
        if done["errors"] or not done["operations"]:
            raise RuntimeError(f"{way}: {done['errors']:.0f} errors, {done['operations']:.0f} operations")
        operations = done["operations"] / bench.load.scale
        slots[way] = Slot(operations, done["ns"], done["processor_ns"], served)
    return slots


def _processor_ns(pid: int) -> int:
    """Say how long a process has run. Its clock's number is made of its pid (clock_getcpuclockid)."""
    return time.clock_gettime_ns(~pid << 3 | 2)


def _print(load: Load, meshed: str, parts: Sequence[Found]) -> None:
    rounds = [slots for part in parts for slots in part.rounds]
    ways = (UNMESHED, AGAIN, meshed)
    rates = {way: [slots[way].per_second for slots in rounds] for way in ways}
    costs = {way: [slots[way].processor_us for slots in rounds] for way in ways}
    ratios = {way: _by_round(rates[way], rates[UNMESHED]) for way in ways}
    per = load.operation
    print(
        f"{load.title}: unmeshed {median(rates[UNMESHED]):.5g} {per}s a second,"
        f" {median(costs[UNMESHED]):.4g} us of processor time each;"
        f" {len(rounds)} rounds before {len(parts)} meshes, slots of {load.slot_ms} ms"
    )
    for way in (AGAIN, meshed):
        more = middle([mine - base for mine, base in zip(costs[way], costs[UNMESHED], strict=True)])
        processor = _by_round(costs[way], costs[UNMESHED])
        print(f"    {way}: {_words(ratios[way])}; processor {_words(processor)}")
        print(f"        {more.median:+.3f} us a {per} ({more.low:+.3f} to {more.high:+.3f})")
    each = [
        median([slots[meshed].per_second / slots[UNMESHED].per_second for slots in part.rounds])
        for part in parts
    ]
    print(f"    {meshed} by mesh: {', '.join(f'{one:.3f}' for one in sorted(each))}")
    proxy_us = 1e6 * sum(part.proxy_s for part in parts) / sum(slots[meshed].operations for slots in rounds)
    print(f"    agent and worker: {proxy_us:.2f} us a {per}, on another core")
    print(f"    {load.goal} x: {verdict(ratios[meshed], ratios[AGAIN], load.goal)}", flush=True)


def _by_round(values: Sequence[float], base: Sequence[float]) -> Middle:
    return middle([mine / its for mine, its in zip(values, base, strict=True)])


def _words(ratio: Middle) -> str:
    return f"{ratio.median:.4f} x ({ratio.low:.4f} to {ratio.high:.4f})"
