"""Shell. `python -m tests.bench.drain`: how an agent with very many connections ends, and what it needs.

A real agent with one worker; callers hold idle connections to a server across a wire, in the clear or through
mutual TLS, of which the worker has both ends. Then the agent is asked to end: once callers hang up at that
moment, and once they stay until `timeouts.drain_s` is over and the worker cuts them off.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from meshtrio.observe.process import usage
from tests.bench import toolchain
from tests.bench.process import descriptor_limit
from tests.support.wired import HOSTS, PORTS, Wired, mutual, plain
from tests.support.world import VIP

LONG_S = 300.0
"""For callers that hang up by themselves."""
SETTLE_S = 5.0
"""What opening them leaves to be done."""
SPARE = 200
"""Descriptors of a worker that are no connections."""


@contextlib.contextmanager
def callers(ends: Wired, tools: Path, connections: int) -> Iterator["subprocess.Popen[str]"]:
    """Let a server serve, and callers hold so many connections to it until their standard input ends."""
    serve = [*ends.server, str(tools / "server"), HOSTS[VIP], str(PORTS[0])]
    call = [*ends.client, str(tools / "client"), "idle", VIP, str(PORTS[0]), str(connections)]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline(), "the server did not start"
            with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
                assert client.stdout is not None
                said = json.loads(client.stdout.readline())
                assert said == {"operations": connections, "errors": 0}, said
                yield client
        finally:
            server.kill()


def ended(ends: Wired, tools: Path, connections: int, *, hang_up: bool, rest_s: float) -> None:
    """Print what agent and worker need with so many, and how long the end takes."""
    mesh = ends.mesh
    (worker,) = mesh.workers()
    empty, began = usage(worker).rss_bytes, time.monotonic()
    with callers(ends, tools, connections) as client:
        print(f"  {connections} came in {time.monotonic() - began:.1f} s", flush=True)
        assert mesh.agent is not None
        pids = {"agent": mesh.agent.pid, "worker": worker}
        time.sleep(SETTLE_S)
        before = {name: usage(pid) for name, pid in pids.items()}
        time.sleep(rest_s)
        for name, pid in pids.items():
            now = usage(pid)
            share = 100 * (now.cpu_s - before[name].cpu_s) / rest_s
            print(f"  {name}: {now.rss_bytes / 2**20:.0f} MB, {share:.2f} % of a core at rest")
        each = (usage(worker).rss_bytes - empty) / 1024 / connections
        print(f"  worker: {each:.1f} KiB a connection")
        began = time.monotonic()
        mesh.agent.terminate()
        if hang_up:
            mesh.wait(lambda: mesh.ask("GET", "/readyz").status == 503)
            assert client.stdin is not None
            client.stdin.close()
        code = mesh.agent.wait(LONG_S)
        took_s = time.monotonic() - began
    assert code == 0, mesh.log()[-2000:]
    how = "callers hung up" if hang_up else f"drain_s was {mesh.settings['timeouts']['drain_s']:g}"
    print(f"  ended after {took_s:.2f} s ({how})", flush=True)


def main(arguments: list[str]) -> int:
    """Measure."""
    parser = argparse.ArgumentParser(prog="drain", description=__doc__)
    most = descriptor_limit() - SPARE
    parser.add_argument("--connections", type=int, default=min(9900, most // 2), help="in the clear; 0: none")
    parser.add_argument(
        "--mutual", type=int, default=min(4900, most // 4), help="through mutual TLS; 0: none"
    )
    parser.add_argument("--rung", choices=("ebpf", "nft"), default="ebpf")
    parser.add_argument("--drain-s", type=float, default=2.0)
    parser.add_argument("--rest-s", type=float, default=30.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        tools = Path(name)
        toolchain.build(tools)
        for title, way, connections in (
            ("in the clear", plain, options.connections),
            ("mutual TLS, both ends in one worker", mutual, options.mutual),
        ):
            for hang_up in (True, False) if connections else ():
                drain_s = LONG_S if hang_up else options.drain_s
                print(f"{title}, {options.rung}:", flush=True)
                with way(options.rung, timeouts={"drain_s": drain_s}) as ends:
                    ended(ends, tools, connections, hang_up=hang_up, rest_s=options.rest_s)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
