"""Shell. `python -m tests.bench.slow`: tail latency with one slow endpoint of ten, for each algorithm.

The client asks at a fixed rate, each time on a new connection, for one of 1,000 paths, by which the hashing
algorithms choose. HAProxy's leastconn stands in the same place in the same rounds.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from meshtrio.balance.algorithm import NAMES
from meshtrio.benchmark.cores import choose_cores
from tests.bench.endpoints import BalancingHAProxy, BalancingMeshtrio, answering, asked, percentile_ms
from tests.bench.peer import Peer


def main(arguments: Sequence[str]) -> int:
    """Measure in turn, and print medians of the rounds. 0 when nothing failed."""
    parser = argparse.ArgumentParser(prog="bench.slow", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement (5)")
    parser.add_argument("--rate", type=float, default=200, help="requests a second (200)")
    parser.add_argument("--slow-ms", type=float, default=20, help="that the slow endpoint takes longer (20)")
    parser.add_argument("--realtime", action="store_true", help="before all other processes (SCHED_RR)")
    options = parser.parse_args(arguments)
    if options.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    cores = choose_cores(os.sched_getaffinity(0))
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    failed = 0
    for _ in range(options.rounds):
        for name in (*NAMES, "haproxy leastconn"):
            with (
                tempfile.TemporaryDirectory(prefix="bench-") as folder,
                answering(Path(folder), cores, 10, options.slow_ms) as field,
            ):
                traffic = {"algorithm": name, "hash_key": "path"}
                peer: Peer = BalancingHAProxy(field.ports)
                if name in NAMES:
                    peer = BalancingMeshtrio(field.ports, traffic)
                rows = asked(peer, field, options.rate, options.seconds)
            failed += sum(who < 0 for _, _, who in rows)
            share = sum(who == 0 for _, _, who in rows) / len(rows)
            p50, p90, p99 = (percentile_ms(rows, rank) for rank in (0.5, 0.9, 0.99))
            found.setdefault(name, []).append((p50, p90, p99, share))
            print(f"{name}: {p50:.1f} / {p90:.1f} / {p99:.1f} ms, {share:.1%}", file=sys.stderr, flush=True)
    print("Time of a request in ms, p50 / p90 / p99; share of the slow endpoint of ten")
    for name, rounds in found.items():
        p50, p90, p99, share = (median(column) for column in zip(*rounds, strict=True))
        print(f"  {name:18}{p50:8.1f} /{p90:6.1f} /{p99:6.1f}{share:8.1%}")
    print(f"  {failed} requests failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
