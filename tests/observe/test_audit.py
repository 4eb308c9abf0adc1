"""World. The audit log: a real file that is moved away, cannot be written, and is missed by nobody."""

# ruff: noqa: ASYNC240 - looking at a small file takes no time

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from meshtrio.messages import Connection
from meshtrio.observe import audit
from meshtrio.observe.audit import Trail
from meshtrio.outcome import Outcome
from tests.support.desk import eventually


@pytest.fixture(autouse=True)
def _nobody_wrote_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with a trail of this process in which no other test has left lines or a file."""
    monkeypatch.setattr(audit, "_trail", Trail())


@pytest.fixture
async def trail(tmp_path: Path) -> AsyncIterator[Trail]:
    made = Trail()
    made.path = str(tmp_path / "audit.jsonl")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.write)
        yield made
        nursery.cancel_scope.cancel()


def lines(path: Path | str) -> list[dict[str, object]]:
    path = Path(path)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kinds(path: Path | str) -> list[object]:
    return [line["kind"] for line in lines(path)]


async def test_a_line_is_json(trail: Trail) -> None:
    trail.record("denied", {"source": "spiffe://a/b", "port": 80, "path": Path("/x")})
    await eventually(lambda: lines(trail.path))
    (line,) = lines(trail.path)
    assert {**line, "at": 0} == {
        "at": 0,
        "kind": "denied",
        "source": "spiffe://a/b",
        "port": 80,
        "path": "/x",
    }
    assert Path(trail.path).stat().st_mode & 0o777 == 0o600


async def test_a_file_that_was_moved_away_is_begun_anew(trail: Trail) -> None:
    path = Path(trail.path)
    trail.record("one", {})
    await eventually(lambda: kinds(path) == ["one"])
    path.rename(path.with_suffix(".1"))
    trail.record("two", {})
    await eventually(lambda: kinds(path) == ["two"])
    assert kinds(path.with_suffix(".1")) == ["one"]


async def test_what_cannot_be_written_waits(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "AGAIN_S", 0.02)
    folder = Path(trail.path).parent / "folder"
    trail.path = str(folder / "audit.jsonl")
    trail.record("one", {})
    await eventually(lambda: trail.fault)
    assert trail.fault == "No such file or directory"
    trail.record("two", {})
    folder.mkdir()
    await eventually(lambda: kinds(folder / "audit.jsonl") == ["one", "two"])
    await eventually(lambda: not trail.fault)


async def test_too_many_are_counted_and_not_kept(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "WAITING", 3)
    for number in range(5):
        trail.record(f"n{number}", {})
    await eventually(lambda: kinds(trail.path) == ["n0", "n1", "n2"])
    trail.record("last", {})
    await eventually(lambda: len(kinds(trail.path)) == 4)
    assert lines(trail.path)[-1]["omitted_before"] == 2


async def test_what_waits_at_the_end_is_written(tmp_path: Path) -> None:
    made = Trail()
    made.path = str(tmp_path / "audit.jsonl")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.write)
        await trio.testing.wait_all_tasks_blocked()
        made.record("last words", {})
        nursery.cancel_scope.cancel()
    assert kinds(made.path) == ["last words"]


def test_without_a_file_it_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "meshtrio"):
        audit.record("denied", source="a")
    assert [record.getMessage() for record in caplog.records] == ["audit: denied"]
    assert audit.fault() == ""


async def test_who_was_refused_is_noted_with_both_ids(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    denied = Connection(
        id=1,
        direction="inbound",
        workload="shop",
        source="10.0.0.1:5",
        destination="10.0.0.2:80",
        peer="spiffe://td/a",
        began=0.0,
        outcome=Outcome.DENIED,
        detail="rule r denies",
    )
    others = [msgspec.structs.replace(denied, outcome=one) for one in (Outcome.CARRIED, Outcome.CLIENT_TLS)]
    others.append(msgspec.structs.replace(others[0], policy="rule r denies; only reported"))
    audit.ended([denied], 0, dict)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(audit.keep_writing)
        audit.set_up(str(path))
        try:
            audit.ended([denied, *others], 3, lambda: {"shop": "spiffe://td/shop"})
            await eventually(lambda: len(kinds(path)) == 4)
        finally:
            audit.set_up("")
            nursery.cancel_scope.cancel()
    assert kinds(path) == ["denied", "handshake failed", "would be denied", "connections not listed"]
    first = lines(path)[0]
    assert (first["peer"], first["spiffe_id"], first["why"]) == (
        "spiffe://td/a",
        "spiffe://td/shop",
        "rule r denies",
    )


async def test_the_process_has_one_trail(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(audit.keep_writing)
        audit.set_up(str(path))
        try:
            audit.record("denied", source="a")
            await eventually(lambda: kinds(path) == ["denied"])
        finally:
            audit.set_up("")
            nursery.cancel_scope.cancel()
