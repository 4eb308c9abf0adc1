"""World. Our maps and programs in the running kernel: held, pinned, adopted, refused."""

import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio

from meshtrio.intercept import bpf, source
from meshtrio.intercept.kernel import (
    CGROUP_HOOKS,
    PER_NETNS,
    Kernel,
    KernelRefused,
    open_kernel,
    pinned_folders,
    possible_processors,
)
from meshtrio.intercept.layout import LAYOUT_VERSION, Reason
from meshtrio.intercept.object import CompiledObject, CompiledProgram

pytestmark = pytest.mark.kernel

NO_RESULT = struct.pack("<BBhi", 0x95, 0, 0, 0)


@pytest.fixture
def compiled(kernel: Kernel) -> CompiledObject:
    return kernel.compiled


def loaded(compiled: CompiledObject, pins: Path | None) -> Kernel:
    made = Kernel(compiled, pins)
    made.load()
    return made


def test_everything_is_there(kernel: Kernel) -> None:
    assert set(kernel.programs) == {*CGROUP_HOOKS, "stop"}
    assert set(kernel.maps) == {one.name for one in kernel.compiled.maps} - set(PER_NETNS)
    assert bpf.look_up(kernel.maps["layout"], bytes(4), 4) == struct.pack("<I", LAYOUT_VERSION)
    assert not kernel.adopted


def instructions_verified(program: int) -> int:
    """Say how many the verifier followed (struct bpf_prog_info.verified_insns); 0 before kernel 5.16."""
    info = ctypes.create_string_buffer(224)
    attributes = struct.pack("<IIQ", program, len(info), ctypes.addressof(info))
    bpf.call(bpf.INFO_BY_FD, attributes)
    return int(struct.unpack_from("<I", info, 216)[0])


def test_each_start_has_little_to_verify(kernel: Kernel) -> None:
    """Each takes about 20 us, at each start of an agent and of each `exec`."""
    followed = {name: instructions_verified(program) for name, program in kernel.programs.items()}
    assert {name: many for name, many in followed.items() if many > 40_000} == {}


def test_the_connect_hooks_are_attached_last(kernel: Kernel) -> None:
    assert list(CGROUP_HOOKS)[-2:] == ["connect4", "connect6"]


async def test_it_opens_from_the_cache_without_bcc(
    cache: Path, kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bcc.py").write_text("raise ImportError\n")
    monkeypatch.syspath_prepend(tmp_path)
    opened = await open_kernel(None, cache)
    opened.close()
    with pytest.raises(KernelRefused, match="python3-bpfcc"):
        await open_kernel(None, tmp_path / "empty")


async def test_a_fault_in_the_text_refuses_the_kernel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "stub").symlink_to(source.text_root() / "include" / "stub")
    (tmp_path / "meshtrio.c").write_text("int connect4(void *ctx) { return nonsense; }\n")
    monkeypatch.setattr(source, "text_root", lambda: tmp_path)
    with pytest.raises(KernelRefused, match="undeclared identifier 'nonsense'"):
        await open_kernel(None, None)


def with_code(compiled: CompiledObject, name: str, code: bytes) -> CompiledObject:
    programs = [
        CompiledProgram(name=name, code=code, uses=[]) if program.name == name else program
        for program in compiled.programs
    ]
    return msgspec.structs.replace(compiled, programs=programs)


def test_a_refused_program_has_the_verifier_s_words(compiled: CompiledObject) -> None:
    with pytest.raises(KernelRefused) as refused:
        loaded(with_code(compiled, "getpeername6", NO_RESULT), None)
    assert "program getpeername6" in str(refused.value)
    assert "R0 !read_ok" in str(refused.value)
    assert "since kernel 5.8" in str(refused.value)


def test_a_refused_lookup_program_has_the_verifier_s_words(compiled: CompiledObject) -> None:
    made = loaded(with_code(compiled, "inbound", NO_RESULT), None)
    try:
        with pytest.raises(KernelRefused, match=r"program inbound: .*\n(.*\n)*.*R0 !read_ok"):
            made.load_inbound({})
    finally:
        made.close()


def in_a_child(what: Callable[[], str]) -> str:
    """Run it in a process of its own, which ends at once, and return what it says."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(send, what().encode())
        finally:
            os._exit(0)
    os.close(send)
    with open(receive) as said:
        text = said.read()
    os.waitpid(pid, 0)
    return text


def test_without_root_it_says_so(compiled: CompiledObject) -> None:
    def as_nobody() -> str:
        os.setgid(65534)
        os.setuid(65534)
        try:
            loaded(compiled, None)
        except KernelRefused as refused:
            return str(refused)
        return "it worked"

    assert "run as root" in in_a_child(as_nobody)


def test_reasons_are_summed_over_processors(kernel: Kernel) -> None:
    before = kernel.reasons()
    raw = struct.pack(f"<{possible_processors()}Q", *range(1, possible_processors() + 1))
    key = struct.pack("<I", Reason.FULL_FLOWS)
    kept = bpf.look_up(kernel.maps["reasons"], key, 8 * possible_processors())
    assert kept is not None
    bpf.update(kernel.maps["reasons"], key, raw)
    try:
        assert kernel.reasons() == before | {Reason.FULL_FLOWS: sum(range(possible_processors() + 1))}
    finally:
        bpf.update(kernel.maps["reasons"], key, kept)


def test_pinned_folders_are_walked_and_none_is_fine(tmp_path: Path) -> None:
    assert list(pinned_folders(tmp_path, "links")) == []
    for name in ("b", "a"):
        (tmp_path / "links" / name).mkdir(parents=True)
    assert [path.name for path in pinned_folders(tmp_path, "links")] == ["a", "b"]


async def test_loading_does_not_stop_the_loop(cache: Path, kernel: Kernel) -> None:
    """Another task runs while the programs are loaded."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.sleep(0.001)
            ticks += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        (await open_kernel(None, cache)).close()
        nursery.cancel_scope.cancel()
    assert ticks
