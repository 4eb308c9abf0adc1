"""`meshtrio check`."""

import json
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from meshtrio.cli.check import chosen_rung
from meshtrio.cli.control_client import Control
from meshtrio.cli.selftest import Proof
from meshtrio.intercept import cgroup
from tests.cli.conftest import Run

GOOD = [Proof("outbound IPv4 is caught", worked=True, says="")]
BAD = [*GOOD, Proof("inbound is caught", worked=False, says="EPERM")]
WHY = "ebpf does not work (inbound is caught: EPERM)"


@pytest.mark.parametrize(
    ("configured", "proofs", "rung", "why"),
    [
        ("auto", (GOOD, GOOD), "ebpf", "all of it works"),
        ("auto", (BAD, GOOD), "nft", WHY),
        ("nft", (GOOD, GOOD), "nft", "all of it works"),
        ("ebpf", (BAD, GOOD), "", WHY),
        ("auto", (BAD, []), "", f"{WHY}; nft does not work (it was not tried)"),
    ],
)
def test_which_rung_and_why(
    configured: str, proofs: tuple[list[Proof], list[Proof]], rung: str, why: str
) -> None:
    assert chosen_rung(configured, dict(zip(("ebpf", "nft"), proofs, strict=True))) == (rung, why)


@pytest.mark.slow
@pytest.mark.world
def test_on_this_machine(run: Run) -> None:
    done = run("check")
    assert done.returncode == 0, done
    lines = done.stdout.decode().splitlines()
    assert lines[-1] == "rung: ebpf (configured: auto), for all of it works"
    assert not [line for line in lines if " MISSING " in line]
    for name in (
        "capabilities",
        "cgroup v2",
        "bcc",
        "hook connect4",
        "nf_tables: sets",
        "sk_msg: order",
        "R5 app to app",
        "ebpf: inbound",
        "nft: inbound",
        "r5: a granted call goes past both doors",
    ):
        assert any(line.startswith(name) for line in lines), name


@pytest.mark.world
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(start: Callable[..., subprocess.Popen[bytes]], number: int) -> None:
    wakes = {2: lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # pytest may be in the background
    process = start("check", preexec_fn=wakes.get(number))
    ours = cgroup.mount_point() / cgroup.OURS
    until = time.monotonic() + 60
    while not list(ours.glob(f"check-{process.pid}-*")) and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err == b"meshtrio: interrupted; everything has been taken down\n"
    assert not list(ours.glob(f"check-{process.pid}-*"))


@pytest.mark.world
def test_with_an_agent_and_as_json(run: Run, agent: Control) -> None:
    done = run("check", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["rung"]) == (0, "ebpf")
    features = {one["name"]: one for one in told["features"]}
    assert features["agent"]["says"] == f"answers at {agent.path}"
    assert all("is the agent's" in features[f"port {name}"]["says"] for name in ("admin",))
    assert set(features["kernel"]) == {"name", "state", "says", "todo"}
    assert agent.get("/v1/status")["workloads"] == []


@pytest.mark.world
def test_without_root_nothing_works_and_it_says_what_to_do(run: Run, settings: dict[str, str]) -> None:
    del settings["MESHTRIO_CONFIG"]
    done = run("check", before=("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"))
    text = done.stdout.decode()
    assert done.returncode == 1
    assert "rung: none" in text and "run as root" in text
    assert b"Traceback" not in done.stderr
