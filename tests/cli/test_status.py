"""`meshtrio status`."""

import json
import signal

import pytest

from meshtrio.cli.control_client import Control
from tests.cli.conftest import Run


def test_without_an_agent_it_ends_with_three(run: Run) -> None:
    done = run("status")
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.startswith(b"meshtrio: no agent answers: ") and done.stderr.count(b"\n") == 1
    assert run("connections", "--json").returncode == 3
    assert run("workloads").returncode == 3


@pytest.mark.world
def test_an_agent_that_is_ready(run: Run, agent: Control) -> None:
    done = run("status")
    text = done.stdout.decode()
    assert done.returncode == 0
    assert text.startswith("meshtrio 0.1.0 on test, pid ") and ": ready\n" in text
    for part in ("rung     ebpf", "catalog  /", "1 services, 1 endpoints", "no workloads"):
        assert part in text, part
    told = json.loads(run("status", "--json").stdout)
    assert {"version", "node", "pid", "ready", "rung", "workers", "workloads", "outcomes", "hooks"} <= set(
        told
    )
    assert told["workers"][0]["ready"] is True


@pytest.mark.slow
@pytest.mark.world
def test_an_agent_that_stands_still_is_told_apart_from_none(
    run: Run, agent: Control, settings: dict[str, str]
) -> None:
    import os

    pid = agent.get("/v1/status")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        done = run("status")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.returncode == 3
    assert b"is it stopped?" in done.stderr
