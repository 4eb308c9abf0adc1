"""Shell. A process lives as long as its block, on its core, in its namespace; a failure has its words."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.benchmark.process import (
    ProcessFailed,
    Spot,
    last_words,
    line_of,
    running,
    undisturbed,
    wait_until,
)
from meshtrio.intercept.netns import Netns

PYTHON = [sys.executable, "-I", "-S", "-c"]


@pytest.fixture
def spot(tmp_path: Path) -> Iterator[Spot]:
    with contextlib.closing(Netns.current()) as here:
        yield Spot(here, max(os.sched_getaffinity(0)), tmp_path / "log")


def test_it_runs_on_its_core_and_ends_with_its_block(spot: Spot) -> None:
    with running([*PYTHON, "print('up', flush=True); input()"], spot, piped=True) as process:
        assert line_of(process, 10, spot.log) == "up"
        assert os.sched_getaffinity(process.pid) == {spot.core}
        assert os.getsid(process.pid) == process.pid
    assert process.returncode is not None
    assert os.sched_getaffinity(0) >= {spot.core}


def test_it_ends_also_when_the_block_fails(spot: Spot) -> None:
    with pytest.raises(KeyboardInterrupt), running(["sleep", "60"], spot) as process:
        raise KeyboardInterrupt
    assert process.returncode == -15


def test_failures_have_the_last_words(spot: Spot) -> None:
    with running([*PYTHON, "import sys; sys.exit('so it is')"], spot, piped=True) as process:
        with pytest.raises(ProcessFailed, match="so it is"):
            line_of(process, 10, spot.log)
        with pytest.raises(ProcessFailed, match="ended with 1: so it is"):
            wait_until(lambda: False, process, 10, spot.log)
    with running(["sleep", "60"], spot, piped=True) as process:
        with pytest.raises(ProcessFailed, match=r"said nothing for 0\.05 s"):
            line_of(process, 0.05, spot.log)
        with pytest.raises(ProcessFailed, match="was not ready in time"):
            wait_until(lambda: False, process, 0.05, spot.log)
        wait_until(lambda: True, process, 10, spot.log)
    with pytest.raises(ProcessFailed, match="cannot run /nowhere: No such file"), running(["/nowhere"], spot):
        pass
    assert last_words(spot.log.with_name("none")) == ""


def test_signals_wait_until_what_is_made_is_known() -> None:
    """In a process of its own: another thread, as runners of tests have, would take the signal."""
    code = (
        "import os, signal\n"
        "from meshtrio.benchmark.process import undisturbed\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('signal'))\n"
        "with undisturbed():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('made')\n"
        "print('over')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["made", "signal", "over"]


def test_a_process_hears_the_signals_that_wait_here(spot: Spot) -> None:
    with running(["sleep", "60"], spot) as process, undisturbed():
        mask = [
            line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "SigBlk" in line
        ]
        assert int(mask[0].split()[1], 16) & (1 << (signal.SIGTERM - 1)) == 0


@pytest.mark.world
def test_it_runs_in_its_namespace(tmp_path: Path) -> None:
    with contextlib.closing(Netns.fresh()) as there:
        spot = Spot(there, 0, tmp_path / "log")
        script = "import os; print(os.stat('/proc/self/ns/net').st_ino, flush=True); input()"
        with running([*PYTHON, script], spot, piped=True) as process:
            assert int(line_of(process, 10, spot.log)) == there.inode
        assert Path("/proc/self/ns/net").stat().st_ino != there.inode
