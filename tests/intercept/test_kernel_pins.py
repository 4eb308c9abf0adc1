"""World. Our maps in bpffs: kept for a successor, adopted, or refused because they are another version's."""

import os
import struct
import time
from pathlib import Path

import pytest

from meshtrio.intercept import bpf
from meshtrio.intercept.attachment import CgroupHooks
from meshtrio.intercept.direct_layout import SERVICE_BYTES, ServiceWords
from meshtrio.intercept.kernel import PER_NETNS, Kernel, KernelRefused
from meshtrio.intercept.layout import LAYOUT_VERSION
from meshtrio.intercept.object import CompiledObject
from tests.intercept.hooks import attached, vanished
from tests.support.namespace_door import cgroup

pytestmark = pytest.mark.kernel


@pytest.fixture
def compiled(kernel: Kernel) -> CompiledObject:
    return kernel.compiled


def loaded(compiled: CompiledObject, pins: Path | None) -> Kernel:
    made = Kernel(compiled, pins)
    made.load()
    return made


def map_ids(kernel: Kernel) -> dict[str, int]:
    """Return the kernel's own ids of the maps: adopted ones are the same objects."""
    ids = {}
    for name, descriptor in kernel.maps.items():
        with open(f"/proc/self/fdinfo/{descriptor}") as text:
            ids[name] = next(int(line.split()[1]) for line in text if line.startswith("map_id"))
    return ids


def exists(map_id: int) -> bool:
    """Say whether the kernel still has this map (BPF_MAP_GET_FD_BY_ID)."""
    try:
        os.close(bpf.call(14, struct.pack("<III", map_id, 0, 0)))
    except FileNotFoundError:
        return False
    return True


def gone(map_id: int) -> bool:
    """Say whether it goes within a moment: the kernel frees maps after a grace period."""
    until = time.monotonic() + 3
    while exists(map_id) and time.monotonic() < until:
        time.sleep(0.01)
    return not exists(map_id)


def test_what_is_held_goes_when_it_is_closed(compiled: CompiledObject) -> None:
    made = loaded(compiled, None)
    ids = map_ids(made)
    assert all(exists(one) for one in ids.values())
    made.close()
    made.close()  # twice is fine
    assert all(gone(one) for one in ids.values())


def test_pins_are_found_again_with_all_that_is_in_them(compiled: CompiledObject, bpffs: Path) -> None:
    first = loaded(compiled, bpffs / "mesh")
    bpf.update(first.maps["services"], bytes(18), ServiceWords(7).pack())
    ids = map_ids(first)
    first.close()
    assert all(exists(one) for one in ids.values()), "pinned, so they live on"
    second = loaded(compiled, bpffs / "mesh")
    assert second.adopted
    assert map_ids(second) == ids
    assert bpf.look_up(second.maps["services"], bytes(18), SERVICE_BYTES) == ServiceWords(7).pack()
    second.close()


def test_pins_are_for_the_owner_alone(compiled: CompiledObject, bpffs: Path) -> None:
    loaded(compiled, bpffs / "mesh").close()
    assert (bpffs / "mesh" / "maps").stat().st_mode & 0o077 == 0
    assert {path.name for path in (bpffs / "mesh" / "maps").iterdir()} == {
        one.name for one in compiled.maps if one.name not in PER_NETNS
    }


def test_another_layout_is_refused_with_the_way_out(compiled: CompiledObject, bpffs: Path) -> None:
    first = loaded(compiled, bpffs / "mesh")
    bpf.update(first.maps["layout"], bytes(4), struct.pack("<I", LAYOUT_VERSION + 1))
    first.close()
    with pytest.raises(KernelRefused, match="meshtrio cleanup") as refused:
        loaded(compiled, bpffs / "mesh")
    assert f"layout {LAYOUT_VERSION + 1}, this version has {LAYOUT_VERSION}" in str(refused.value)
    assert len(list((bpffs / "mesh" / "maps").iterdir())) == len(compiled.maps) - len(PER_NETNS), "untouched"


def test_pins_that_a_predecessor_did_not_finish_are_made_anew(compiled: CompiledObject, bpffs: Path) -> None:
    """It died before `layout`, which is pinned last: nothing was attached yet."""
    first = loaded(compiled, bpffs / "mesh")
    ids = map_ids(first)
    first.close()
    (bpffs / "mesh" / "maps" / "layout").unlink()
    second = loaded(compiled, bpffs / "mesh")
    assert not second.adopted
    assert not set(map_ids(second).values()) & set(ids.values())
    second.close()
    third = loaded(compiled, bpffs / "mesh")
    assert third.adopted
    third.close()


def test_a_pin_that_somebody_took_away_is_an_error_not_a_crash(compiled: CompiledObject, bpffs: Path) -> None:
    loaded(compiled, bpffs / "mesh").close()
    (bpffs / "mesh" / "maps" / "ports").unlink()
    with pytest.raises(KernelRefused, match="No such file"):
        loaded(compiled, bpffs / "mesh")


def test_unpinning_leaves_nothing_pinned_or_attached(compiled: CompiledObject, bpffs: Path) -> None:
    made = loaded(compiled, bpffs / "mesh")
    ids = map_ids(made)
    with cgroup() as group:
        CgroupHooks(made, group, bpffs / "mesh" / "links" / "1").let_go()
        assert attached(group)
        made.unpin()
        assert vanished(group)
    assert list(bpffs.iterdir()) == []
    made.unpin()  # twice is fine
    made.close()
    assert all(gone(one) for one in ids.values())


def test_without_bpffs_it_says_so_and_leaves_nothing(compiled: CompiledObject, tmp_path: Path) -> None:
    with pytest.raises(KernelRefused, match="bpffs must be mounted"):
        loaded(compiled, tmp_path / "mesh")
    assert list(tmp_path.iterdir()) == []
