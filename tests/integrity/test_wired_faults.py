"""World. A worker or an agent is killed amid many bytes: what comes is right, and a cut shows as a reset."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.wired import DIRECT, HOSTS, PORTS, Wired, mutual, plain
from tests.support.world import VIP

pytestmark = pytest.mark.world

BLOCKS, BEGUN = 400, 20
"""Of 1 MiB: of all, and those that the caller takes before something happens and it is told to go on."""
BLOCK = "lambda number: number.to_bytes(8, 'big') * 131072"
SERVER = f"""
import socket, sys
block = {BLOCK}
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as door:
    print("ready", flush=True)
    line, _ = door.accept()
    try:
        for number in range({BLOCKS}):
            line.sendall(block(number))
        line.shutdown(socket.SHUT_WR)
        print("end" if line.recv(1) == b"" else "bytes")
    except ConnectionError:
        print("reset")
"""
CLIENT = f"""
import socket, sys
block = {BLOCK}
line = socket.create_connection((sys.argv[1], int(sys.argv[2])))
taken, how = 0, "end"
try:
    while taken < {BLOCKS} + 1:
        if taken == {BEGUN}:
            print("begun", flush=True)
            sys.stdin.readline()
        said = line.recv(1 << 20, socket.MSG_WAITALL)
        wanted = block(taken)
        assert wanted.startswith(said), f"block {{taken}} is another one"
        if len(said) < len(wanted):
            line.setblocking(True)
            assert line.recv(1) == b""
            break
        taken += 1
    line.close()
except ConnectionError:
    how = "reset"
print(how, taken)
"""
WAYS = pytest.mark.parametrize(
    "way",
    [
        "mtls-ebpf",
        "plain-nft",
        pytest.param("direct", marks=pytest.mark.rung("r1d")),
        *(pytest.param(way, marks=pytest.mark.soak) for way in ("mtls-nft", "plain-ebpf")),
    ],
)


@contextmanager
def ends_of(way: str) -> Iterator[Wired]:
    """Have a mesh in which much goes this way."""
    kind, _, rung = way.partition("-")
    made = mutual(rung) if kind == "mtls" else plain(rung) if kind == "plain" else plain("ebpf", **DIRECT)
    with made as ends:
        yield ends


@contextmanager
def running(prefix: list[str], script: str, host: str) -> Iterator["subprocess.Popen[str]"]:
    """Run one of the scripts at an end of the wire."""
    words = [*prefix, sys.executable, "-I", "-c", script, host, str(PORTS[0])]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_worker(ends: Wired) -> None:
    """Kill the only worker, and wait for the next one."""
    mesh = ends.mesh
    workers = mesh.workers()
    mesh.signal(signal.SIGKILL, *workers)
    mesh.wait(lambda: mesh.workers() not in ([], workers) and mesh.status()["ready"])


def succeed(ends: Wired) -> None:
    """Kill the agent, and let another one take over."""
    ends.mesh.kill_agent()
    ends.mesh.start()


@WAYS
@pytest.mark.parametrize("fault", [kill_worker, succeed], ids=["worker", "agent"])
def test_much_is_under_way_when_one_is_killed(way: str, fault: Callable[[Wired], None]) -> None:
    with (
        ends_of(way) as ends,
        running([*ends.server], SERVER, HOSTS[VIP]) as server,
    ):
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        with running([*ends.client], CLIENT, VIP) as client:
            assert client.stdout is not None
            assert client.stdin is not None
            assert client.stdout.readline() == "begun\n"
            assert (ends.mesh.hooks().get("direct", 0) == 1) == (way == "direct")
            fault(ends)
            client.stdin.write("\n")
            client.stdin.flush()
            how, taken = client.stdout.readline().split()
            if fault is kill_worker and way != "direct":
                assert (how, int(taken) < BLOCKS) == ("reset", True)
                assert server.stdout.readline() == "reset\n"
            else:
                assert (how, int(taken)) == ("end", BLOCKS)
                assert server.stdout.readline() == "end\n"
