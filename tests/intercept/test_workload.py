"""Core and disk. Workloads as values, and the list by which a successor finds them."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshtrio.intercept.workload import Kept, Spec, WorkloadError, read_list, write_list


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
