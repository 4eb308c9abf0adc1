"""Shell. What is kept comes back whole, or not at all; test_source_cache.py has more of it, with programs."""

from pathlib import Path

from meshtrio.intercept import kept


def test_what_was_written_is_read_by_its_owner_alone(tmp_path: Path) -> None:
    entry = tmp_path / "made" / "one.object"
    kept.write(entry, b"some bytes")
    assert kept.read(entry) == b"some bytes"
    assert entry.stat().st_mode & 0o777 == 0o600
    assert entry.parent.stat().st_mode & 0o777 == 0o700
    kept.write(entry, b"other bytes")
    assert kept.read(entry) == b"other bytes"
    assert [one.name for one in entry.parent.iterdir()] == ["one.object"]


def test_nothing_is_read_where_nothing_is(tmp_path: Path) -> None:
    assert kept.read(tmp_path / "none") is None
    assert kept.read(tmp_path) is None


def test_a_changed_byte_or_another_writer_makes_it_nothing(tmp_path: Path) -> None:
    entry = tmp_path / "one"
    kept.write(entry, b"some bytes")
    entry.chmod(0o620)
    assert kept.read(entry) is None
    entry.chmod(0o600)
    entry.write_bytes(entry.read_bytes()[:-1] + b"!")
    assert kept.read(entry) is None


def test_a_folder_that_others_may_write_keeps_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    kept.write(tmp_path / "one", b"some bytes")
    assert list(tmp_path.iterdir()) == []
