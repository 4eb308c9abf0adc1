"""World. Workloads of a crashed agent that are there no more: they are named, and their remains go."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from msgspec.structs import replace

from meshtrio.intercept import nft_errand
from meshtrio.intercept.kernel import Kernel, pinned_folders
from meshtrio.intercept.tables import Ports
from meshtrio.intercept.workload import Kept, Spec
from tests.intercept.hooks import another
from tests.intercept.node import Place, a_place, another_place, node, path_of, remains
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.kernel, pytest.mark.world]


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


async def test_the_lost_cost_errands_by_namespace_not_by_number(
    kernel: Kernel, place: Place, bpffs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errands: list[str] = []
    send = nft_errand.Child.send

    async def counted(child: Any, errand: Any, *rest: Any, **more: Any) -> Any:
        errands.append(type(errand).__name__)
        return await send(child, errand, *rest, **more)

    monkeypatch.setattr(nft_errand.Child, "send", counted)
    inode = os.fstat(place.space.fd).st_ino
    gone = Spec(name="gone", cgroup="/nowhere", netns=path_of(place.space))
    kept = [Kept(replace(gone, name=f"gone-{one}"), one, inode, "nft") for one in range(1, 21)]
    (tmp_path / "workloads.json").write_bytes(msgspec.json.encode(kept))
    async with node(kernel) as made:
        made.registry.list_path = tmp_path / "workloads.json"
        assert len(await made.registry.adopt()) == 20
    assert errands == ["Remove", "Tables", "Lift"]


async def test_what_cannot_be_adopted_is_named_and_its_remains_go(
    kernel: Kernel, place: Place, bpffs: Path, tmp_path: Path
) -> None:
    """A namespace that was replaced by another one under the same path, and a cgroup that has gone."""
    path = tmp_path / "netns"
    path.symlink_to(path_of(place.space))
    with another(kernel, bpffs) as first, Namespace() as replacement:
        async with node(first, show_callers=True) as crashed:
            crashed.registry.list_path = tmp_path / "workloads.json"
            with another_place(place.space) as doomed:
                spec = Spec(name="pod", ports=(9001,), cgroup=str(place.group), netns=str(path))
                pod = await crashed.registry.add(spec)
                assert Ports(first.maps["ports"]).listener(pod.site.netns.id, 9001) == pod.id
                await crashed.registry.add(doomed.spec("doomed"))
                crashed.registry.let_go()
                crashed.registry._workloads.clear()
                crashed.registry._sites.clear()
                crashed.told.clear()
        path.unlink()
        path.symlink_to(path_of(replacement))
        with another(kernel, bpffs) as second:
            async with node(second) as made:
                made.registry.list_path = tmp_path / "workloads.json"
                lost = await made.registry.adopt()
                assert len(lost) == 2
                assert f"pod: the network namespace {path} has been replaced" in lost[0]
                assert "not a cgroup v2" in lost[1]
                assert len(made.registry) == 0
                assert Ports(second.maps["ports"]).listened() == {}, "their numbers may become others'"
            with trio.fail_after(5):
                while place.remains():  # the kernel frees links in its own time
                    await trio.sleep(0.05)
            assert remains(replacement) == []
            assert list(pinned_folders(bpffs, "links")) == list(pinned_folders(bpffs, "netns")) == []
            second.unpin()
