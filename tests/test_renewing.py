"""Ring 2. Certificates on disk are used after a restart, if they are still of use."""

# ruff: noqa: ASYNC240 - looking at a small file takes no time

import logging
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from meshtrio.identity.spiffe import parse
from meshtrio.issuers.cache import Cache
from meshtrio.issuers.issuer import Issued, Wanted
from meshtrio.issuers.signing import Signer, fresh_root
from tests.support.bearers import WEB, Node, living
from tests.support.identities import DAY_S, NOW


def kept(node: Node, folder: Path, *, age_s: float = 0.0) -> Issued:
    """Leave a certificate on disk, as if an agent had done so before."""
    wanted = Wanted(parse(WEB), "web", DAY_S)
    made = Signer().issue(node.clerk.authority, wanted, NOW - age_s, 300.0)
    Cache(folder / "cache").save(made)
    return made


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(cache="disk", directory=str(tmp_path))


async def test_a_certificate_of_before_is_used_while_the_authority_is_down(
    node: Node, tmp_path: Path
) -> None:
    before = kept(node, tmp_path)
    node.clerk.down = "no answer"
    async with living(node):
        await node.enter()
        assert node.credentials[1].chain == before.chain
        assert node.identities.bearers[1].source == "cache"
        assert str(node.proves()) == WEB


async def test_the_roots_of_before_hold_while_the_authority_is_away(node: Node, tmp_path: Path) -> None:
    """Without them a certificate on disk would prove nothing, and nobody would be believed."""
    node.clerk.takes_s = 0
    async with living(node):
        await node.enter()
        with trio.fail_after(2):
            while Cache(tmp_path / "cache").load_roots("td") is None:
                await trio.sleep(0.01)
    again = Node(cache="disk", directory=str(tmp_path))

    async def silent(news: object, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await trio.sleep_forever()

    again.clerk.down, again.clerk.run = "no answer", silent  # type: ignore[method-assign]
    async with living(again):
        await again.enter()
        assert again.trusted.bundles == node.trusted.bundles != {}
        assert str(again.proves()) == WEB


async def test_past_two_thirds_another_is_asked_for_at_once(node: Node, tmp_path: Path) -> None:
    before = kept(node, tmp_path, age_s=0.8 * DAY_S)
    node.clerk.takes_s = 0
    async with living(node):
        await node.enter()
        with trio.fail_after(2):
            while node.credentials[1].chain == before.chain:
                await trio.sleep(0.01)
        assert str(node.proves()) == WEB


@pytest.mark.parametrize("why", ["another root", "ended", "broken"])
async def test_what_is_of_no_use_is_not_used(node: Node, tmp_path: Path, why: str) -> None:
    before = kept(node, tmp_path, age_s=2 * DAY_S if why == "ended" else 0.0)
    if why == "another root":
        node.clerk.authority = fresh_root("td", NOW, 300)
    if why == "broken":
        (path,) = (tmp_path / "cache").iterdir()
        path.write_bytes(b"{")
    node.clerk.takes_s = 0
    async with living(node):
        await node.enter()
        assert node.serves() and node.credentials[1].chain != before.chain
        assert node.identities.bearers[1].source == "clerk"


async def test_a_new_certificate_is_kept(node: Node, tmp_path: Path) -> None:
    node.clerk.takes_s = 0
    async with living(node):
        await node.enter()
        with trio.fail_after(2):
            while not Cache(tmp_path / "cache").load(NOW):
                await trio.sleep(0.01)
        assert Cache(tmp_path / "cache").load(NOW)[WEB].chain == node.credentials[1].chain


async def test_a_disk_that_refuses_costs_nothing_but_a_word(
    node: Node, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("in the way")
    node.clerk.takes_s = 0
    async with living(node):
        with caplog.at_level(logging.WARNING, "meshtrio"):
            await node.enter()
            await trio.sleep(0.1)
        assert node.serves()
    assert "a certificate cannot be kept on disk" in caplog.text


async def test_nothing_is_written_unless_it_is_asked_for(tmp_path: Path) -> None:
    node = Node(cache="memory", directory=str(tmp_path))
    node.clerk.takes_s = 0
    async with living(node):
        await node.enter()
        await trio.sleep(0.05)
    assert list(tmp_path.iterdir()) == []


async def test_a_certificate_serves_no_longer_than_other_clocks_may_differ(autojump_clock: MockClock) -> None:
    """Later nobody would believe it, and connections would fail at the other side, with no reason here."""
    node = Node(skew_s=0.0, life_s=1000.0)
    async with living(node):
        await node.enter()
        while not node.serves():
            await trio.sleep(0.1)
        node.clerk.down = "no answer"
        await trio.sleep(995)
        assert node.serves()
        await trio.sleep(70)
        assert not node.serves()
        assert "expired" in node.credentials[1].why
        node.identities.reconfigure(replace(node.identities.settings, skew_s=3600.0))
        await trio.sleep(1)
        assert node.serves()
