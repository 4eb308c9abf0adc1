"""Shell. One turn: one peer under one load in one round, with the processor's time before and after."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from meshtrio.benchmark.procfs import (
    MachineTime,
    command_line,
    foreign_s,
    machine_time,
    processes,
    rss_mb,
    tree,
    user_and_system,
)
from meshtrio.benchmark.statistics import NOISY_FOREIGN
from tests.bench.backend import Ground, Place, serving
from tests.bench.peer import Peer, Standing
from tests.bench.process import descriptor_limit
from tests.bench.scenario import Scenario, idle_command, idle_most
from tests.bench.workload import Loaded

QUIET_LOOK_S = 0.25
SETTLE_S = 0.5
"""After connections opened and before memory is read: what is given back at once is not counted."""


class Clock(NamedTuple):
    """All processor times at one moment."""

    at_s: float
    machine: MachineTime
    proxy_user_s: float
    proxy_system_s: float
    foreign_s: float


def proxy_pids(standing: Standing) -> set[int]:
    """Give the proxy's processes: its tree, without the load if `exec` started that."""
    return tree(processes(), standing.proxies, without=[standing.workload.pid])


def _read_clock(standing: Standing) -> Clock:
    found = processes()
    user_s, system_s = user_and_system(found, tree(found, standing.proxies, without=[standing.workload.pid]))
    return Clock(time.monotonic(), machine_time(), user_s, system_s, foreign_s(found, os.getpid()))


def _between(before: Clock, after: Clock, operations: float) -> dict[str, float]:
    lasted_s = after.at_s - before.at_s
    proxy_s = after.proxy_user_s + after.proxy_system_s - before.proxy_user_s - before.proxy_system_s
    others_s = max(0.0, after.foreign_s - before.foreign_s)
    # What others used is no cost of ours. What the kernel did for them in softirq stays in.
    machine_s = max(0.0, after.machine.busy_s - before.machine.busy_s - others_s)
    return {
        "proxy_user_s": after.proxy_user_s - before.proxy_user_s,
        "proxy_system_s": after.proxy_system_s - before.proxy_system_s,
        "softirq_s": after.machine.softirq_s - before.machine.softirq_s,
        "machine_s": machine_s,
        "lasted_s": lasted_s,
        "proxy_core_share": 100 * proxy_s / lasted_s,
        "proxy_us_per_operation": 1e6 * proxy_s / max(operations, 1),
        "proxy_system_us_per_operation": 1e6
        * (after.proxy_system_s - before.proxy_system_s)
        / max(operations, 1),
        "machine_us_per_operation": 1e6 * machine_s / max(operations, 1),
        "steal_share": (after.machine.steal_s - before.machine.steal_s) / lasted_s / (os.cpu_count() or 1),
        # Whom all that is measured goes before takes nothing from it.
        "foreign_share": others_s / lasted_s if os.sched_getscheduler(0) == os.SCHED_OTHER else 0.0,
    }


def under_load(peer: Peer, scenario: Scenario, ground: Ground, *, seconds: float) -> Loaded:
    """Stand a peer up, warm it with a second of the same load, measure. RuntimeError if the load fails."""
    with serving(ground, hops=peer.hops) as place, peer.stand(place) as standing:
        address = standing.dial[scenario.target]
        tools = str(place.folder)
        standing.workload.run(scenario.command(tools, address, 1), within_s=20)
        before = _read_clock(standing)
        said = standing.workload.run(scenario.command(tools, address, seconds), within_s=seconds + 20)
        after = _read_clock(standing)
        _check_pinned(standing, place)
    load = said.numbers
    if load["errors"]:
        raise RuntimeError(f"{load['errors']:.0f} errors in {load['operations']:.0f} operations")
    ready = {} if standing.ready_s is None else {"ready_s": standing.ready_s}
    return said._replace(numbers={**load, **_between(before, after, load["operations"]), **ready})


def when_idle(peer: Peer, ground: Ground) -> dict[str, float]:
    """Stand a peer up and read its memory with no connection, 1,000, and as many as one process can relay."""
    numbers: dict[str, float] = {}
    with serving(ground, hops=peer.hops) as place, peer.stand(place) as standing:
        if standing.ready_s is not None:
            numbers["ready_s"] = standing.ready_s
        most = idle_most(descriptor_limit())
        for step, connections in (("0", 0), ("1k", min(1000, most)), ("most", most)):
            command = idle_command(str(place.folder), standing.dial["echo"], connections)
            with standing.workload.hold(command, within_s=60) as held:
                if held.first_line["errors"]:
                    raise RuntimeError(f"{held.first_line['errors']:.0f} of {connections} did not open")
                time.sleep(SETTLE_S)
                numbers.update(_memory(peer, proxy_pids(standing), step))
        numbers["most_connections"] = most
    for role in ("proxy", "agent", "worker"):
        if f"{role}_rss_mb_0" in numbers:
            grown_mb = numbers[f"{role}_rss_mb_most"] - numbers[f"{role}_rss_mb_0"]
            numbers[f"{role}_kb_a_connection"] = 1024 * grown_mb / most
    return numbers


def _memory(peer: Peer, pids: set[int], step: str) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for pid in pids:
        key = f"{peer.role_of(command_line(pid))}_rss_mb_{step}"
        # Of several workers the largest: the bound is on each.
        numbers[key] = max(numbers.get(key, 0.0), rss_mb(pid))
    return numbers


def wait_for_quiet(most_s: float) -> None:
    """Wait until other processes let the machine be for a moment, or the patience ends."""
    until = time.monotonic() + most_s
    while time.monotonic() < until:
        before = foreign_s(processes(), os.getpid())
        time.sleep(QUIET_LOOK_S)
        # What is read comes in ticks of 10 ms, so this asks for at most two of them.
        if foreign_s(processes(), os.getpid()) - before < NOISY_FOREIGN * QUIET_LOOK_S:
            return


def _check_pinned(standing: Standing, place: Place) -> None:
    for pid in proxy_pids(standing):
        cores = os.sched_getaffinity(pid)
        if cores != {place.cores.proxy}:
            raise RuntimeError(
                f"{' '.join(command_line(pid))} runs on cores {sorted(cores)}, not where it was put"
            )


def order(peers: Sequence[Peer], rounds: Mapping[str, int]) -> Iterator[tuple[str, int, Peer]]:
    """Give the turns: in each scenario A B C A B C, so that the peers share the weather."""
    for scenario, count in rounds.items():
        for number in range(1, count + 1):
            for peer in peers:
                yield scenario, number, peer
