"""`meshtrio cleanup`, in a box of namespaces and cgroups of its own, so that nobody else is cleaned."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshtrio.cli.control_client import Control
from meshtrio.intercept import cgroup
from tests.cli.conftest import Run
from tests.support.tree import TREE

pytestmark = pytest.mark.world

_ENTER = """
echo $$ > {group}/cgroup.procs || exit 90
exec unshare --net --mount --cgroup --pid --fork --mount-proc sh -c '
umount {mount} && mount -t cgroup2 none {mount} && ip link set lo up || exit 91
exec {python} -c "$STORY"'
"""

_STORY = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
from meshtrio.cli.control_client import Control

def meshtrio(*words):
    return subprocess.run([sys.executable, "-m", "meshtrio", *words], capture_output=True, text=True)

command = [sys.executable, "-m", "meshtrio", "agent", "--workers", "1", "--rung", os.environ["RUNG"]]
agent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
control = Control(os.environ["MESHTRIO_PATHS__CONTROL"])
until = time.monotonic() + 20
while time.monotonic() < until:
    try:
        if control.get("/readyz")["ready"]:
            break
    except Exception:
        time.sleep(0.05)
added = control.add_workload("boxed", {})
told = {"added": added["rung"], "while_it_answers": meshtrio("cleanup").returncode}
worker = control.get("/v1/status")["workers"][0]["pid"]
agent.kill()
agent.wait()
told["pinned"] = Path(os.environ["MESHTRIO_PATHS__PINS"], "links").is_dir()
told["first"] = json.loads((done := meshtrio("cleanup", "--json")).stdout or "null")
told["first_code"] = done.returncode
told["worker"] = worker
told["second"] = json.loads((done := meshtrio("cleanup", "--workers", "--json")).stdout or "null")
told["second_code"] = done.returncode
told["third"] = (done := meshtrio("cleanup", "--yes")).stdout
told["third_code"] = done.returncode
told["errors"] = done.stderr
told["cgroup"] = Path(added["cgroup"]).exists()
told["pins"] = Path(os.environ["MESHTRIO_PATHS__PINS"]).exists()
told["tables"] = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
print(json.dumps(told))
"""


@pytest.fixture
def box() -> Iterator[Path]:
    path = cgroup.mount_point() / f"meshtrio-cli-box-{os.getpid()}"
    path.mkdir()
    yield path
    for inner in sorted(path.glob("**/"), reverse=True):
        inner.rmdir()


def told_in(box: Path, settings: dict[str, str], rung: str) -> dict[str, Any]:
    enter = _ENTER.format(group=box, mount=cgroup.mount_point(), python=sys.executable)
    done = subprocess.run(
        ["sh", "-c", enter],
        env=settings | {"STORY": _STORY, "RUNG": rung},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        cwd=TREE,
    )
    assert done.returncode == 0, done
    story: dict[str, Any] = json.loads(done.stdout)
    return story


@pytest.mark.slow
@pytest.mark.parametrize("rung", ["ebpf", "nft"])
def test_everything_of_a_killed_agent_goes(box: Path, settings: dict[str, str], rung: str) -> None:
    told = told_in(box, settings, rung)
    assert (told["added"], told["while_it_answers"], told["pinned"]) == (rung, 1, rung == "ebpf")
    kinds = {one["kind"] for one in told["first"]["removed"]}
    assert kinds == ({"pin", "cgroup", "file"} if rung == "ebpf" else {"nf_tables table", "cgroup", "file"})
    assert told["first"]["kept"] == []
    assert (told["first"]["orphans"], told["first_code"]) == ([told["worker"]], 1)
    assert told["second"]["removed"][0] == {"kind": "worker", "name": str(told["worker"])}
    assert (told["second"]["orphans"], told["second_code"]) == ([], 0)
    assert (told["third"], told["third_code"], told["errors"]) == ("nothing was left\n", 0, "")
    assert (told["cgroup"], told["pins"], told["tables"]) == (False, False, "")


def test_it_refuses_while_an_agent_answers(run: Run, agent: Control) -> None:
    done = run("cleanup")
    assert done.returncode == 1
    assert done.stderr.startswith(b"meshtrio: an agent runs (") and done.stdout == b""
    assert agent.get("/readyz")["ready"]


def test_who_says_no_hears_that_nothing_was_removed(run: Run) -> None:
    """At a terminal, the only place where it asks."""
    ours, terminal = pty.openpty()
    os.write(ours, b"n\n")
    done = run("cleanup", stdin=terminal)
    os.close(ours)
    os.close(terminal)
    assert done.returncode == 1
    assert done.stderr.endswith(b"meshtrio: nothing was removed\n")


def test_it_needs_root(run: Run, settings: dict[str, str]) -> None:
    del settings["MESHTRIO_CONFIG"]
    done = run("cleanup", before=("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"))
    assert done.returncode == 1
    assert done.stderr.endswith(b"run: sudo meshtrio cleanup\n")
