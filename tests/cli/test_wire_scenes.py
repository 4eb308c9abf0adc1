"""The demo's second act: a step that does not truly happen is found out. That all happen, test_demo shows.

Each sets a whole stage; the two that wait longest are for the soak.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from meshtrio.cli import props, wire_scenes
from meshtrio.cli.reckoning import Step
from meshtrio.cli.stage import START_S, Stage, staged
from meshtrio.cli.wire_scenes import WirePlay

pytestmark = [pytest.mark.world, pytest.mark.slow]


@contextlib.asynccontextmanager
async def changed(monkeypatch: pytest.MonkeyPatch, *changes: tuple[str, str]) -> AsyncIterator[Stage]:
    """Set a stage whose agent is configured a little otherwise."""
    real = props._CONFIGURATION
    text = real
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    monkeypatch.setattr(props, "_CONFIGURATION", text)
    monkeypatch.setattr(wire_scenes, "TELLING_S", 2.5)
    async with staged("ebpf") as stage:
        yield stage


async def failed(stage: Stage) -> dict[str, str]:
    told: list[Step] = []
    await WirePlay(stage, told.append).run()
    assert all(step.says for step in told)
    return {step.name: step.says for step in told if not step.ok}


async def test_what_is_not_encrypted_is_found_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    async with changed(monkeypatch, ("mode: strict", "mode: disable")) as stage:
        found = await failed(stage)
    assert "calls by nothing" in found["cook calls pantry"] or "nobody" in found["cook calls pantry"]
    assert "nobody recorded it" in found["guest may not"]
    assert "meshtrio/1 0 times" in found["capture of the wire"]
    assert "what they say 0 times" not in found["capture of the wire"]


async def test_a_guest_who_is_let_in_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with changed(monkeypatch, ("action: deny", "action: allow")) as stage:
        found = await failed(stage)
    assert set(found) == {"guest may not"}
    assert found["guest may not"].startswith(f"was answered '{props.SECRET}'; carried, -")


@pytest.mark.soak
async def test_a_cook_who_is_not_let_in_fails_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    async with changed(monkeypatch, ('ids: ["{guest}"]', 'ids: ["{guest}", "{everyone}"]')) as stage:
        with trio.fail_after(START_S):
            while not (stage.wire and stage.wire.listens(props.PANTRY_PORT)):
                await trio.sleep(0.02)
        # The load waits so long for a first answer, which never comes.
        monkeypatch.setattr(wire_scenes, "START_S", 3.0)
        found = await failed(stage)
    assert set(found) == {"cook calls pantry", "rotation under load"}


@pytest.mark.soak
async def test_requests_that_fail_and_rotations_that_do_nothing_are_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with changed(monkeypatch) as stage:
        tell = stage.tell

        async def break_off(method: str, path: str, body: object = None) -> object:
            """Rotate nothing, and after a while stop the server."""
            if stage.meshed is not None and stage.meshed.poll() is None:
                stage.meshed.terminate()
                await stage.meshed.wait()
            return await tell("GET", "/v1/certs")

        monkeypatch.setattr(stage, "tell", break_off)
        found = await failed(stage)
    assert found["rotation under load"].startswith("0 times both certificates")
    assert not found["rotation under load"].endswith("; 0 failed")


async def test_a_server_that_does_not_come_up_is_told_with_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with changed(monkeypatch, ('exec_identities: ["{everyone}"]', "exec_identities: []")) as stage:
        with trio.fail_after(20):
            found = await failed(stage)
    assert set(found) == {"a server in the mesh"}
    assert "is not allowed by identity.exec_identities" in found["a server in the mesh"]


async def test_frames_that_were_lost_prove_nothing(tmp_path: Path) -> None:
    class Deaf:
        frames, lost = 3, 1

        def seen(self) -> bytes:
            return b"meshtrio/1"

    told: list[Step] = []
    stage = Stage(tmp_path)
    stage.wire = Deaf()  # type: ignore[assignment]
    WirePlay(stage, told.append)._read_the_wire()
    assert [(step.ok, step.says) for step in told] == [
        (False, "3 frames, 10 B: meshtrio/1 1 times, what they say 0 times; 1 were lost")
    ]
