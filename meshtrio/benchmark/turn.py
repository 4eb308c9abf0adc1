"""Shell. One turn: one peer under one load, with all processors' clocks read right before and right after."""

import json
import os
import sys
import time
from typing import NamedTuple

from meshtrio.benchmark import load
from meshtrio.benchmark.peers import Standing, role_of
from meshtrio.benchmark.process import ProcessFailed, line_of, running
from meshtrio.benchmark.procfs import (
    command_line,
    foreign_s,
    machine_time,
    processes,
    rss_mb,
    tree,
    user_and_system,
)
from meshtrio.benchmark.scenario import Scenario
from meshtrio.cli import launch
from meshtrio.cli.process import raise_descriptor_limit

WARM_S = 0.2
PATIENCE_S = 30.0
SETTLE_S = 0.3
"""After connections opened and before memory is read: what is given back at once is not counted."""


class Clock(NamedTuple):
    """All processor times at one moment."""

    at_s: float
    user_s: float
    system_s: float
    """Of the proxy's tree."""
    foreign_s: float
    steal_s: float


def take(standing: Standing, scenario: Scenario, seconds: float) -> dict[str, float]:
    """Put the load on the peer once, and return what it gave. ProcessFailed if the load fails."""
    ground = standing.ground
    raise_descriptor_limit()
    host, port = standing.dial
    words = [sys.executable, "-I", "-S", load.__file__, scenario.mode, host, str(port), f"{seconds:g}"]
    spot = ground.spot(ground.cores.client, "load")
    with running(
        launch.argv(str(ground.cgroup), "", -1, [*words, f"{WARM_S:g}"]), spot, piped=True
    ) as process:
        assert process.stdin is not None
        if line_of(process, PATIENCE_S, spot.log) != "ready":
            raise ProcessFailed("the load said something else than that it is ready")
        if scenario.is_memory:
            time.sleep(SETTLE_S)
            return memory(standing, "_rss_1k")
        before = _clock(standing)
        process.stdin.write(b"\n")
        line = line_of(process, seconds + PATIENCE_S, spot.log)
        after = _clock(standing)
    numbers = {key: float(value) for key, value in json.loads(line).items()}
    if numbers["errors"]:
        raise ProcessFailed(f"{numbers['errors']:.0f} of its operations failed")
    return numbers | _between(before, after, numbers["operations"])


def memory(standing: Standing, step: str) -> dict[str, float]:
    """Read the resident memory of the peer's processes, in MiB; of several workers the largest."""
    found: dict[str, float] = {}
    for pid in tree(processes(), standing.proxies):
        key = f"{role_of(standing.ground.name, command_line(pid))}{step}"
        found[key] = max(found.get(key, 0.0), rss_mb(pid))
    return found


def _clock(standing: Standing) -> Clock:
    found = processes()
    user_s, system_s = user_and_system(found, tree(found, standing.proxies))
    return Clock(time.monotonic(), user_s, system_s, foreign_s(found, os.getpid()), machine_time().steal_s)


def _between(before: Clock, after: Clock, operations: float) -> dict[str, float]:
    lasted_s = after.at_s - before.at_s
    system_s = after.system_s - before.system_s
    proxy_s = after.user_s - before.user_s + system_s
    return {
        "proxy_us": 1e6 * proxy_s / max(operations, 1.0),
        "proxy_kernel_us": 1e6 * system_s / max(operations, 1.0),
        "proxy_core_share": proxy_s / lasted_s,
        "steal_share": (after.steal_s - before.steal_s) / lasted_s / (os.cpu_count() or 1),
        "foreign_share": max(0.0, after.foreign_s - before.foreign_s) / lasted_s,
    }
