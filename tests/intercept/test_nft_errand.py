"""World. A child that refuses, breaks, hangs or is misled ends as one clear exception, and is gone."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from meshtrio.intercept import nft_errand, nft_request
from meshtrio.intercept.nft_errand import Child
from meshtrio.intercept.nft_plan import OwnedTable
from meshtrio.intercept.nft_request import ErrandRefused, NftRefused
from tests.support import leaks
from tests.support.namespace import Namespace

pytestmark = pytest.mark.world

Made = Callable[[str], Child]
REAL = Child("meshtrio.intercept.nft_child", NftRefused)


@pytest.fixture
def child_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Make children from a text."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(text: str) -> Child:
        name = f"child_{len(list(tmp_path.iterdir()))}"
        (tmp_path / f"{name}.py").write_text(text)
        return Child(name, NftRefused)

    return make


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise SystemExit(3)", "ended with code 3"),
        ("import nothing_like_it", "ended with code 1: ModuleNotFoundError.*nothing_like_it"),
        ("print('not json'); raise SystemExit", "ended with code 0"),
        ("import os; os.kill(os.getpid(), 9)", "ended with code -9"),
        ('print(\'{"refused": {"feature": "x", "advice": "y"}}\')', "^x: y$"),
    ],
)
async def test_however_the_child_ends_there_is_one_exception(child_of: Made, text: str, words: str) -> None:
    child: Child = child_of(text)
    with pytest.raises(NftRefused, match=words):
        await child.send(nft_request.Tables(), None, answer=list[str])


async def test_a_missing_library_is_named(child_of: Made) -> None:
    text = "import meshtrio.intercept.nft_request as r\nERRAND = r.Errand\ndef act(_): import pyroute9\n"
    with pytest.raises(NftRefused, match="Python package pyroute9: install it for " + sys.executable):
        await child_of(text).send(nft_request.Tables(), None, answer=list[str])


async def test_a_child_that_hangs_is_given_up(child_of: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft_errand, "ERRAND_S", 0.3)
    with pytest.raises(NftRefused, match=r"did not answer in 0\.3 s"):
        await child_of("import time; time.sleep(60)").send(nft_request.Tables(), None, answer=int)


async def test_when_cancelled_the_child_is_gone(child_of: Made) -> None:
    with trio.move_on_after(0.2) as scope:
        await child_of("import time; time.sleep(60)").send(nft_request.Tables(), None, answer=int)
    assert scope.cancelled_caught
    assert leaks.children_of(os.getpid()) == frozenset()


async def test_the_child_enters_the_namespace() -> None:
    with Namespace() as space:
        space.command("nft", 'add table inet meshtrio_x { comment "meshtrio owner=me"; }')
        found = await REAL.send(nft_request.Tables(), space.fd, answer=list[OwnedTable])
        assert [(one.workload, one.owner) for one in found] == [("x", "me")]


async def test_a_descriptor_that_is_no_namespace_is_refused() -> None:
    async with await trio.open_file("/proc/self/mounts") as wrong:
        with pytest.raises(ErrandRefused, match=r"network namespace \(EINVAL\)"):
            await REAL.send(nft_request.Tables(), wrong.fileno(), answer=list[str])


async def test_the_child_is_found_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Namespace() as space:
        assert await REAL.send(nft_request.Tables(), space.fd, answer=list[str]) == []
