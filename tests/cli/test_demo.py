"""`meshtrio demo`, as its users run it."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run

pytestmark = pytest.mark.world


def leavings() -> list[str]:
    return [str(path) for pattern in ("meshtrio-demo-*",) for path in Path("/sys/fs/bpf").glob(pattern)]


@pytest.mark.parametrize("rung", ["ebpf", "nft"])
@pytest.mark.slow
def test_once_as_json(run: Run, rung: str) -> None:
    done = run("demo", "--once", "--json", "--rung", rung)
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["rung"]) == (0, True, rung), done.stderr.decode()
    assert {step["ok"] for step in told["steps"]} == {True}
    assert len(told["connections"]) == 13
    assert {one["destination"] for one in told["connections"]} == {"10.96.0.10:80", "[fd00:96::10]:80"}
    assert {one["rung"] for one in told["connections"]} == {rung}
    assert [one["name"] for one in told["processes"]] == ["agent", "worker 0"]
    assert all(one["rss_bytes"] > 1_000_000 for one in told["processes"])
    assert leavings() == []


@pytest.mark.slow
def test_kept_until_it_is_interrupted(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = start("demo", "--keep")
    assert process.stderr is not None and process.stdout is not None
    words = b""
    while b"it goes on until ^C; try: meshtrio exec --config " not in words:
        line = process.stderr.readline()
        assert line, words
        words += line
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    text = out.decode()
    for head in ("CAUGHT", "ENDPOINT CHOSEN", "OUTCOME", "RSS", "worker 0"):
        assert head in text
    assert text.splitlines()[-1] == "all of it happened"
    assert leavings() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_on_its_way_it_leaves_nothing(
    start: Callable[..., subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    process = start("demo")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith(b"meshtrio: interrupted; the demo has been taken down\n")
    assert leavings() == []


def test_it_needs_root(run: Run, settings: dict[str, str]) -> None:
    del settings["MESHTRIO_CONFIG"]
    done = run("demo", before=("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"))
    assert done.returncode == 1
    assert done.stderr.endswith(b"run: sudo meshtrio demo\n")
    assert os.geteuid() == 0
