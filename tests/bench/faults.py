"""Shell. `python -m tests.bench.faults`: an endpoint that fails and comes back; a service that fails wholly.

Two workers, one agent, one client that asks at a fixed rate. The first: one endpoint of four resets whatever
asks it, and is well again two seconds later. The second: nobody listens at any endpoint; the kernel counts
the connections that are tried (SYN): retries may be a fifth of what the client asked for, or if that is more
three a second in each worker (balance/budget.py).
"""

import argparse
import contextlib
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from meshtrio.benchmark.cores import Cores, choose_cores
from meshtrio.config.traffic import Retries
from tests.bench.asker import Row
from tests.bench.backend import Place
from tests.bench.endpoints import BalancingMeshtrio, Field, answering, ask, asked
from tests.bench.peer import nft
from tests.bench.process import free_ports

ENDPOINTS = 4
WELL_S, ILL_S = 2.0, 2.0
"""How long the endpoint is well first, and ill then."""
SECONDS = 16.0
WORKERS = 2
STORM_S = 10.0
"""As long as the budget looks back."""
TRAFFIC = {"slow_start_s": 4, "breaker": {"open_s": 3}}
BIN_S = 0.5

COUNTING = """
table inet {table} {{
    chain output {{
        type filter hook output priority 0; policy accept;
        tcp dport {{ {ports} }} tcp flags & (syn | ack) == syn counter
    }}
}}
"""


class Recovery(NamedTuple):
    """What became of the endpoint that failed."""

    failures: int
    """How many connections it reset."""
    open_ms: float
    """From the first reset to the last: then no worker sent it anything more."""
    first_s: float
    """From when it was well again to the first connection that was let in."""
    full_s: float
    """From there until it has nine tenths of its share, and keeps it; in steps of BIN_S."""
    shares: list[float]
    """Its share of the answers, by BIN_S since the first let in. A quarter is fair."""
    failed: int
    """Requests without an answer."""


def recovery(field: Field, rate: float) -> Recovery:
    """Let the first endpoint fail amid traffic, and come back."""
    mended = [0.0]

    def ail() -> None:
        time.sleep(WELL_S)
        os.kill(field.first, signal.SIGUSR1)
        time.sleep(ILL_S)
        os.kill(field.first, signal.SIGUSR2)
        mended[0] = time.monotonic()

    with BalancingMeshtrio(field.ports, TRAFFIC, WORKERS).stand(field.place) as standing:
        ailing = threading.Thread(target=ail)
        ailing.start()
        rows = ask(standing, field, rate, SECONDS)
        ailing.join()
    resets = [when for when, was_reset in field.asked if was_reset]
    back = min(when for when, was_reset in field.asked if not was_reset and when > mended[0])
    shares = shares_since(rows, back)
    fair = 0.9 / ENDPOINTS
    below = [at for at in range(len(shares)) if sum(shares[at : at + 4]) / len(shares[at : at + 4]) < fair]
    return Recovery(
        len(resets),
        1000 * (resets[-1] - resets[0]),
        back - mended[0],
        BIN_S * (below[-1] + 1 if below else 0),
        shares,
        sum(who < 0 for _, _, who in rows),
    )


def shares_since(rows: Sequence[Row], since: float) -> list[float]:
    """Give the first endpoint's share of what was due in each whole step from then on."""
    steps: dict[int, list[int]] = {}
    for due, _, who in rows:
        if due >= since:
            steps.setdefault(int((due - since) / BIN_S), []).append(who)
    whole = [steps[at] for at in sorted(steps)][:-1]
    return [step.count(0) / len(step) for step in whole]


@contextlib.contextmanager
def tries_at(ports: Sequence[int]) -> Iterator[list[int]]:
    """Count the connections that are tried to these ports of this machine, in its own namespace."""
    table, counted = f"bench_tries_{os.getpid()}", [0]
    nft(["-f", "-"], COUNTING.format(table=table, ports=", ".join(map(str, ports))))
    try:
        yield counted
        found = re.search(r"counter packets (\d+)", nft(["list", "table", "inet", table]))
        assert found is not None
        counted[0] = int(found[1])
    finally:
        nft(["delete", "table", "inet", table])


def storm(folder: Path, cores: Cores, rate: float, traffic: Mapping[str, Any]) -> float:
    """Ask a service at whose endpoints nobody listens; give the connections tried for each that was asked."""
    ports = free_ports(3)
    place = Place(folder, cores, {})
    field = Field(place, ports, 0)
    with tries_at(ports) as tried:
        rows = asked(BalancingMeshtrio(ports, traffic, WORKERS), field, rate, STORM_S)
    return tried[0] / len(rows)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print. 0 when the storm was kept within the budget."""
    parser = argparse.ArgumentParser(prog="bench.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200, help="requests a second (200)")
    parser.add_argument("--realtime", action="store_true", help="before all other processes (SCHED_RR)")
    options = parser.parse_args(arguments)
    if options.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    cores = choose_cores(os.sched_getaffinity(0))
    found: list[Recovery] = []
    for _ in range(options.rounds):
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as name,
            answering(Path(name), cores, ENDPOINTS) as field,
        ):
            one = recovery(field, options.rate)
        found.append(one)
        print(
            f"{one.failures} resets in {one.open_ms:.0f} ms, {one.failed} requests failed; well again:"
            f" let in after {one.first_s:.2f} s, its full share {one.full_s:.1f} s later; its shares by"
            f" {BIN_S} s: {' '.join(f'{share:.0%}' for share in one.shares[:16])}",
            flush=True,
        )
    print(f"from the first failure to open in all workers: {median(one.open_ms for one in found):.0f} ms")
    retries = Retries()
    most = 1 + max(retries.budget_percent / 100, WORKERS * retries.budget_per_s / options.rate)
    worst = 0.0
    for words, more in (("by default", {}), ("without breakers", {"breaker": {"enabled": False}})):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            times = storm(Path(name), cores, options.rate, more)
        worst = max(worst, times)
        print(
            f"a service that fails wholly, {words}: {times:.3f} connections tried for each asked for"
            f" (want {most:.2f} at most)",
            flush=True,
        )
    return int(worst > most)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
