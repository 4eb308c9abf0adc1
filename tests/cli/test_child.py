"""The command of `meshtrio exec`, in a cgroup without any mesh."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from meshtrio.cli.child import Child, caught_signals, emptied, known_user, own_netns_inode, populated
from meshtrio.intercept import cgroup
from tests.support.signals import ignored_by_inheritance


@pytest.fixture
def group() -> Iterator[Path]:
    path = cgroup.create(f"cli-child-{os.getpid()}")
    yield path
    assert cgroup.remove(path)


async def signals(*numbers: int, after_s: float = 0.0) -> AsyncIterator[int]:
    await trio.sleep(after_s)
    for number in numbers:
        yield number


@pytest.mark.world
@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("exit 5", 5), ("kill -9 $$", 137), ("kill $$", 143)]
)
async def test_its_code_is_a_shells(group: Path, command: str, code: int) -> None:
    assert await Child(["sh", "-c", command], "", -1).run(group) == code


@pytest.mark.world
async def test_signals_are_forwarded_while_it_runs(group: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = Child(["sh", "-c", f"trap 'exit 9' USR1; touch {ready}; while :; do sleep 0.05; done"], "", -1)

    async def send() -> None:
        while not ready.exists():
            await trio.sleep(0.02)
        await child.forward(signals(signal.SIGUSR1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await child.run(group) == 9
    assert child.ended
    assert not child.interrupted.is_set()


@pytest.mark.world
async def test_a_signal_after_its_end_is_for_us(group: Path) -> None:
    child = Child(["true"], "", -1)
    assert not child.ended
    await child.run(group)
    await child.forward(signals(signal.SIGTERM))
    assert child.interrupted.is_set()
    assert child.signal == signal.SIGTERM


@pytest.mark.world
async def test_a_signal_before_its_start_ends_it(group: Path) -> None:
    child = Child(["sleep", "60"], "", -1)
    await child.forward(signals(signal.SIGTERM))
    assert child.interrupted.is_set()
    with trio.fail_after(10):
        assert await child.run(group) == 143


@pytest.mark.world
async def test_descriptors_that_we_were_given_are_passed_on_and_ours_are_not(
    group: Path, tmp_path: Path
) -> None:
    with (tmp_path / "given").open("wb") as given, (tmp_path / "ours").open("wb"):
        os.set_inheritable(given.fileno(), True)
        child = Child(
            ["bash", "-c", f"ls -l /proc/self/fd > {tmp_path}/list; echo written >&{given.fileno()}"], "", -1
        )
        assert await child.run(group) == 0
    assert (tmp_path / "given").read_text() == "written\n"
    listed = (tmp_path / "list").read_text()
    assert str(tmp_path / "given") in listed
    assert str(tmp_path / "ours") not in listed


@pytest.mark.world
async def test_signals_are_not_ignored_that_nobody_ignores(group: Path, tmp_path: Path) -> None:
    child = Child(["sh", "-c", f"grep SigIgn /proc/self/status > {tmp_path}/ignored"], "", -1)
    await child.run(group)
    assert (tmp_path / "ignored").read_text().split()[1] == f"{ignored_by_inheritance():016x}"


@pytest.mark.world
async def test_an_empty_cgroup_is_waited_for(group: Path) -> None:
    assert not populated(group)
    await Child(["sh", "-c", "sleep 0.3 & exit 0"], "", -1).run(group)
    assert populated(group)
    with trio.fail_after(10):
        await emptied(group)
    assert not populated(group)
    assert not populated(group / "gone")


def test_what_is_ignored_is_not_caught() -> None:
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} <= set(caught_signals())
    was = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in caught_signals()
    finally:
        signal.signal(signal.SIGHUP, was)


def test_users() -> None:
    assert known_user("root") and known_user("0")
    assert not known_user("no-such-user") and not known_user("99999999999999")
    assert not known_user("")


def test_our_namespace_has_a_number() -> None:
    assert own_netns_inode() == Path("/proc/self/ns/net").stat().st_ino
