"""`meshtrio agent`, as a process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from meshtrio.cli.agent import flags_of
from meshtrio.cli.control_client import Control
from tests.cli.conftest import FIRST_PORT, Run

PORTS = ("ADMIN", "INBOUND", "OUTBOUND", "DNS")
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")


def test_short_flags_are_settings_and_files_become_absolute() -> None:
    assert flags_of(
        {"rung": "nft", "rung_max": "r1", "workers": None, "catalog": "a.yaml", "control": "/b"}
    ) == {
        "rung": "nft",
        "rung_max": "r1",
        "catalog.file": f"{Path.cwd()}/a.yaml",
        "paths.control": "/b",
    }


def test_faults_are_told_before_anything_is_touched(run: Run, settings: dict[str, str]) -> None:
    done = run("agent", "--set", "timeouts.drain_s=-1", "--rung", "x", "--set", "nonsense=1")
    assert done.returncode == 2
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 4 and all(line.startswith("meshtrio: ") for line in lines)
    assert not Path(settings["MESHTRIO_PATHS__CONTROL"]).parent.exists()


def test_a_pipe_is_no_configuration_for_it(settings: dict[str, str]) -> None:
    """As `--config <(...)` is: it would be empty when the agent reads it again."""
    command = [sys.executable, "-m", "meshtrio", "agent", "--config", "/dev/stdin"]
    done = subprocess.run(command, env=settings, input=b"workers: 1", capture_output=True, check=False)
    assert done.returncode == 2
    assert b"/dev/stdin is no regular file" in done.stderr


@pytest.mark.world
def test_it_needs_root_and_says_so(run: Run, settings: dict[str, str]) -> None:
    del settings["MESHTRIO_CONFIG"]  # nobody cannot read root's temporary folder
    done = run("agent", before=NOBODY)
    assert done.returncode == 1
    assert done.stderr.decode().endswith("run: sudo meshtrio agent\n") and done.stderr.count(b"\n") == 1


@pytest.mark.world
def test_it_ends_with_zero_after_sigterm_and_leaves_nothing(
    agent: Control, settings: dict[str, str], run: Run
) -> None:
    status = agent.get("/v1/status")
    assert Path(f"/proc/{status['pid']}/comm").read_text() == "meshtrio-agent\n"
    limits = Path(f"/proc/{status['pid']}/limits").read_text()
    soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
    assert soft == hard
    os.kill(status["pid"], signal.SIGTERM)
    until = time.monotonic() + 15
    while Path(settings["MESHTRIO_PATHS__CONTROL"]).exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    assert not Path(settings["MESHTRIO_PATHS__CONTROL"]).exists()
    assert not Path(settings["MESHTRIO_PATHS__PINS"]).exists()
    assert not Path(f"/proc/{status['workers'][0]['pid']}").exists()


@pytest.mark.world
def test_a_second_agent_says_what_is_taken(run: Run, agent: Control, settings: dict[str, str]) -> None:
    done = run("agent")
    assert done.returncode == 1
    assert b"another agent runs with " in done.stderr and done.stderr.count(b"\n") == 1
    settings["MESHTRIO_PATHS__CONTROL"] = settings["MESHTRIO_PATHS__CONTROL"].replace("/run/", "/other/")
    done = run("agent")
    assert done.returncode == 1
    assert b"meshtrio: cannot listen on the admin port" in done.stderr


@pytest.mark.world
@pytest.mark.parametrize("rung", ["ebpf", "nft"])
def test_a_second_agent_beside_it_does_not_take_its_hooks(
    run: Run, agent: Control, settings: dict[str, str], tmp_path: Path, rung: str
) -> None:
    """With a control socket and ports of its own it would meet the first one only where both pin."""
    before = agent.get("/v1/status")["rung"]
    elsewhere = {"MESHTRIO_PATHS__CONTROL": str(tmp_path / "other.sock")}
    elsewhere |= {f"MESHTRIO_PORTS__{name}": str(FIRST_PORT + 4 + n) for n, name in enumerate(PORTS)}
    settings |= elsewhere
    done = run("agent", "--rung", rung)
    pins = settings["MESHTRIO_PATHS__PINS"]
    assert (done.returncode, done.stderr.decode()) == (
        1,
        f"meshtrio: another agent uses {pins}; stop it, or set paths.pins\n",
    )
    cleaned = run("cleanup", "--yes")
    assert cleaned.returncode == 1
    assert f"an agent runs (it uses {pins})" in cleaned.stderr.decode()
    assert agent.get("/v1/status")["rung"] == before
    assert Path(pins, "maps", "layout").exists()


@pytest.mark.world
def test_a_rung_that_cannot_be_had_is_one_sentence(
    start: Callable[..., subprocess.Popen[bytes]], settings: dict[str, str]
) -> None:
    # Without SYS_ADMIN and BPF in the bounding set not even root may load a program.
    limited = (
        "setpriv",
        "--bounding-set",
        "-sys_admin,-bpf,-perfmon",
        "--inh-caps",
        "-sys_admin,-bpf,-perfmon",
    )
    settings |= {"MESHTRIO_PORTS__ADMIN": str(FIRST_PORT + 7)}
    process = start("agent", "--rung", "ebpf", "--log-level", "error", "--workers", "0", before=limited)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.decode().splitlines()[-1].startswith("meshtrio: ")
    assert b"Traceback" not in err
