"""World. Real files: whole, for their owner alone, and one writer at a time."""

import os
import resource
import signal
from pathlib import Path

import pytest

from meshtrio.issuers import whole_file
from meshtrio.issuers.whole_file import locked, write_new, write_whole


def test_a_file_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_whole(tmp_path / "key", b"secret")
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    write_whole(tmp_path / "key", b"another")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key").read_bytes() == b"another"


def test_what_cannot_be_written_whole_leaves_the_old_one(tmp_path: Path) -> None:
    write_whole(tmp_path / "key", b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(tmp_path / "key", bytes(100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("key", b"old")]


def test_a_link_that_waits_there_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "key.new").symlink_to(victim)
    write_new(tmp_path / "key.new", b"secret")
    assert victim.read_bytes() == b"mine"


def test_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_file, "PATIENCE_S", 0.05)
    with locked(tmp_path / "new"), pytest.raises(OSError, match="locked"), locked(tmp_path / "new"):
        pass
    with locked(tmp_path / "new"):
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
