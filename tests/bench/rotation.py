"""Shell. `python -m tests.bench.rotation`: what it costs to renew the certificates of many workloads.

The agent's own parts, in one process: `Identities` with the embedded CA and a root on disk, and a key ring
that takes what they hand on, as a worker does. All are rotated at once, which is the worst that can happen;
in a life they come one by one, and that share of a core is what is printed.
"""

import argparse
import os
import sys
import tempfile
import time

import trio

from meshtrio.config.identity import Identity, Mtls
from meshtrio.fleet import Subject
from meshtrio.identities import Identities
from meshtrio.issuers.embedded import Embedded
from meshtrio.messages import Credentials, Trusted
from meshtrio.secure.keyring import Keyring

RENEWED_AT = 2 / 3
"""Of a life."""


class Tally:
    """What was handed on, and the processor time that the key ring took for it."""

    def __init__(self) -> None:
        self.handed_on = 0
        self.ring_s = 0.0
        self._ring = Keyring()
        self._ring.settle(Mtls(), 300.0)

    def tell(self, _: Subject, news: Credentials | Trusted) -> None:
        """Take it as a worker does."""
        began = time.process_time()
        self._ring.learn(news)
        self.ring_s += time.process_time() - began
        self.handed_on += isinstance(news, Credentials) and bool(news.chain)


async def measure(workloads: int, folder: str) -> None:
    """Let so many enter, rotate them all at once, and print what that took."""
    tally = Tally()
    settings = Identity(directory=folder)
    identities = Identities(settings, tally.tell)
    async with trio.open_nursery() as tasks:
        await tasks.start(identities.run, Embedded)
        for number in range(workloads):
            await identities.enter(number, f"w{number}", namespace="bench", service_account=f"w{number}")
        before, ring_s = tally.handed_on, tally.ring_s
        began, cpu = time.monotonic(), time.process_time()
        bearers = await identities.rotate()
        while tally.handed_on < before + workloads:
            await trio.sleep(0.05)
        wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
        assert len(bearers) == workloads
        tasks.cancel_scope.cancel()
    ring_s = tally.ring_s - ring_s
    print(f"{workloads} workloads rotated at once: {wall_s:.2f} s, {cpu_s:.2f} s of processor time")
    agent_ms, worker_ms = (1e3 * spent / workloads for spent in (cpu_s - ring_s, ring_s))
    print(f"  each: {agent_ms:.2f} ms in the agent, {worker_ms:.2f} ms in a worker")
    for life_s in (settings.life_s, 3600.0, 300.0):
        share = 100 * cpu_s / (life_s * RENEWED_AT)
        print(f"  with lives of {life_s:,.0f} s: {share:.4f} % of a core")


def main(arguments: list[str]) -> int:
    """Measure, on one core."""
    parser = argparse.ArgumentParser(prog="rotation", description=__doc__)
    parser.add_argument("--workloads", type=int, default=1000)
    options = parser.parse_args(arguments)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        trio.run(measure, options.workloads, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
