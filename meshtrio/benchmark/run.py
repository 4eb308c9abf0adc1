"""Shell. A run: all peers stand, and each load goes from peer to peer, round by round. Does not print."""

import contextlib
import datetime
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from meshtrio.benchmark.cores import choose_cores
from meshtrio.benchmark.peers import Standing, by_command, standing
from meshtrio.benchmark.process import ProcessFailed
from meshtrio.benchmark.result import LeftOut, Machine, Run, Sample
from meshtrio.benchmark.scenario import Scenario, rounds_of
from meshtrio.benchmark.turn import memory, take

Told = Callable[[str], None]


class Plan(NamedTuple):
    """What shall be measured."""

    peers: tuple[str, ...]
    scenarios: tuple[Scenario, ...]
    rounds: int
    seconds: float
    commands: Mapping[str, str] = MappingProxyType({})
    """Peers that are commands, by their names."""


def measure(plan: Plan, told: Told) -> Run:
    """Measure all of it, and say how it goes on. Whatever was started or made is gone afterwards.

    A peer that cannot stand is left out, and a turn that fails is a failure of the run; the others go on.
    """
    cores = choose_cores(os.sched_getaffinity(0))
    machine = _machine(str(cores))
    left_out: list[LeftOut] = []
    with contextlib.ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        found: dict[str, Standing] = {}
        for name in plan.peers:
            told(f"starting {name}")
            try:
                command = plan.commands.get(name)
                peer = None if command is None else by_command(command)
                found[name] = undo.enter_context(standing(name, folder, cores, peer))
            except ProcessFailed as why:
                left_out.append(LeftOut(name, str(why)))
                told(f"{name} is left out: {why}")
        samples, failures = _turns(plan, found, told)
        told("taking everything down")
    return Run(machine, plan.seconds, plan.rounds, tuple(samples), tuple(left_out), tuple(failures))


def order(plan: Plan, peers: Sequence[str]) -> Iterator[tuple[Scenario, int, str]]:
    """Give the turns: in each scenario A B C A B C, so that the peers share the machine's weather."""
    for scenario in plan.scenarios:
        for number in range(1, rounds_of(scenario, plan.rounds) + 1):
            for peer in peers:
                yield scenario, number, peer


def _turns(plan: Plan, found: dict[str, Standing], told: Told) -> tuple[list[Sample], list[str]]:
    samples: list[Sample] = []
    failures: list[str] = []
    at_rest = {name: memory(one, "_rss") for name, one in found.items()}
    turns = list(order(plan, list(found)))
    for done, (scenario, number, peer) in enumerate(turns, 1):
        title = f"[{done}/{len(turns)}] {scenario.name}, {peer}, round {number}"
        try:
            numbers = take(found[peer], scenario, plan.seconds)
        except ProcessFailed as why:
            failures.append(f"{scenario.name}, {peer}, round {number}: {why}")
            told(f"{title}: FAILED: {why}")
            continue
        if scenario.is_memory:
            numbers |= at_rest[peer]
        samples.append(Sample(scenario.name, peer, number, numbers))
        first = next((metric for metric in scenario.metrics if metric.key in numbers), None)
        said = f": {numbers[first.key]:,.0f} {first.unit}" if first else ""
        told(f"{title}{said}")
    return samples, failures


def _machine(placing: str) -> Machine:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return Machine(
        kernel=platform.release(),
        processor=model[1] if model else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        placing=placing,
        began=datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        load_average=os.getloadavg()[0],
        python=platform.python_version(),
    )
