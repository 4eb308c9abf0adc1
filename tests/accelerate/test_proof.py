"""World. A trial on the running kernel: held once, kept, and without a trace but that."""

import sys
from pathlib import Path

import pytest
import trio

from meshtrio.accelerate import proof
from meshtrio.accelerate.hazards import Finding, Hazard
from meshtrio.intercept import cgroup, kept, source

pytestmark = pytest.mark.kernel


def changed(root: Path, right: str, wrong: str) -> Path:
    """Make a folder with the C text, and one thing in it changed."""
    ours = source.text_root()
    root.mkdir()
    (root / "include").symlink_to(ours / "include")
    text = (ours / proof.TEXT).read_text()
    assert text.count(right) == 1
    (root / proof.TEXT).write_text(text.replace(right, wrong))
    return root


def groups() -> list[Path]:
    return list((cgroup.mount_point() / cgroup.OURS).glob("trial-*"))


async def test_the_second_time_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await proof.proved(tmp_path)
    assert [one.hazard for one in first] == list(Hazard)
    assert groups() == []
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert await proof.proved(tmp_path) == first


def test_what_is_kept_is_believed_for_the_same_text_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.write(tmp_path / f"{proof._key()}.findings", b'[{"hazard": "order", "wrong": "once"}]')
    assert trio.run(proof.proved, tmp_path) == [Finding(Hazard.ORDER, "once")]
    before = proof._key()
    other = changed(tmp_path / "bpf", "int on_message", "/* as ever */ int on_message")
    monkeypatch.setattr(source, "text_root", lambda: other)
    assert proof._key() != before


def test_a_trial_that_cannot_be_held_says_why_and_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = changed(tmp_path / "bpf", "size = msg->size", "size = *(__u32 *)((void *)msg + 4096)")
    monkeypatch.setattr(source, "text_root", lambda: other)
    with pytest.raises(proof.Untried, match=r"^program on_message: Permission denied$"):
        trio.run(proof.proved, tmp_path / "cache")
    assert groups() == []
    assert not list((tmp_path / "cache").glob("*.findings"))


async def test_when_cancelled_nothing_is_left(cache: Path) -> None:
    with trio.move_on_after(0.2) as scope:
        await proof._held(cache)
    assert scope.cancelled_caught
    assert groups() == []
