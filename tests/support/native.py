"""Shell. The hooks' decisions as a library of this machine: bpf/tests/native.c, for ctypes."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.tree import TREE

BPF = TREE / "bpf"


class _Number(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_uint64))


def build(folder: Path) -> ctypes.CDLL:
    """Build the library into this folder and load it. Skips where there is no C compiler."""
    compiler = next((found for name in ("clang", "gcc", "cc") if (found := shutil.which(name))), None)
    if compiler is None:
        pytest.skip("no C compiler (Debian's clang or gcc)")
    library = folder / "native.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]
    # Undefined behaviour ends the process: a test that would depend on it must not look green.
    flags += ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    flags += ["-I", str(BPF / "include" / "stub" / "include")]
    done = subprocess.run(
        [compiler, *flags, "-o", str(library), str(BPF / "tests" / "native.c")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def numbers(library: ctypes.CDLL) -> dict[str, int]:
    """Return every size ("sizeof place"), offset ("place.netns") and constant that the C side has."""
    table = ctypes.cast(library.native_numbers, ctypes.POINTER(_Number))
    found: dict[str, int] = {}
    at = 0
    while table[at].name is not None:
        found[table[at].name.decode()] = table[at].value
        at += 1
    return found
