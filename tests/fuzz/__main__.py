"""Shell. `python -m tests.fuzz`: throw changed inputs at each parser until its time is over.

Every crash is kept in build/fuzz/ and shown with its seed; `--again FILE` runs one input alone.
"""

import argparse
import hashlib
import random
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz.mutation import mutated
from tests.fuzz.runners import RUNNERS, Runner

KEPT = Path("build/fuzz")
START_S = 0.05
"""What any input may take, however short."""
CRASHES = 5
"""So many different ones of a runner are enough to begin with."""


def main() -> int:
    """Run what was asked for. 0 if every invariant held."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("names", nargs="*", help="|".join(runner.name for runner in RUNNERS))
    options.add_argument("--seconds", type=float, default=30, help="for each parser (30)")
    options.add_argument("--seed", type=int, default=None, help="repeat a run (default: a new one)")
    options.add_argument("--again", type=Path, help="run this one input, with the one runner named")
    given = options.parse_args()
    known = {runner.name: runner for runner in RUNNERS}
    unknown = [name for name in given.names if name not in known]
    if unknown:
        options.error(f"no such runner: {', '.join(unknown)} (there are {', '.join(known)})")
    chosen = [known[name] for name in given.names] or list(RUNNERS)
    if given.again:
        if len(given.names) != 1:
            options.error("--again wants the one runner it is for")
        chosen[0].check(given.again.read_bytes())
        return 0
    seed = random.SystemRandom().getrandbits(32) if given.seed is None else given.seed
    crashes = [run(runner, seed, given.seconds) for runner in chosen]
    return 1 if any(crashes) else 0


def run(runner: Runner, seed: int, seconds: float) -> int:
    """Try inputs for so long, and say how many broke the invariant, each in its own way."""
    print(f"{runner.name}: {runner.invariant}")
    luck = random.Random(f"{runner.name} {seed}")
    crashes: set[str] = set()
    tried = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until and len(crashes) < CRASHES:
        # The seeds themselves first: a parser that fails on those needs no fuzzing.
        data = runner.seeds[tried] if tried < len(runner.seeds) else mutated(runner.seeds, runner.words, luck)
        tried += 1
        wrong = broken(runner, data)
        if wrong and wrong.splitlines()[-1] not in crashes:
            crashes.add(wrong.splitlines()[-1])
            KEPT.mkdir(parents=True, exist_ok=True)
            path = KEPT / f"{runner.name}-{hashlib.sha256(data).hexdigest()[:12]}"
            path.write_bytes(data)
            print(f"{wrong}\n  input {data[:200]!r}")
            print(f"  kept; again: python -m tests.fuzz {runner.name} --again {path}")
    print(f"{runner.name}: {tried} inputs, {len(crashes)} crashes (--seed {seed})", flush=True)
    return len(crashes)


def broken(runner: Runner, data: bytes) -> str:
    """Try one input. Say what it broke, with the trace, or nothing."""
    allowed_s = START_S + runner.per_byte_s * len(data)
    for _ in range(3):  # what is slow once may have been unlucky with its machine
        began = time.process_time()
        try:
            runner.check(data)
        except Exception:  # noqa: BLE001 - whatever comes out is what we look for
            return traceback.format_exc()
        took = time.process_time() - began
        if took <= allowed_s:
            return ""
    return f"slow: {len(data)} bytes may take {allowed_s:.2f} s\ntoo slow"


if __name__ == "__main__":
    sys.exit(main())
