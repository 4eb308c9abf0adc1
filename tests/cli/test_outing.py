"""One run of a command: its code, and what becomes of what it leaves behind. Without a mesh."""

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from meshtrio.cli.child import emptied, populated
from meshtrio.cli.membership import Membership
from meshtrio.cli.outing import Outing
from meshtrio.intercept import cgroup

pytestmark = pytest.mark.world


@pytest.fixture
def group() -> Iterator[Path]:
    path = cgroup.create(f"cli-outing-{os.getpid()}")
    yield path
    until = time.monotonic() + 5
    while populated(path) and time.monotonic() < until:
        time.sleep(0.05)
    assert cgroup.remove(path)


@contextlib.asynccontextmanager
async def place(group: Path) -> AsyncIterator[Membership]:
    member = Membership(group)
    yield member
    member.connections = [{"caught": 1}]


async def test_the_code_and_what_was_caught(group: Path) -> None:
    outing = Outing(["sh", "-c", "exit 4"], "", -1, wait=True)
    assert await outing.run(lambda: place(group)) == (4, [{"caught": 1}])


async def test_a_signal_while_the_mesh_is_made_keeps_the_command_from_starting(
    group: Path, tmp_path: Path
) -> None:
    outing = Outing(["touch", str(tmp_path / "x")], "", -1, wait=True)

    @contextlib.asynccontextmanager
    async def slow() -> AsyncIterator[Membership]:
        os.kill(os.getpid(), signal.SIGTERM)
        await outing.child.interrupted.wait()
        yield Membership(group)

    assert await outing.run(slow) == (143, [])
    assert not (tmp_path / "x").exists()


async def test_waiting_for_those_left_and_not(group: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for wait, atleast_s in ((True, 0.8), (False, 0.0)):
        began = time.monotonic()
        outing = Outing(["sh", "-c", "sleep 1 & exit 2"], "", -1, wait=wait)
        assert (await outing.run(lambda: place(group)))[0] == 2
        assert atleast_s <= time.monotonic() - began < atleast_s + 5
        said = capfd.readouterr().err
        assert ("until that ends" if wait else "goes on without the mesh") in said


async def test_an_interrupt_ends_the_serving(
    group: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outing = Outing(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/left; exit 2"], "", -1, wait=True)

    async def interrupt() -> None:
        while not outing.child.ended:
            await trio.sleep(0.02)
        await trio.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(interrupt)
        with trio.fail_after(10):
            assert (await outing.run(lambda: place(group)))[0] == 2
    os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)
    await emptied(group)
    assert "it goes on without the mesh" in capfd.readouterr().err
