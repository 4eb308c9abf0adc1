"""Shell. `python -m tests.bench.balance`: how fair, quick and steady each algorithm is, against its goals.

One process on one core, the algorithms alone: what a pick costs a worker, how far the shares are from the
weights, what a change of members costs, and how many keys it moves. Costs are processor time, in medians of
batches, for others use the machine, too.
"""

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from statistics import median

from meshtrio.balance.algorithm import HASHING, NAMES, Algorithm, make
from meshtrio.balance.ewma import measured
from meshtrio.balance.member import Member
from tests.support.members import many

SIZES = (3, 8, 10, 100, 1000)
BATCH = 1000
GOAL_US = {"round_robin": 1.0}
"""For a pick at 1,000 members; the others have OTHERS_US."""
OTHERS_US = 3.0
MOVED_GOAL = 0.012
"""Of all keys, beyond the leaver's own, when 1 of 100 leaves."""


def fresh(name: str, there: Sequence[Member], bound: float = 0) -> Algorithm:
    """Make an algorithm that knows these."""
    chosen = make(name, start=0, luck=random.Random(1), bounded_load=bound)
    chosen.replace(there)
    return chosen


def weighing(count: int) -> list[Member]:
    """Make members that weigh 1, 2, 3, 1, 2, 3 and so on."""
    there = many(count)
    for at, one in enumerate(there):
        one.weight = 1.0 + at % 3
    return there


def error(name: str, there: Sequence[Member], picks: int) -> tuple[float, float]:
    """Measure how far the shares are from the weights, in shares: the mean over members, and the worst."""
    chosen, luck = fresh(name, there), random.Random(2)
    found: Counter[str] = Counter()
    for _ in range(picks):
        picked = chosen.pick(0.0, luck.getrandbits(64), ())
        assert picked is not None
        found[picked.id] += 1
    total = 1.0 * len(there) if name == "round_robin" else sum(one.weight for one in there)
    off = []
    for one in there:
        share = (1.0 if name == "round_robin" else one.weight) / total
        off.append(abs(found[one.id] / picks - share) / share)
    return sum(off) / len(off), max(off)


def pick_ns(chosen: Algorithm, there: Sequence[Member], batches: int, tried: frozenset[str]) -> list[float]:
    """Measure so many batches of picks, sorted, in nanoseconds a pick.

    Members are loaded and measured as in traffic: by luck, changed between the batches.
    """
    luck = random.Random(3)
    keys = [luck.getrandbits(64) for _ in range(BATCH)]
    took = []
    for batch in range(batches):
        for one in luck.sample(there, min(len(there), 50)):
            one.active = luck.randrange(4)
            measured(one, luck.expovariate(100), float(batch))
        pick, now = chosen.pick, float(batch)
        began = time.thread_time_ns()
        for key in keys:
            pick(now, key, tried)
        took.append((time.thread_time_ns() - began) / BATCH)
    return sorted(took)


def replaced_ms(chosen: Algorithm, there: Sequence[Member]) -> float:
    """Measure what one change costs, in processor time."""
    began = time.thread_time_ns()
    chosen.replace(there)
    return (time.thread_time_ns() - began) / 1e6


def change_ms(name: str, count: int, rounds: int = 5) -> tuple[float, float, float]:
    """Measure what it costs to build, to let one leave, and to let it come back: medians."""
    costs = []
    for at in range(rounds):
        there = many(count)
        chosen = make(name, start=0, luck=random.Random(1), bounded_load=0)
        without = there[:at] + there[at + 1 :]
        costs.append([replaced_ms(chosen, now) for now in (there, without, there)])
    built, left, back = (median(column) for column in zip(*costs, strict=True))
    return built, left, back


def moved(name: str, count: int = 100, keys: int = 50_000, leavers: int = 10) -> tuple[float, float]:
    """Measure the share of keys of others that move when one leaves: the mean and the worst of some."""
    there, luck = many(count), random.Random(4)
    asked = [luck.getrandbits(64) for _ in range(keys)]
    whole = fresh(name, there)
    before = [whole.pick(0.0, key, ()) for key in asked]
    shares = []
    for at in range(0, count, count // leavers):
        without = fresh(name, there[:at] + there[at + 1 :])
        after = (without.pick(0.0, key, ()) for key in asked)
        shares.append(
            sum(was is not now and was is not there[at] for was, now in zip(before, after, strict=True))
            / keys
        )
    return sum(shares) / len(shares), max(shares)


def verdict(value: float, goal: float) -> str:
    """Say whether the goal is met."""
    return "met" if value <= goal else "MISSED"


def main(arguments: Sequence[str]) -> int:
    """Measure, and print tables. 0 when every goal was met."""
    parser = argparse.ArgumentParser(prog="bench.balance", description=__doc__)
    parser.add_argument("--batches", type=int, default=100, help=f"of {BATCH} picks each (100)")
    options = parser.parse_args(arguments)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    verdicts = []

    print("Shares of 10 members that weigh 1, 2, 3, ...: off by, mean / worst, after so many picks")
    for name in NAMES:
        off = [error(name, weighing(10), picks) for picks in (1_000, 10_000, 100_000)]
        print(f"  {name:18}" + "".join(f"{mean:9.3%} /{worst:8.3%}" for mean, worst in off))

    print(f"\nA pick in ns: median / 99th percentile of {options.batches} batches, by members; second tries")
    for name in NAMES:
        cells = []
        for count in SIZES:
            there = many(count)
            took = pick_ns(fresh(name, there), there, options.batches, frozenset())
            cells.append(f"{median(took):7.0f} /{took[int(len(took) * 0.99)]:6.0f}")
        last = median(took) / 1e3
        tried = pick_ns(fresh(name, there), there, options.batches, frozenset({there[7].id, there[8].id}))
        goal = GOAL_US.get(name, OTHERS_US)
        verdicts.append(verdict(last, goal))
        print(f"  {name:18}{''.join(cells)}{median(tried):7.0f}  < {goal:.0f} us: {verdicts[-1]}")
    for name in sorted(HASHING):
        there = many(SIZES[-1])
        took = pick_ns(fresh(name, there, 1.25), there, options.batches, frozenset())
        print(f"  {name} with bounded loads at {len(there)}: {median(took):.0f} / {took[-1]:.0f}")

    print("\nA change in ms: to build / one leaves / it comes back, at 10, 100 and 1,000 members")
    for name in NAMES:
        costs = [change_ms(name, count) for count in (10, 100, 1000)]
        print(
            f"  {name:18}" + "".join(f"{built:9.2f} /{left:7.2f} /{back:7.2f}" for built, left, back in costs)
        )

    print("\nKeys of others that move when 1 of 100 leaves, mean / worst of 10 leavers")
    for name in sorted(HASHING):
        mean, worst = moved(name)
        verdicts.append(verdict(worst, MOVED_GOAL))
        print(f"  {name:18}{mean:8.3%} /{worst:7.3%}  <= {MOVED_GOAL:.1%}: {verdicts[-1]}")
    return int("MISSED" in verdicts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
