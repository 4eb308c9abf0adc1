"""A program of ours imports from where we do, and nothing that lies about."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meshtrio import program

TELLING = """
import json, sys, beside_it, msgspec, meshtrio.program
print(json.dumps({"name": __name__, "argv": sys.argv, "site": "site" in sys.modules,
    "path": sys.path, "ours": meshtrio.program.__file__, "safe": sys.flags.safe_path}))
"""


@pytest.fixture
def telling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that tells how it was run, in a folder that we can import from."""
    ours, current = tmp_path / "ours", tmp_path / "current"
    for folder in (ours, current):
        folder.mkdir()
    (ours / "telling.py").write_text(TELLING)
    (ours / "beside_it.py").touch()
    for name in ("json", "msgspec", "runpy", "trio"):
        (current / f"{name}.py").write_text("raise SystemExit('the current directory was imported from')")
    monkeypatch.syspath_prepend(ours)
    monkeypatch.chdir(current)
    return ours


def test_it_imports_what_we_import_from_where_we_do(telling: Path) -> None:
    done = subprocess.run(program.command("telling", "a", "b c"), check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert told["name"] == "__main__"
    assert told["argv"] == [str(telling / "telling.py"), "a", "b c"]
    assert told["ours"] == program.__file__
    assert set(told["path"]) == {entry for entry in sys.path if entry} | {
        str(Path(program.__file__).parents[1])
    }
    assert (told["site"], told["safe"]) == (False, True)


def test_options_are_pythons_own(telling: Path) -> None:
    (telling / "optioned.py").write_text("import sys; print(sys._xoptions, sys.warnoptions)")
    words = program.command("optioned", options=("-X", "no_debug_ranges", "-W", "error"))
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert done.stdout == "{'no_debug_ranges': True} ['error']\n"


def test_it_ends_as_its_module_does(telling: Path) -> None:
    (telling / "ending.py").write_text("raise SystemExit(7)")
    assert subprocess.run(program.command("ending"), check=False).returncode == 7


@pytest.mark.parametrize(("ignored", "ends"), [(False, -signal.SIGINT), (True, 0)])
def test_an_interrupt_while_it_is_imported_shows_no_trace(telling: Path, ignored: bool, ends: int) -> None:
    """As ^C in the first second of an agent. Who was told to ignore it, by nohup or a shell, does."""
    (telling / "slow.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    how = signal.SIG_IGN if ignored else signal.SIG_DFL
    done = subprocess.run(
        program.command("slow"),
        check=False,
        capture_output=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, how),
    )
    assert (done.returncode, done.stderr) == (ends, b"")
