"""What a killed agent leaves: found by name, taken away, and what is in use is spared."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from meshtrio.cli import remains
from meshtrio.cli.membership import own_cgroup
from meshtrio.cli.remains import Remain
from meshtrio.config.load import load
from meshtrio.config.schema import Config
from meshtrio.intercept import bpf, cgroup, nft, routing
from meshtrio.intercept.nft import owner
from meshtrio.intercept.nft_plan import NftPlan, OutboundCapture
from meshtrio.intercept.routing_plan import RoutingPlan
from meshtrio.intercept.workload import Kept, Spec
from meshtrio.places import list_path
from tests.support.namespace import Namespace

PINS = f"/sys/fs/bpf/meshtrio-cli-remains-{os.getpid()}"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "meshtrio-run").mkdir()
    return load(None, {}, {"paths.control": f"{tmp_path}/meshtrio-run/control.sock", "paths.pins": PINS})


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder of cgroups of our own in place of the one that all share."""
    monkeypatch.setattr(cgroup, "OURS", f"meshtrio-cli-{os.getpid()}")
    folder = cgroup.mount_point() / cgroup.OURS
    yield folder
    for path in folder.glob("*/"):
        path.rmdir()
    if folder.exists():
        folder.rmdir()


def test_an_owner_lives_by_number_and_birth() -> None:
    assert remains.owner_lives(owner())
    assert not remains.owner_lives(f"{os.getpid()}.1")
    assert not remains.owner_lives("4194305.1")
    assert not remains.owner_lives("")


def test_files_and_the_folder_that_is_called_after_us(config: Config) -> None:
    control = Path(config.paths.control)
    for name in ("control.sock", "control.sock.lock", "control.sock.workloads"):
        control.with_name(name).touch()
    assert [Path(one.name).name for one in remains.remove_files(config)] == [
        "control.sock",
        "control.sock.lock",
        "control.sock.workloads",
    ]
    assert not control.parent.exists()
    assert list(remains.remove_files(config)) == []


def test_a_folder_that_holds_something_else_stays(config: Config) -> None:
    other = Path(config.paths.control).with_name("other")
    other.touch()
    assert list(remains.remove_files(config)) == []
    assert other.exists()


def test_namespaces_are_our_own_the_named_and_the_listed(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "named").mkdir()
    for name in ("b", "a"):
        (tmp_path / "named" / name).touch()
    monkeypatch.setattr(remains, "NAMED_NETNS", tmp_path / "named")
    kept = [Kept(Spec(name="w", netns=where), 1, 7) for where in ("/x", "", f"{tmp_path}/named/a")]
    list_path(Path(config.paths.control)).write_bytes(msgspec.json.encode(kept))
    assert remains.namespaces(config) == ["", f"{tmp_path}/named/a", f"{tmp_path}/named/b", "/x"]


@pytest.mark.kernel
def test_pins_go_and_others_beside_them_stay(config: Config) -> None:
    top = Path(PINS)
    folders = [top / "maps", top / "links" / "1", top / "netns" / "3", top / "other"]
    made = bpf.create_map(bpf.MAP_PERCPU_ARRAY, "x", (4, 8, 1))
    try:
        for folder in folders:
            folder.mkdir(parents=True)
            bpf.pin(made, str(folder / "thing"))
        removed = [one.name for one in remains.remove_pins(config)]
        assert removed == [f"{PINS}/{name}/thing" for name in ("links/1", "netns/3", "maps")]
        assert [path.name for path in top.iterdir()] == ["other"]
        (top / "other" / "thing").unlink()
        (top / "other").rmdir()
        assert list(remains.remove_pins(config)) == []
        assert not top.exists()
    finally:
        os.close(made)


@pytest.mark.kernel
def test_a_pinned_link_is_detached_whoever_else_holds_it(config: Config, ours: Path) -> None:
    group = cgroup.create("held")
    code = bytes.fromhex("b7000000010000009500000000000000")  # r0 = 1; exit
    program = bpf.load_program(18, 10, "connect4", code)
    directory = os.open(group, os.O_RDONLY)
    link = bpf.create_link(program, directory, 10)
    try:
        pinned = Path(PINS) / "links" / "1" / "connect4"
        pinned.parent.mkdir(parents=True)
        bpf.pin(link, str(pinned))
        assert bpf.attached(directory, 10)[0]
        assert [one.name for one in remains.remove_pins(config)] == [str(pinned)]
        assert not bpf.attached(directory, 10)[0]
    finally:
        for descriptor in (link, directory, program):
            os.close(descriptor)
    assert not Path(PINS).exists()


@pytest.mark.world
def test_cgroups_are_removed_when_nothing_runs_in_them(ours: Path) -> None:
    assert remains.cgroups() == []
    empty, busy = cgroup.create("empty"), cgroup.create("busy")
    process = subprocess.Popen(["sleep", "60"])
    cgroup.enter(busy, process.pid)
    try:
        with own_cgroup("locked") as locked:
            assert remains.cgroups() == [busy, empty, locked]
            assert list(remains.remove_cgroups()) == [
                Remain("cgroup", str(busy), f"processes run in it: {process.pid}"),
                Remain("cgroup", str(empty)),
                Remain("cgroup", str(locked), "a `meshtrio exec` that runs has it"),
            ]
    finally:
        process.kill()
        process.wait()
    assert list(remains.remove_cgroups()) == [Remain("cgroup", str(busy))]
    assert not ours.exists()


@pytest.mark.world
async def test_rules_of_the_dead_go_and_those_of_the_living_stay() -> None:
    with Namespace() as space:
        where = f"/proc/self/task/{space.tid}/ns/net"
        out = OutboundCapture(door=15002)
        await nft.apply(NftPlan(workload="dead", owner="4194305.1", outbound=out), space.fd)
        await nft.apply(NftPlan(workload="living", owner=owner(), outbound=out), space.fd)
        await routing.apply(RoutingPlan(transparent=True), space.fd)
        assert await remains.remove_rules(where) == [Remain("nf_tables table", f"meshtrio_dead in {where}")]
        assert "lookup 15001" in space.ip("rule")  # somebody lives who may need it
        await nft.remove("living", space.fd)
        (found,) = await remains.remove_rules(where)
        assert (found.kind, found.why_kept) == ("routing", "")
        assert "15001" not in space.ip("rule")
        assert await remains.remove_rules(where) == []
    assert await remains.remove_rules("/run/netns/no-such") == []


@pytest.mark.world
def test_orphans_are_workers_whose_parent_is_none_of_ours() -> None:
    prctl = "import ctypes; ctypes.CDLL(None).prctl(15, b'meshtrio-worker', 0, 0, 0)"
    named = f"{prctl}; print(1, flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", named], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.pid in remains.processes_named("meshtrio-worker")
        assert process.pid in remains.orphans()
        process.kill()
