"""World. Programs at their places: all hooks or none, beside and below the programs of others."""

import contextlib
from pathlib import Path

import pytest

from meshtrio.intercept import bpf
from meshtrio.intercept.attachment import (
    CgroupHooks,
    ExclusiveAttach,
    NetnsHook,
    exclusive_holder,
    remove_pins,
)
from meshtrio.intercept.kernel import CGROUP_HOOKS, Kernel, KernelRefused
from tests.intercept.hooks import attached, foreign, opened_netns
from tests.support.namespace import Namespace
from tests.support.namespace_door import cgroup

pytestmark = [pytest.mark.world, pytest.mark.kernel]


def test_all_hooks_are_there_and_all_go(kernel: Kernel) -> None:
    with cgroup() as group:
        hooks = CgroupHooks(kernel, group, None)
        assert set(attached(group)) == set(CGROUP_HOOKS)
        hooks.detach()
        assert attached(group) == {}
        hooks.detach()  # twice is fine


def test_two_hooks_of_two_cgroups_do_not_meet(kernel: Kernel) -> None:
    with cgroup() as one, cgroup() as other:
        first, second = CgroupHooks(kernel, one, None), CgroupHooks(kernel, other, None)
        first.detach()
        assert attached(one) == {}
        assert set(attached(other)) == set(CGROUP_HOOKS)
        second.detach()


def test_a_program_attached_exclusively_above_is_named(kernel: Kernel) -> None:
    with cgroup() as above, cgroup(above) as group, foreign(above, 0):
        (holder,) = attached(above)["connect4"]
        with pytest.raises(ExclusiveAttach) as refused:
            CgroupHooks(kernel, group, None)
        said = str(refused.value)
        assert f"program {holder} is attached exclusively to {above} for connect4" in said
        assert str(group) in said
        assert "--rung nft" in said
        assert attached(group) == {}, "all hooks or none"


def test_a_program_attached_exclusively_to_the_very_cgroup_is_named(kernel: Kernel) -> None:
    for flags in (0, bpf.ALLOW_OVERRIDE):
        with cgroup() as group, foreign(group, flags):
            with pytest.raises(ExclusiveAttach, match=f"exclusively to {group} for connect4"):
                CgroupHooks(kernel, group, None)
            assert set(attached(group)) == {"connect4"}, "the other's, and nothing of ours"


@pytest.mark.parametrize("flags", [bpf.ALLOW_OVERRIDE, bpf.ALLOW_MULTI])
def test_a_program_above_that_allows_ours_is_fine(kernel: Kernel, flags: int) -> None:
    with cgroup() as above, cgroup(above) as group, foreign(above, flags):
        hooks = CgroupHooks(kernel, group, None)
        assert exclusive_holder(group) is None
        assert set(attached(group)) == set(CGROUP_HOOKS)
        hooks.detach()


def test_a_program_beside_ours_is_fine(kernel: Kernel) -> None:
    with cgroup() as group, foreign(group, bpf.ALLOW_MULTI):
        CgroupHooks(kernel, group, None).detach()
        assert set(attached(group)) == {"connect4"}


def test_pins_elsewhere_than_in_bpffs_refuse_and_leave_nothing(kernel: Kernel, tmp_path: Path) -> None:
    with cgroup() as group:
        with pytest.raises(KernelRefused, match="cannot attach"):
            CgroupHooks(kernel, group, tmp_path / "links")
        assert attached(group) == {}
    refused = pytest.raises(KernelRefused, match="cannot attach sk_lookup")
    with Namespace() as space, opened_netns(space) as netns, refused:
        NetnsHook(kernel, netns, tmp_path / "netns", closed=False)
    assert list(tmp_path.iterdir()) == []


def test_a_namespace_that_has_no_room_for_our_hook_refuses(kernel: Kernel, bpffs: Path) -> None:
    """The kernel takes 64 programs a namespace."""
    with contextlib.ExitStack() as stack:
        netns = stack.enter_context(opened_netns(stack.enter_context(Namespace())))
        for number in range(64):
            stack.callback(NetnsHook(kernel, netns, bpffs / str(number), closed=False).detach)
        with pytest.raises(KernelRefused, match="cannot attach sk_lookup"):
            NetnsHook(kernel, netns, bpffs / "one more", closed=False)
        assert len(list(bpffs.iterdir())) == 64, "no pins of the one that was refused"
    assert list(bpffs.iterdir()) == []


def test_removing_pins_that_are_not_there_is_fine(tmp_path: Path) -> None:
    remove_pins(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
