"""Shell. What the tests of interception share with those of the programs, and texts for the compiler."""

from pathlib import Path

import pytest

from meshtrio.intercept import source
from tests.bpf.fixtures import bpffs, cache, kernel, library, pod

__all__ = ["bpffs", "cache", "kernel", "library", "no_bcc", "pod", "text"]

SMALL = '#include "include/one.h"\nint small(void *ctx)\n{\n\treturn ONE;\n}\n'
ONE = "#pragma once\n#define ONE 1\n"


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small BPF text in place of ours, with our stub headers."""
    root = tmp_path / "bpf"
    (root / "include").mkdir(parents=True)
    (root / "include" / "stub").symlink_to(source.text_root() / "include" / "stub")
    (root / "small.c").write_text(SMALL)
    (root / "include" / "one.h").write_text(ONE)
    monkeypatch.setattr(source, "text_root", lambda: root)
    return root


@pytest.fixture
def no_bcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes of Python cannot import bcc."""
    folder = tmp_path / "no_bcc"
    folder.mkdir()
    (folder / "bcc.py").write_text("raise ImportError(\"No module named 'bcc'\")\n")
    monkeypatch.syspath_prepend(folder)
