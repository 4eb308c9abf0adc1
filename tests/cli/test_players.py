"""The processes of the demo: run, begun, ended."""

import os
import signal
import sys
from pathlib import Path

import pytest

from meshtrio.cli import players
from meshtrio.cli.complaint import Complaint


async def test_what_a_command_prints_and_what_it_complains_of() -> None:
    assert await players.output(["sh", "-c", "echo said"]) == "said\n"
    with pytest.raises(Complaint, match=r"^it ended with 3: not so$"):
        await players.output(["sh", "-c", "echo not so >&2; exit 3"], called="it")


async def test_a_process_that_is_asked_to_end_ends(tmp_path: Path) -> None:
    process = await players.started(["sh", "-c", "echo begun; exec sleep 60"], tmp_path / "log")
    assert os.getsid(process.pid) == process.pid
    await players.ended(process)
    assert process.returncode == -signal.SIGTERM
    await players.ended(process)  # twice is fine


async def test_a_process_that_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    process = await players.started([sys.executable, "-c", deaf], tmp_path / "log")
    while "deaf" not in (tmp_path / "log").read_text():
        assert process.poll() is None
    monkeypatch.setattr(players, "END_S", 0.05)
    await players.ended(process)
    assert process.returncode == -signal.SIGKILL


def test_the_environment_is_that_of_the_caller_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    made = players.environment()
    assert made["no_proxy"] == "*"
    assert made["PATH"] == os.environ["PATH"]
    assert [name for name in made if name.startswith("MESHTRIO_")] in ([], ["MESHTRIO_TEST_RUN"])
