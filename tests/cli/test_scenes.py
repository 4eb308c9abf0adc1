"""The demo's play: a step that does not happen is found out. That all happen, test_demo shows."""

from pathlib import Path

import pytest
import trio

from meshtrio.cli import clients, scenes
from meshtrio.cli.complaint import Complaint
from meshtrio.cli.reckoning import Step
from meshtrio.cli.scenes import Play, Visit, aftermath
from meshtrio.cli.stage import Server, Stage


def test_a_visit_knows_how_the_agent_writes_its_address() -> None:
    assert Visit("x", "10.0.0.1", 1, frozenset()).destination == "10.0.0.1:80"
    assert Visit("x", "fd00::1", 1, frozenset()).destination == "[fd00::1]:80"


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

    async def ask(self, path: str) -> object:
        return {"endpoints": [], "vips": ["240.240.0.9", "fd6d:6573:68::9"]}


@pytest.mark.parametrize(
    ("answers", "times", "among", "ok"),
    [
        ("abcabc", 6, "abc", True),
        ("aabbcc", 6, "abc", True),
        ("abcaba", 6, "abc", False),
        ("abcab", 6, "abc", False),
        ("a", 1, "abc", True),
        ("x", 1, "abc", False),
        ("aca", 3, "ac", True),
        ("abc", 3, "ac", False),
        ("aa", 2, "a", True),
        ("", 1, "abc", False),
    ],
)
async def test_answers_are_held_against_what_must_be(answers: str, times: int, among: str, ok: bool) -> None:
    told: list[Step] = []
    play = Play(FakeStage(list(answers)), told.append)
    await play._visit(Visit("v", "10.0.0.1", times, frozenset(among)), ["curl"])
    assert [step.ok for step in told] == [ok]
    assert play.steps == told


async def test_where_names_are_not_asked_by_dns_addresses_are_dialled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clients, "why_no_names", lambda: "for a reason")
    play = Play(FakeStage(list("abab")), lambda step: None)
    await play._dial_a_name()
    skipped, dialled = play.steps
    assert (skipped.skipped, skipped.ok) == (True, True) and "for a reason" in skipped.says
    assert (dialled.skipped, dialled.ok) == (False, True) and "240.240.0.9" in dialled.name


async def test_a_change_that_is_never_noticed_fails_its_scene(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    play = Play(FakeStage(["a"]), lambda step: None)

    async def wait() -> None:
        await play._until("default/shop", bool)

    await play._played(wait)
    assert play.steps == [Step("wait", False, "the agent has not noticed within 10 s")]
    assert trio.current_time() == pytest.approx(scenes.TURNING_S, abs=0.1)


@pytest.mark.world
async def test_what_is_left_is_found_out(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    told = aftermath(stage)
    assert not told.ok
    assert str(tmp_path) in told.says and "the agent ended with 1" in told.says
