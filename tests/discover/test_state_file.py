"""Shell. The file itself: whose it is, what breaks it, and what is carried over. Real SQLite, real files."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from meshtrio.discover.state_file import ASIDE, StateError, StateFile

KEYS = "SELECT id FROM registrations ORDER BY seq"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "state.db"


@pytest.fixture
def file(path: Path) -> Iterator[StateFile]:
    file = StateFile(path)
    yield file
    file.close()


def add(*ids: str, size: int = 2) -> "object":
    def insert(line: sqlite3.Connection) -> None:
        for id in ids:
            line.execute(
                "INSERT INTO registrations (key, id, until, said) VALUES ('default/web', ?, 0, ?)",
                (id, b"x" * size),
            )
        line.execute("INSERT OR REPLACE INTO vips VALUES (7, 'default/web')")

    return insert


def ids(file: StateFile) -> list[str]:
    return file.use(lambda line: [id for (id,) in line.execute(KEYS)])


def aside(path: Path) -> list[Path]:
    return [old for old in path.parent.glob("state.db.corrupt-*") if old.name.count("-") == 1]


def written(path: Path, *ids: str, size: int = 2) -> None:
    with closing(StateFile(path)) as file:
        file.use(add(*ids, size=size))  # type: ignore[arg-type]


def test_it_is_made_for_us_alone(file: StateFile, path: Path) -> None:
    before = os.umask(0)
    try:
        file.use(add("a"))  # type: ignore[arg-type]
    finally:
        os.umask(before)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()} == {
        "state.db": 0o600,
        "state.db-wal": 0o600,
    }


def test_a_file_that_others_could_read_is_closed_to_them(file: StateFile, path: Path) -> None:
    written(path, "a")
    path.chmod(0o644)
    assert ids(file) == ["a"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_is_opened_again(file: StateFile) -> None:
    file.use(add("a"))  # type: ignore[arg-type]
    file.close()
    file.close()
    assert ids(file) == ["a"]


def test_a_transaction_happens_whole_or_not(file: StateFile) -> None:
    file.use(add("a"))  # type: ignore[arg-type]
    with pytest.raises(StateError, match="UNIQUE"):
        file.use(add("b", "a"))  # type: ignore[arg-type]
    assert ids(file) == ["a"]


def test_every_commit_is_synced(file: StateFile) -> None:
    pragmas = ("journal_mode", "synchronous", "locking_mode")
    said = file.use(lambda line: [line.execute(f"PRAGMA {one}").fetchone()[0] for one in pragmas])
    assert said == ["wal", 2, "exclusive"]


@pytest.mark.parametrize("rubbish", [b"not a database, but longer than a header is" * 20, b"\0" * 4096])
def test_a_file_that_is_no_database_is_moved_aside(
    file: StateFile, path: Path, rubbish: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(rubbish)
    assert ids(file) == []
    file.use(add("a"))  # type: ignore[arg-type]
    (old,) = aside(path)
    assert old.read_bytes() == rubbish
    (warning,) = caplog.records
    assert "moved aside" in warning.message
    assert warning.fields["aside"] == old.name  # type: ignore[attr-defined]


def test_what_can_be_read_of_a_broken_file_is_carried_over(file: StateFile, path: Path) -> None:
    written(path, *map(str, range(200)), size=1000)
    content = bytearray(path.read_bytes())
    page = content.index(b"x" * 1000) // 4096
    content[(page + 20) * 4096 : (page + 21) * 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    kept = ids(file)
    assert 10 < len(kept) < 200
    assert kept == list(map(str, range(len(kept))))
    assert file.use(lambda line: line.execute("SELECT * FROM vips").fetchall()) == [(7, "default/web")]
    assert len(aside(path)) == 1


def test_a_file_that_breaks_while_it_is_used_is_mended_for_the_next_try(file: StateFile, path: Path) -> None:
    written(path, *map(str, range(200)), size=1000)
    assert len(ids(file)) == 200
    path.write_bytes(path.read_bytes()[:4096] + b"\xa5" * 4096 * 60)
    with pytest.raises(StateError, match="malformed"):
        file.use(
            lambda line: line.execute("SELECT count(said), max(length(said)) FROM registrations").fetchall()
        )
        file.use(add("x"))  # type: ignore[arg-type]
    file.use(add("new"))  # type: ignore[arg-type]
    assert "new" in ids(file)
    assert len(aside(path)) == 1


def test_a_file_of_another_schema_is_moved_aside(file: StateFile, path: Path) -> None:
    written(path, "a")
    with closing(sqlite3.connect(path)) as line:
        line.execute("PRAGMA user_version = 2")
    assert ids(file) == ["a"]
    assert len(aside(path)) == 1


def test_few_broken_files_are_kept(path: Path) -> None:
    path.parent.mkdir()
    for number in range(ASIDE + 3):
        path.write_bytes(b"rubbish %d" % number * 100)
        with closing(StateFile(path)) as file:
            file.use(add("a"))  # type: ignore[arg-type]
    assert sorted(old.read_bytes()[:9] for old in aside(path)) == [b"rubbish %d" % n for n in (3, 4, 5)]


def test_a_file_that_somebody_else_holds_is_left_alone(file: StateFile, path: Path) -> None:
    with closing(StateFile(path)) as other:
        other.use(add("a"))  # type: ignore[arg-type]
        with pytest.raises(StateError, match="locked"):
            ids(file)
        assert ids(other) == ["a"]
    assert ids(file) == ["a"]
    assert aside(path) == []


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "file" / "state.db", "File exists")):
        with pytest.raises(StateError, match=why):
            StateFile(path).use(add("a"))  # type: ignore[arg-type]
