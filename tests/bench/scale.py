"""Shell. `python -m tests.bench.scale`: what an agent with very many workloads costs while nothing happens.

A real agent with one worker, in a namespace of its own; workloads are cgroups in which nobody is, caught by
eBPF. Prints how long they take to come, what agent and worker need at rest, how long a successor of a killed
agent takes to have them, and how long they take to go.
"""

import argparse
import sys
import time

from meshtrio.observe.process import Usage, usage
from tests.support.mesh import Mesh
from tests.support.world import island, unique


def at_rest(pids: dict[str, int], for_s: float) -> None:
    """Print what these processes need while nobody asks for anything."""
    before: dict[str, Usage] = {name: usage(pid) for name, pid in pids.items()}
    time.sleep(for_s)
    for name, pid in pids.items():
        now = usage(pid)
        share = 100 * (now.cpu_s - before[name].cpu_s) / for_s
        needs = f"{now.rss_bytes / 2**20:.1f} MB, {share:.2f} % of a core, {now.descriptors} descriptors"
        print(f"  {name} {pid}: {needs}", flush=True)


def measure(workloads: int, for_s: float) -> None:
    """Let so many come, rest, and go."""
    with island() as space, Mesh(space, rung="ebpf") as mesh:
        assert mesh.agent is not None
        (worker,) = mesh.workers()
        pids = {"agent": mesh.agent.pid, "worker": worker}
        print("no workload:", flush=True)
        at_rest(pids, for_s)
        began = time.monotonic()
        for _ in range(workloads):
            answer = mesh.add(unique("scale"))
            assert answer.status == 201, answer
        print(f"{workloads} workloads came in {time.monotonic() - began:.1f} s:", flush=True)
        at_rest(pids, for_s)
        mesh.kill_agent()
        began = time.monotonic()
        mesh.start()
        had = len(mesh.status()["workloads"])
        print(f"a successor was ready with {had} of them after {time.monotonic() - began:.1f} s", flush=True)
        began = time.monotonic()
        assert mesh.stop() == 0, mesh.log()[-2000:]
        print(f"and went in {time.monotonic() - began:.1f} s")


def main(arguments: list[str]) -> int:
    """Measure."""
    parser = argparse.ArgumentParser(prog="scale", description=__doc__)
    parser.add_argument("--workloads", type=int, default=1000)
    parser.add_argument("--rest-s", type=float, default=20.0)
    options = parser.parse_args(arguments)
    measure(options.workloads, options.rest_s)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
