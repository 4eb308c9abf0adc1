"""World. The process that compiles: the real bcc, in a child as the agent runs it."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from meshtrio.intercept import source
from meshtrio.intercept.object import CompiledObject

pytestmark = pytest.mark.kernel

STUB = source.text_root() / "include" / "stub"
TEXT = """
struct two { __u64 a, b; };
BPF_TABLE("hash", struct two, __u32, pairs, 77);
BPF_ARRAY(counters, __u64, 5);
static inline __attribute__((always_inline)) void count(void)
{
	__u32 zero = 0;
	__u64 *one = counters.lookup(&zero);
	if (one)
		(*one)++;
}
int first(void *ctx)
{
	struct two key = {};
	count();
	return pairs.lookup(&key) != NULL;
}
int second(void *ctx)
{
	count();
	return 0;
}
"""


def compiler(text: str, *, stub: Path = STUB, path: str = "") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "meshtrio.intercept.compiler", str(stub)],
        input=text.encode(),
        capture_output=True,
        check=False,
        timeout=60,
        cwd=source.text_root().parent,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
    )


def compiled(text: str) -> CompiledObject:
    done = compiler(text)
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.msgpack.decode(done.stdout, type=CompiledObject)


@pytest.fixture(scope="module")
def two() -> CompiledObject:
    return compiled(TEXT)


def test_maps_come_as_they_were_declared(two: CompiledObject) -> None:
    shapes = {one.name: (one.type, one.key_bytes, one.value_bytes, one.max_entries) for one in two.maps}
    assert shapes == {"pairs": (1, 16, 4, 77), "counters": (2, 4, 8, 5)}


def test_each_function_that_is_not_static_is_a_program(two: CompiledObject) -> None:
    assert sorted(program.name for program in two.programs) == ["first", "second"]


def test_programs_name_their_maps_and_hold_no_descriptor(two: CompiledObject) -> None:
    assert {name for _, name in two.program("first").uses} == {"counters", "pairs"}
    assert {name for _, name in two.program("second").uses} == {"counters"}
    for program in two.programs:
        for instruction, _ in program.uses:
            raw = program.code[instruction * 8 : instruction * 8 + 8]
            assert (raw[0], raw[1] >> 4, raw[4:]) == (0x18, 1, bytes(4))


def test_the_same_text_gives_the_same_bytes(two: CompiledObject) -> None:
    """Or the cache would hide that a compilation depends on something that its key does not have."""
    assert compiled(TEXT) == two


def test_our_text_has_what_the_loader_wants() -> None:
    ours = compiled(source.flatten(source.text_root() / "meshtrio.c"))
    from meshtrio.intercept.kernel import CGROUP_HOOKS, PER_NETNS

    assert {program.name for program in ours.programs} == {*CGROUP_HOOKS, "inbound", "stop"}
    assert {*PER_NETNS, "layout", "workloads", "destinations"} <= {one.name for one in ours.maps}


def test_what_the_compiler_prints_does_not_spoil_the_object() -> None:
    done = compiler(TEXT + "#warning look at me\n")
    assert done.returncode == 0
    assert b"look at me" in done.stderr
    assert b"look at me" not in done.stdout
    assert msgspec.msgpack.decode(done.stdout, type=CompiledObject).programs


def test_a_fault_is_told_in_clang_s_words_and_gives_no_object() -> None:
    done = compiler('#line 12 "shop.c"\nint first(void *ctx) { return nonsense; }\n')
    assert done.returncode == 1
    assert b"shop.c:12:" in done.stderr
    assert b"use of undeclared identifier 'nonsense'" in done.stderr
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr


def test_missing_headers_are_told(tmp_path: Path) -> None:
    done = compiler(TEXT, stub=tmp_path)
    assert done.returncode == 1
    assert b"kconfig.h" in done.stderr
    assert b"Traceback" not in done.stderr


def test_no_bcc_is_told_with_the_package_to_install(tmp_path: Path) -> None:
    (tmp_path / "bcc.py").write_text("raise ImportError(\"No module named 'bcc'\")\n")
    done = compiler(TEXT, path=str(tmp_path))
    assert done.returncode == 2
    assert b"python3-bpfcc" in done.stderr
    assert sys.executable.encode() in done.stderr
    assert done.stdout == b""


def test_the_wrong_bcc_is_told_with_the_package_to_install(tmp_path: Path) -> None:
    """A lattice library has the same name in the Python package index."""
    (tmp_path / "bcc.py").write_text("")
    done = compiler(TEXT, path=str(tmp_path))
    assert done.returncode == 2
    assert b"something else" in done.stderr
