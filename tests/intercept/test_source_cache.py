"""World. The compile cache with the real bcc: hit without it, not trusted blindly, not needed."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from meshtrio.intercept import source
from meshtrio.intercept.object import CompiledObject

pytestmark = pytest.mark.kernel


def entry_of(cache: Path) -> Path:
    (entry,) = cache.iterdir()
    return entry


async def test_the_second_time_needs_no_bcc(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "made" / "cache"
    first = await source.compiled(cache, "small.c")
    assert [program.name for program in first.programs] == ["small"]
    assert entry_of(cache).stat().st_mode & 0o777 == 0o600
    assert cache.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert await source.compiled(cache, "small.c") == first


async def test_without_bcc_and_cache_it_says_what_to_install(
    no_bcc: None, text: Path, tmp_path: Path
) -> None:
    with pytest.raises(source.CompileError, match="python3-bpfcc") as failed:
        await source.compiled(tmp_path / "cache", "small.c")
    assert "--system-site-packages" in str(failed.value)
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def filled(text: Path, tmp_path: Path) -> Path:
    """A cache that has the small text."""
    cache = tmp_path / "cache"
    trio.run(source.compiled, cache, "small.c")
    return cache


def corrupt(entry: Path) -> None:
    """Change the program and nothing of the frame around it, so that only the digest can tell."""
    raw = entry.read_bytes()
    leave = b"\x95" + bytes(7)  # the instruction that ends a program
    assert raw.count(leave) == 1
    entry.write_bytes(raw.replace(leave, leave[:-1] + b"\1"))


def truncate(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:-1])


def empty(entry: Path) -> None:
    entry.write_bytes(b"")


def no_object(entry: Path) -> None:
    entry.write_bytes(hashlib.sha256(b"\x93\x01\x02\x03").digest() + b"\x93\x01\x02\x03")


def folder(entry: Path) -> None:
    entry.unlink()
    entry.mkdir()


def writable_by_others(entry: Path) -> None:
    entry.chmod(0o666)


def in_a_folder_that_others_may_write(entry: Path) -> None:
    entry.parent.chmod(0o777)


def of_someone_else(entry: Path) -> None:
    os.chown(entry, 65534, 65534)


BROKEN = [corrupt, truncate, empty, no_object, folder]
UNTRUSTED = [writable_by_others, in_a_folder_that_others_may_write, of_someone_else]


@pytest.mark.parametrize("spoil", [*BROKEN, *UNTRUSTED])
async def test_a_bad_entry_is_never_loaded(filled: Path, no_bcc: None, spoil: Callable[[Path], None]) -> None:
    spoil(entry_of(filled))
    with pytest.raises(source.CompileError):  # so it did want to compile
        await source.compiled(filled, "small.c")


@pytest.mark.parametrize("spoil", [corrupt, writable_by_others])
async def test_a_bad_entry_is_compiled_and_replaced(filled: Path, spoil: Callable[[Path], None]) -> None:
    entry = entry_of(filled)
    good = entry.read_bytes()
    spoil(entry)
    assert isinstance(await source.compiled(filled, "small.c"), CompiledObject)
    assert entry_of(filled).read_bytes() == good
    assert entry.stat().st_mode & 0o777 == 0o600


def in_the_way(cache: Path) -> None:
    cache.write_text("a file")


def read_only(cache: Path) -> None:
    cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(cache)], check=True)


def writable_by_all(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)


@pytest.fixture(params=[in_the_way, read_only, writable_by_all])
def useless(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A cache in which nothing can be kept, or should not be."""
    cache = tmp_path / "cache"
    request.param(cache)
    yield cache
    if cache.is_mount():
        subprocess.run(["umount", str(cache)], check=True)


def test_a_cache_that_cannot_be_written_costs_only_time(text: Path, useless: Path) -> None:
    compiled = trio.run(source.compiled, useless, "small.c")
    assert [program.name for program in compiled.programs] == ["small"]
    assert useless.is_file() or list(useless.iterdir()) == []


def test_an_installed_package_compiles_its_own_text(tmp_path: Path) -> None:
    """Installed, the text is inside the package; the package's folders must not hide Python's own."""
    tree = source.text_root().parent
    shutil.copytree(tree / "meshtrio", tmp_path / "meshtrio", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(tree / "bpf", tmp_path / "meshtrio" / "bpf")
    (tmp_path / "meshtrio" / "json.py").write_text("raise SystemExit('the wrong json')\n")
    script = "import trio; from meshtrio.intercept import source; o = trio.run(source.compiled, None)\n"
    script += "print(source.__file__, sorted(p.name for p in o.programs))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout
    assert "connect4" in done.stdout
