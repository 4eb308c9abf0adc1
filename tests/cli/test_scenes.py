"""The demo's play: every step happens here, and one that does not is found out."""

import shutil
from pathlib import Path

import pytest
import trio

from meshtrio.cli import scenes
from meshtrio.cli.complaint import Complaint
from meshtrio.cli.scenes import Play, Step, Visit, aftermath
from meshtrio.cli.stage import Server, Stage, staged


def test_a_visit_knows_how_the_agent_writes_its_address() -> None:
    assert Visit("x", "10.0.0.1", 1).destination == "10.0.0.1:80"
    assert Visit("x", "fd00::1", 1).destination == "[fd00::1]:80"


class FakeStage(Stage):
    """A stage without processes, on which answers are as a test wants them."""

    def __init__(self, answers: list[str]) -> None:
        super().__init__(Path("/nowhere"))
        self.answers = answers
        process: trio.Process = None  # type: ignore[assignment]
        self.servers = [
            Server(name, f"127.0.0.1:{at}", process) for at, name in enumerate(("a", "b", "c"), 1)
        ]

    async def run_inside(self, *command: str) -> list[str]:
        if not self.answers:
            raise Complaint("curl ended with 7")
        return self.answers


@pytest.mark.parametrize(
    ("answers", "times", "without", "ok"),
    [
        ("abcabc", 6, "", True),
        ("aabbcc", 6, "", True),
        ("abcaba", 6, "", False),
        ("abcab", 6, "", False),
        ("a", 1, "", True),
        ("x", 1, "", False),
        ("aca", 3, "b", True),
        ("abc", 3, "b", False),
        ("", 1, "", False),
    ],
)
async def test_answers_are_held_against_what_must_be(
    answers: str, times: int, without: str, ok: bool
) -> None:
    told: list[Step] = []
    play = Play(FakeStage(list(answers)), told.append)
    await play._visit(Visit("v", "10.0.0.1", times, without), ["curl"])
    assert [step.ok for step in told] == [ok]
    assert play.steps == told


def test_without_curl_python_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    command = scenes._fetching("fd00::1", 2)
    assert "python" in command[0]
    assert command[-2:] == ["http://[fd00::1]/"] * 2


@pytest.mark.world
async def test_all_of_it_happens_here() -> None:
    steps: list[Step] = []
    async with staged("ebpf") as stage:
        play = Play(stage, steps.append)
        await play.run()
    assert [step for step in steps if not step.ok] == []
    assert len(play.connections) == 13
    assert {one["outcome"] for one in play.connections} == {"carried"}
    assert aftermath(stage).ok


@pytest.mark.world
async def test_what_is_left_is_found_out(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    told = aftermath(stage)
    assert not told.ok
    assert str(tmp_path) in told.says and "the agent ended with 1" in told.says
