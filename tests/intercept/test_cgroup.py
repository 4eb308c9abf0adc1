"""World. Control groups of the running kernel: found, made, entered, removed."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.intercept import cgroup
from tests.support.namespace_door import cgroup as made_group

pytestmark = pytest.mark.world


@pytest.fixture
def group() -> Iterator[Path]:
    path = cgroup.create(f"test_{os.getpid()}")
    yield path
    cgroup.remove(path)


@pytest.fixture
def sleeper(group: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in the group."""
    with subprocess.Popen(["sleep", "60"]) as process:
        cgroup.enter(group, process.pid)
        yield process
        process.kill()


def test_the_mount_point_is_a_cgroup2() -> None:
    mount = cgroup.mount_point()
    assert (mount / "cgroup.controllers").exists()
    assert not (mount / "cgroup.events").exists(), "the root of the hierarchy"


def said_elsewhere(*lines: str) -> str:
    """Run lines in a mount namespace of their own, where they may spoil all; say what they print."""
    script = "\n".join(("import subprocess", "from meshtrio.intercept import cgroup", *lines))
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(cgroup.__file__).parents[2],
        timeout=60,
    )
    return done.stdout


def test_without_cgroup_v2_it_says_how_to_mount_it() -> None:
    told = said_elsewhere(
        "subprocess.run(['umount', '-l', str(cgroup.mount_point())], check=True)",
        "try: cgroup.mount_point()",
        "except cgroup.CgroupError as error: print(error)",
    )
    assert "cgroup v2 is not mounted; mount it with" in told


def test_create_makes_it_once_and_uses_it_again(group: Path) -> None:
    assert group.parent.name == cgroup.OURS
    assert (group / "cgroup.procs").exists()
    before = cgroup.identifier(group)
    assert cgroup.identifier(cgroup.create(group.name)) == before


def test_without_root_create_says_so() -> None:
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        try:
            cgroup.create("not_root")
        except cgroup.CgroupError as error:
            os._exit(int("needs root" in str(error)))
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_a_mount_that_cannot_be_written_is_not_about_root() -> None:
    """As in a container."""
    told = said_elsewhere(
        "mount = str(cgroup.mount_point())",
        "subprocess.run(['mount', '-o', 'remount,bind,ro', mount], check=True)",
        "try: cgroup.create('mesh_test_ro')",
        "except cgroup.CgroupError as error: print(error)",
    )
    assert told.endswith(
        ": Read-only file system (as in a container without privileges; it must be mounted to be written)\n"
    )


def test_create_and_remove_may_race_with_another_process() -> None:
    """`remove` takes the last group's parent away, perhaps in the middle of a `create`."""
    failed: list[BaseException] = []

    def loop(name: str) -> None:
        try:
            for _ in range(150):
                assert cgroup.remove(cgroup.create(name))
        except BaseException as error:  # noqa: BLE001 (told by the main thread)
            failed.append(error)

    threads = [threading.Thread(target=loop, args=(f"race_{os.getpid()}_{at}",)) for at in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_group_can_be_given_in_three_ways(group: Path) -> None:
    name = f"{group.parent.name}/{group.name}"
    for text in (str(group), f"/{name}", name):
        assert cgroup.given(text) == group


@pytest.mark.parametrize("text", ["nowhere", "/etc", "meshtrio/../..", "/proc/self/../../etc"])
def test_what_is_no_group_is_refused(text: str) -> None:
    with pytest.raises(cgroup.CgroupError, match="is not a cgroup v2 under"):
        cgroup.given(text)


@pytest.mark.parametrize("text", ["/", ""])
def test_the_root_is_refused(text: str) -> None:
    with pytest.raises(cgroup.CgroupError, match="root cgroup"):
        cgroup.given(text)


def test_a_process_is_moved_and_found(group: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    assert cgroup.processes(group) == [sleeper.pid]
    below = group / "below"
    below.mkdir()
    cgroup.enter(below, sleeper.pid)
    assert cgroup.processes(group) == [sleeper.pid], "also in a group below"
    assert not cgroup.remove(group, patience_s=0.1)
    cgroup.enter(group, sleeper.pid)
    below.rmdir()


def test_a_process_that_is_gone_cannot_be_moved(group: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    sleeper.kill()
    sleeper.wait()
    with pytest.raises(cgroup.CgroupError, match=f"cannot move process {sleeper.pid} into"):
        cgroup.enter(group, sleeper.pid)


def test_a_group_that_is_gone_has_no_processes(group: Path) -> None:
    cgroup.remove(group)
    assert cgroup.processes(group) == []
    with pytest.raises(cgroup.CgroupError, match="cannot move process self"):
        cgroup.enter(group)


def test_our_own_group_is_refused() -> None:
    with made_group() as group, made_group(group) as below, made_group() as other:
        pid = os.fork()
        if pid == 0:
            verdicts = 0
            cgroup.enter(below)
            for bit, path in enumerate((group, below, other)):
                try:
                    cgroup.refuse_own(path)
                except cgroup.CgroupError:
                    verdicts |= 1 << bit
            os._exit(verdicts)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0b011


def test_identifier_and_depth(group: Path) -> None:
    assert cgroup.identifier(group) == group.stat().st_ino
    assert cgroup.depth(group) == 2
    assert cgroup.depth(cgroup.mount_point()) == 0


def test_one_that_was_made_anew_is_another_and_none_is_no_other() -> None:
    with made_group() as parent:
        path = parent / "unit"
        path.mkdir()
        first = cgroup.identifier(path)
        assert not cgroup.is_another(path, first)
        path.rmdir()
        assert not cgroup.is_another(path, first)
        path.mkdir()
        assert cgroup.is_another(path, first)
        path.rmdir()


def test_remove_waits_for_a_process_that_is_ending(group: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    sleeper.kill()
    sleeper.wait()
    assert cgroup.remove(group)
    assert not group.exists()


def test_remove_tells_when_somebody_is_in_it(group: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    started = time.monotonic()
    assert not cgroup.remove(group)
    assert time.monotonic() - started < 0.5, "there is nothing to wait for"
    assert group.exists()


def test_remove_of_what_is_gone_is_fine(group: Path) -> None:
    assert cgroup.remove(group)
    assert cgroup.remove(group)


def test_a_group_of_others_keeps_its_parent() -> None:
    with made_group() as parent:
        child = parent / "child"
        child.mkdir()
        assert cgroup.remove(child)
        assert parent.exists()
