"""`meshtrio bench`, as its users run it."""

import json
import os
import signal
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshtrio.benchmark import files
from meshtrio.intercept import cgroup
from tests.cli.conftest import Run

pytestmark = pytest.mark.world

HAPROXY = "/usr/sbin/haproxy"


def left() -> set[str]:
    groups = cgroup.mount_point() / cgroup.OURS
    return {
        str(one) for one in (*groups.glob("benchmark-*"), *Path("/sys/fs/bpf").glob("meshtrio-benchmark-*"))
    }


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = left()
    yield
    assert left() - before == set()


@pytest.mark.slow
def test_a_table_for_people_and_a_plot(run: Run, tmp_path: Path) -> None:
    plot = tmp_path / "bench.svg"
    words = ["--seconds", "0.1", "--rounds", "1", "--scenario", "roundtrip", "--scenario", "memory"]
    done = run("bench", *words, "--peer", "nft", "--plot", str(plot), wait_s=150)
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    for words_shown in (
        "roundtrip: 1 KiB",
        "TIMES UNMESHED",
        "\nunmeshed ",
        "\nnft ",
        "WORKER 1K",
        "only 1 round",
    ):
        assert words_shown in text
    assert "ebpf" not in text
    assert "[4/4] roundtrip, nft, round 1: " in done.stderr.decode()
    drawn = [one.text for one in ET.parse(plot).iter("{http://www.w3.org/2000/svg}text")]
    assert drawn[0] == "meshtrio bench" and "nft" in drawn


@pytest.mark.slow
def test_json_for_programs(run: Run) -> None:
    words = ("--seconds", "0.2", "--rounds", "2", "--scenario", "rate", "--peer", "ebpf", "--json")
    done = run("bench", *words, wait_s=150)
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["quiet"]) == (0, True, False), done.stderr.decode()
    (rate,) = told["scenarios"]
    assert [one["peer"] for one in rate["peers"]] == ["unmeshed", "ebpf"]
    assert rate["peers"][1]["numbers"]["p99_us"]["rounds"] == 2
    assert rate["peers"][1]["times_unmeshed"]["p50_us"] > 0


@pytest.mark.slow
def test_another_proxy_is_measured_as_well_and_one_that_is_none_is_a_failure(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "haproxy.cfg").write_text(files.haproxy())
    others = ("--peer-command", f"mine=haproxy -db -f {tmp_path}/haproxy.cfg", "--peer-command", "none=false")
    words = ("--seconds", "0.1", "--rounds", "1", "--scenario", "roundtrip-64k", "--scenario", "bulk-both")
    done = run("bench", *words, "--peer", "unmeshed", *others, "--json", wait_s=150)
    told = json.loads(done.stdout)
    assert [one["name"] for one in told["scenarios"]] == ["roundtrip-64k", "bulk-both"]
    for scenario in told["scenarios"]:
        assert [one["peer"] for one in scenario["peers"]] == ["unmeshed", "mine"]
    assert told["scenarios"][1]["peers"][1]["numbers"]["proxy_us"]["median"] > 0
    assert done.returncode == 1
    last = done.stderr.rpartition(b"\nmeshtrio: ")[2]
    assert last == b"not measured: none: ended with 1: it said nothing\n"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("socat", "socat has no command (want NAME=COMMAND)"),
        ("=socat", "'=socat' (want NAME=COMMAND; a name has a-z, 0-9, -; 20 at most)"),
        ("nft=socat", "there is a peer nft already"),
        ("mine=", "mine has no command (want NAME=COMMAND)"),
        ("mine=sh -c 'x", "mine: No closing quotation"),
    ],
)
def test_a_command_that_cannot_be_one_is_wrong_usage(run: Run, given: str, why: str) -> None:
    done = run("bench", "--peer-command", given)
    assert (done.returncode, done.stdout) == (2, b"")
    wanted = f"meshtrio: Invalid value for '--peer-command': {why}; see: meshtrio bench --help\n"
    assert done.stderr.decode() == wanted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_takes_everything_down(
    start: Callable[..., subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    process = start("bench", "--peer", "ebpf")
    assert process.stderr is not None
    words = b""
    while b"starting ebpf" not in words:
        words += process.stderr.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err.decode()
    assert err.endswith(b"meshtrio: interrupted; everything has been taken down\n")


@pytest.mark.skipif(not Path(HAPROXY).exists(), reason="no HAProxy to be hidden")
def test_a_peer_that_was_asked_for_and_cannot_be_had_is_a_failure(run: Run) -> None:
    words = ("--seconds", "0.1", "--rounds", "1", "--scenario", "roundtrip", "--peer", "haproxy")
    hidden = ("unshare", "-m", "sh", "-c", f'mount --bind /dev/null {HAPROXY}; exec "$@"', "sh")
    done = run("bench", *words, before=hidden)
    assert done.returncode == 1
    assert done.stderr.startswith(b"meshtrio: starting unmeshed\n")
    assert done.stderr.rpartition(b"\nmeshtrio: ")[2] == b"not measured: haproxy: haproxy is not installed\n"


def test_without_namespaces_nothing_is_measured_and_that_is_a_failure(run: Run) -> None:
    limit = "echo 0 > /proc/sys/user/max_net_namespaces"
    barred = ("unshare", "--user", "--map-root-user", "sh", "-c", f'{limit}; exec "$@"', "sh")
    done = run("bench", "--quick", "--peer", "nft", before=barred)
    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("meshtrio: nothing could be measured: unmeshed: cannot make a network namespace: ")
    assert done.stdout == b""


def test_what_is_wrong_is_said_before_anything_is_tried(run: Run, settings: dict[str, str]) -> None:
    done = run("bench", "--plot", "/nowhere/bench.svg")
    assert (done.returncode, done.stderr) == (2, b"meshtrio: --plot: there is no folder /nowhere\n")
    assert run("bench", "--scenario", "magic").returncode == 2
    assert run("bench", "--seconds", "0").returncode == 2
    del settings["MESHTRIO_CONFIG"]
    done = run("bench", before=("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"))
    assert done.returncode == 1
    assert done.stderr.endswith(b"run: sudo meshtrio bench\n")
    assert os.geteuid() == 0
