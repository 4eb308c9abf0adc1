"""Core and disk. Workloads as values, and the list by which a successor finds them."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshtrio.config.schema import Log
from meshtrio.intercept.workload import Kept, Spec, Workload, WorkloadError, read_list, write_list
from meshtrio.observe import log


def of(name: str, *, number: int, cgroup: Path | None, inode: int = 77, **spec: Any) -> Any:
    """A caught workload, as far as the list looks at it."""
    site = SimpleNamespace(netns=SimpleNamespace(inode=inode))
    spec_made = Spec(name=name, **spec)
    return SimpleNamespace(spec=spec_made, id=number, cgroup=cgroup, site=site, rung="nft", kept=b"")


def test_a_list_reads_as_it_was_written_with_the_cgroups_that_were_made(tmp_path: Path) -> None:
    path = tmp_path / "workloads.json"
    shop = of("shop", number=3, cgroup=Path("/cg/meshtrio/shop"), ports=(80,), on_agent_loss="closed", pid=5)
    pod = of("pod", number=9, cgroup=None, netns="/run/netns/pod", inode=78)
    write_list(path, [shop, pod])
    assert read_list(path) == [
        Kept(
            Spec(name="shop", cgroup="/cg/meshtrio/shop", ports=(80,), on_agent_loss="closed", pid=5),
            3,
            77,
            "nft",
        ),
        Kept(Spec(name="pod", netns="/run/netns/pod"), 9, 78, "nft"),
    ]
    assert os.listdir(tmp_path) == ["workloads.json"]
    write_list(path, [])
    assert read_list(path) == []


def test_without_a_path_nothing_is_written_or_read() -> None:
    write_list(None, [of("shop", number=1, cgroup=None)])
    assert read_list(None) == []


@pytest.mark.parametrize("text", ["", "{", "[{}]", '{"spec": 1}', '[{"spec": {"name": 3}, "id": 1}]', "\xff"])
def test_a_broken_list_is_an_empty_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "workloads.json"
    path.write_bytes(text.encode("latin-1"))
    assert read_list(path) == []
    assert read_list(tmp_path / "none.json") == []
    assert read_list(tmp_path) == [], "a folder is no list"


def test_a_list_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "workloads.json"
    write_list(path, [of("shop", number=1, cgroup=None)])
    (tmp_path / f"workloads.{os.getpid()}").mkdir()
    with pytest.raises(OSError):
        write_list(path, [])
    assert [kept.spec.name for kept in read_list(path)] == ["shop"]


def test_a_namespace_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "netns"
    path.touch()
    spec = Spec(name="pod", netns=str(path))
    Kept(spec, 1, path.stat().st_ino).check()
    with pytest.raises(WorkloadError, match=f"{path} has been replaced"):
        Kept(spec, 1, path.stat().st_ino + 1).check()
    path.unlink()
    with pytest.raises(OSError):
        Kept(spec, 1, 1).check()
    Kept(Spec(name="own"), 1, 1).check()


def caught(**at: Any) -> Workload:
    """A caught workload, as far as its places are looked at."""
    one = of("shop", number=1, **at)
    capture: Any = SimpleNamespace(cgroup_id=one.cgroup.stat().st_ino if one.cgroup else 0)
    return Workload(one.spec, 1, one.cgroup, False, one.site, capture, [])


def test_what_a_workload_has_lost_is_said(tmp_path: Path) -> None:
    netns, group = tmp_path / "netns", tmp_path / "group"
    netns.touch()
    group.mkdir()
    inode = netns.stat().st_ino
    assert caught(cgroup=None).lost == ""
    assert caught(cgroup=group, netns=str(netns), inode=inode).lost == ""
    another = caught(cgroup=None, netns=str(netns), inode=inode + 1)
    assert another.lost.startswith(f"{netns} is another network namespace by now")
    netns.unlink()
    assert caught(cgroup=group, netns=str(netns), inode=inode).lost.endswith("if nothing runs there any more")
    one = caught(cgroup=group)
    one.capture.cgroup_id += 1
    assert "was made anew and is not caught yet" in one.lost
    group.rmdir()
    assert one.lost == f"its cgroup {group} has gone; it is caught again when that is back"


def test_it_ends_with_its_process() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        one = caught(cgroup=None, pid=process.pid)
        seen = [one.has_ended]
        process.kill()
    assert [*seen, one.has_ended] == [False, True]
    assert not caught(cgroup=None).has_ended


def test_the_log_is_told_once_of_a_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up(Log(level="info", format="text"))
    group = tmp_path / "group"
    group.mkdir()
    one = caught(cgroup=group)
    group.rmdir()
    one.tell(anew=False)
    one.tell(anew=False)
    assert capsys.readouterr().err.count(f"a workload has lost its cgroup workload=shop why={one.lost}") == 1
    group.mkdir()
    one.tell(anew=True)
    group.rmdir()
    one.tell(anew=False)
    said = capsys.readouterr().err.splitlines()
    assert ["made anew" in said[0], "lost its cgroup" in said[1], len(said)] == [True, True, 2]


@pytest.mark.parametrize("name", ["shop", "a", "0", "shop-2", "a" * 63, "a-" * 31 + "a"])
def test_good_names(name: str) -> None:
    Spec(name=name).check()


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../up",
        "a/b",
        "a b",
        "Shop",
        "-a",
        "a-",
        "a" * 64,
        "a\n",
        "a\0",
        "sh.op",
        "schön",
        "a_b",
    ],
)
def test_bad_names(name: str) -> None:
    with pytest.raises(WorkloadError, match="the name is no DNS label"):
        Spec(name=name).check()


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_bad_ports(port: int) -> None:
    Spec(name="shop", ports=(1, 65535)).check()
    with pytest.raises(WorkloadError, match=f"port {port} is not in 1 to 65535"):
        Spec(name="shop", ports=(80, port)).check()
