"""What is found of this machine, and what is said where something is missing."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from meshtrio.cli import features, process
from meshtrio.config.load import load
from meshtrio.config.schema import Config
from meshtrio.intercept import bpf, cgroup
from meshtrio.intercept.kernel import CGROUP_HOOKS, Kernel


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(None, {}, {"paths.cache": str(tmp_path / "cache")})


def by_name(found: object) -> dict[str, features.Feature]:
    return {feature.name: feature for feature in found}  # type: ignore[attr-defined]


@pytest.mark.world
def test_this_machine_has_what_everything_stands_on() -> None:
    found = by_name(features.kernel_and_rights())
    assert os.uname().release in found["kernel"].says
    assert {one.state for one in found.values()} == {"ok"}


@pytest.mark.world
def test_an_exclusive_program_above_is_named() -> None:
    # In a cgroup of its own with a program that is attached exclusively, seen from a child in it.
    group = cgroup.create(f"cli-feature-{os.getpid()}")
    code = bytes.fromhex("b7000000010000009500000000000000")  # r0 = 1; exit
    program = bpf.load_program(18, 10, "exclusive", code)
    directory = os.open(group, os.O_RDONLY)
    try:
        bpf.call(8, __import__("struct").pack("<4I", directory, program, 10, 0))  # BPF_PROG_ATTACH, no flags
        look = (
            f"open('{group}/cgroup.procs', 'w').write('0')\n"
            "from meshtrio.cli.features import kernel_and_rights\nprint(list(kernel_and_rights())[-1])"
        )
        done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    finally:
        os.close(directory)
        os.close(program)
        assert cgroup.remove(group)
    assert "state='missing'" in done.stdout
    assert f"is attached exclusively to {group}" in done.stdout
    assert "use rung nft" in done.stdout


def test_missing_rights_and_cgroups_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise cgroup.CgroupError("cgroup v2 is not mounted; mount it with: mount -t cgroup2")

    monkeypatch.setattr(process, "_status", lambda name: "0")
    monkeypatch.setattr(cgroup, "mount_point", nowhere)
    found = by_name(features.kernel_and_rights())
    assert found["capabilities"].state == "missing" and "CAP_BPF" in found["capabilities"].says
    assert found["cgroup v2"][1:] == (
        "missing",
        "cgroup v2 is not mounted",
        "mount it with: mount -t cgroup2",
    )
    assert found["no exclusive program above"].state == "note"


@pytest.mark.parametrize(("pins", "state"), [("/tmp/pins", "missing"), ("/sys/fs/bpf/x", "ok")])
def test_bpffs(pins: str, state: str) -> None:
    mounted = any(line.split()[2] == "bpf" for line in Path("/proc/mounts").read_text().splitlines())
    wanted = state if mounted or state == "missing" else "note"
    assert features.bpffs(load(None, {}, {"paths.pins": pins})).state == wanted


def test_a_bpffs_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write everywhere but on a file system that nobody may.
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.F_OK and path == Path("/"))
    found = features.bpffs(load(None, {}, {"paths.pins": "/sys/fs/bpf/x"}))
    assert (found.state, "cannot be written" in found.says) == ("note", True)


def test_the_state_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(path: str) -> features.Feature:
        return features.state(load(None, {}, {"discovery.registration.state": path}))

    assert found(f"{tmp_path}/made/later/state.db").state == "ok"
    (tmp_path / "state.db").touch()
    assert found(f"{tmp_path}/state.db").state == "ok"
    assert found("").state == "note"
    assert not (tmp_path / "made").exists()
    # Root may write everywhere but on a file system that nobody may.
    monkeypatch.setattr(
        os, "access", lambda path, mode: path in (tmp_path, *tmp_path.parents) and mode == os.F_OK
    )
    assert found(f"{tmp_path}/made/state.db")[1:3] == (
        "note",
        f"{tmp_path}/made/state.db cannot be written, so registrations end with the agent",
    )


@pytest.mark.kernel
async def test_the_compiler_is_found() -> None:
    assert (await features.compiler()).state == "ok"


async def test_a_missing_compiler_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bcc.py").write_text("raise ImportError('libbcc.so.0: cannot open shared object file')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = await features.compiler()
    assert found.state == "missing"
    assert "libbcc.so.0" in found.says and "python3-bpfcc" in found.todo


@pytest.mark.kernel
async def test_every_hook_is_loaded_first_compiled_then_from_the_cache(config: Config) -> None:
    first = by_name(await features.programs(config))
    assert first["bytecode"].says.startswith("compiled in ")
    again = by_name(await features.programs(config))
    assert again["bytecode"].says == f"taken from {config.paths.cache}"
    for found in (first, again):
        assert {f"hook {name}" for name in (*CGROUP_HOOKS, "inbound")} <= set(found)
        assert {one.state for one in found.values()} == {"ok"}


@pytest.mark.kernel
async def test_no_map_is_refused_for_a_limit_that_an_agent_lifts(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 5.11 maps count as locked memory."""
    lifted: list[bool] = []

    def create_map(kernel: Kernel, name: str) -> int:
        assert lifted
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(features, "memlock_raised", lambda: lifted.append(True))
    monkeypatch.setattr(Kernel, "create_map", create_map)
    found = by_name(await features.programs(config))
    assert found["bpf maps"].says == "Operation not permitted"


@pytest.mark.kernel
async def test_a_hook_that_the_verifier_refuses_is_named(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bpf.load_program

    def refuse(kind: int, attach: int, name: str, code: bytes) -> int:
        # A program that does not end: the real verifier says no.
        return real(kind, attach, name, bytes.fromhex("0500ffff00000000") if name == "connect6" else code)

    monkeypatch.setattr(bpf, "load_program", refuse)
    found = by_name(await features.programs(config))
    assert [name for name, one in found.items() if one.state == "missing"] == ["hook connect6"]
    assert found["hook connect6"].todo == "needs a kernel from 4.17 on"


@pytest.mark.parametrize(("hard", "state"), [(1 << 20, "ok"), (4096, "note")])
def test_limits(monkeypatch: pytest.MonkeyPatch, hard: int, state: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, hard))
    assert features.limits().state == state
