"""Shell. Each peer stands in a namespace of its own, carries a call the way it says, and leaves nothing."""

import os
import shutil
import socket
import sys
import time
from pathlib import Path

import pytest

from meshtrio.benchmark import files, peers
from meshtrio.benchmark.cores import choose_cores
from meshtrio.benchmark.peers import BASE, PEERS, Standing, by_command, role_of, standing
from meshtrio.benchmark.process import ProcessFailed
from meshtrio.benchmark.procfs import command_line, processes, tree
from meshtrio.cli import bench
from meshtrio.intercept import cgroup

CORES = choose_cores(os.sched_getaffinity(0))
GROUPS = f"benchmark-{os.getpid()}-*"


def called(one: Standing) -> bytes:
    """Call it from its namespace, and from its cgroup: a child, for we are not to be caught."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            cgroup.enter(one.ground.cgroup)
            with one.ground.netns.socket(socket.AF_INET) as line:
                line.settimeout(5)
                line.connect(one.dial)
                line.sendall(b"c")
                os.write(write, line.recv(1))
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with open(read, "rb") as said:
        return said.read()


@pytest.mark.world
@pytest.mark.parametrize("name", PEERS)
def test_it_carries_a_call_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    if name == "haproxy" and not shutil.which("haproxy"):
        pytest.skip("no haproxy")
    groups = cgroup.mount_point() / cgroup.OURS
    with standing(name, tmp_path, CORES) as one:
        assert called(one) == b"c"
        assert len(list(groups.glob(GROUPS))) == 1
        pids = tree(processes(), one.proxies)
        roles = {role_of(name, command_line(pid)) for pid in pids}
        expected = {"unmeshed": set(), "haproxy": {"proxy"}}.get(name, {"agent", "worker"})
        assert roles == expected
        assert {frozenset(os.sched_getaffinity(pid)) for pid in pids} <= {frozenset({CORES.proxy})}
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert list(groups.glob(GROUPS)) == []
    assert list(Path("/sys/fs/bpf").glob(f"meshtrio-{tmp_path.name}-*")) == []


RELAY = """
import socket, sys, threading
def move(source, sink):
    while said := source.recv(65536):
        sink.sendall(said)
    sink.shutdown(socket.SHUT_WR)
host, _, server = sys.argv[2].partition(":")
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as door:
    while True:
        one, two = door.accept()[0], socket.create_connection((host, int(server)))
        for ends in ((one, two), (two, one)):
            threading.Thread(target=move, args=ends, daemon=True).start()
"""


@pytest.mark.world
def test_a_command_is_a_peer_in_the_folder_in_which_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relay.py").write_text(RELAY)
    peer = by_command(f"sh -c 'sleep 600 & exec {sys.executable} relay.py {{port}} {{server}}'")
    with standing("mine", tmp_path, CORES, peer) as one:
        assert one.dial == (files.VIRTUAL, files.PORT)
        assert called(one) == b"c"
        pids = tree(processes(), one.proxies)
        assert [os.sched_getaffinity(pid) for pid in pids] == [{CORES.proxy}] * 2
    # Also what it leaves behind has ended; it is somebody else's child then.
    until = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.world
@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("/nowhere/proxy", r"^cannot run /nowhere/proxy: No such file or directory$"),
        ("sh -c 'echo no licence; exit 3'", r"^ended with 3: no licence$"),
        ("sleep 60", r"^was not ready in time: it said nothing$"),
    ],
)
def test_a_command_that_is_no_proxy_is_told(
    command: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "START_S", 1.0)
    with (
        pytest.raises(ProcessFailed, match=why),
        standing("mine", tmp_path, CORES, by_command(command)),
    ):
        pass


@pytest.mark.world
def test_without_the_proxy_the_virtual_address_leads_nowhere(tmp_path: Path) -> None:
    with standing(BASE, tmp_path, CORES) as one:
        assert called(one._replace(dial=(files.VIRTUAL, files.PORT))) == b""


@pytest.mark.world
def test_what_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "BINARIES", str(tmp_path))
    with (
        pytest.raises(ProcessFailed, match=r"^haproxy is not installed$"),
        standing("haproxy", tmp_path, CORES),
    ):
        pass


def test_the_command_offers_them_all() -> None:
    assert tuple(PEERS) == bench.PEERS
    assert bench.PEERS[0] == BASE
