"""World. The CA inside an agent: real files, real threads, the real clock."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from meshtrio.config.identity import Identity
from meshtrio.discover import file
from meshtrio.identity.bundle import Bundle
from meshtrio.identity.ca import Authority
from meshtrio.identity.chain import verify
from meshtrio.identity.refusal import Refused
from meshtrio.identity.spiffe import parse
from meshtrio.identity.trust import Trust
from meshtrio.issuers import embedded as module
from meshtrio.issuers.embedded import Embedded
from meshtrio.issuers.issuer import Issued, IssueError, Wanted
from meshtrio.issuers.root_file import own_place
from meshtrio.issuers.signing import SIGNING_LIVES, fresh_root
from tests.issuers.test_root_file import give
from tests.support.desk import eventually
from tests.support.identities import DAY_S, NOW

WEB = parse("spiffe://td/ns/shop/sa/web")
WANTED = Wanted(WEB, "web", DAY_S)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(file, "SETTLE_S", 0.01)
    monkeypatch.setattr(module, "AGAIN_MOST_S", 0.05)


class Ca:
    """A CA, its clock, and what is trusted because of it."""

    def __init__(self, **settings: str | float) -> None:
        self.settings = replace(Identity(trust_domain="td"), **settings)
        self.wall = NOW
        self.embedded = Embedded(lambda: self.settings, lambda: self.wall)
        self.bundles: list[Bundle] = []

    def hear(self, news: Bundle | Issued) -> None:
        assert isinstance(news, Bundle)
        self.bundles.append(news)

    def roots(self) -> set[int]:
        return {one.serial for one in self.bundles[-1].anchors}

    def proves(self, made: Issued) -> bool:
        try:
            verify(made.chain, Trust("td").with_own(self.bundles[-1]), self.wall, expected=WEB)
        except Refused:
            return False
        return True


@contextlib.asynccontextmanager
async def running(ca: Ca) -> AsyncIterator[Embedded]:
    async with trio.open_nursery() as nursery:
        with trio.fail_after(5):
            await nursery.start(ca.embedded.run, ca.hear)
        yield ca.embedded
        nursery.cancel_scope.cancel()


async def test_a_root_on_disk_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first, second = Ca(directory=str(tmp_path)), Ca(directory=str(tmp_path))
    async with running(first) as embedded:
        made = await embedded.issue(WANTED)
        assert first.proves(made)
    async with running(second) as embedded:
        assert second.roots() == first.roots()
        assert second.proves(made)
        again = await embedded.issue(WANTED)
        assert again.chain[1] != made.chain[1], "a signing certificate of its own for each start"


async def test_a_root_in_memory_is_another_after_a_restart() -> None:
    first, second = Ca(directory=""), Ca(directory="")
    for ca in (first, second):
        async with running(ca) as embedded:
            assert ca.proves(await embedded.issue(WANTED))
    assert first.roots() != second.roots()


async def test_a_broken_root_is_said_and_mended_while_it_runs(tmp_path: Path) -> None:
    ca, place = Ca(directory=str(tmp_path)), own_place(str(tmp_path))
    async with running(Ca(directory=str(tmp_path))):
        pass
    whole = place.key.read_bytes()
    place.key.write_bytes(whole[:90])
    async with running(ca) as embedded:
        assert "root.key" in embedded.fault
        with pytest.raises(IssueError, match=r"root\.key is no private key.*restore root\.key"):
            await embedded.issue(WANTED)
        with pytest.raises(IssueError, match="root"):
            await embedded.rotate_root()
        assert place.key.read_bytes() == whole[:90]
        place.key.write_bytes(whole)
        await eventually(lambda: not embedded.fault)
        assert ca.proves(await embedded.issue(WANTED))


async def test_too_many_roots_are_said_too(tmp_path: Path) -> None:
    place, signs = own_place(str(tmp_path)), fresh_root("td", NOW, 300)
    give(place, signs, *(fresh_root("td", NOW, 300) for _ in range(32)), signs=signs)
    async with running(Ca(directory=str(tmp_path))) as embedded:
        assert "33 roots in one trust domain" in embedded.fault


async def test_a_given_root(tmp_path: Path) -> None:
    place, given = own_place(str(tmp_path)), fresh_root("td", NOW, 300)
    give(place, given, signs=given)
    ca = Ca(root_certificate=str(place.certificates), root_key=str(place.key))
    async with running(ca) as embedded:
        assert ca.roots() == {given.certificate.serial}
        assert ca.proves(await embedded.issue(WANTED))
        with pytest.raises(IssueError, match="put the new root beside the old one"):
            await embedded.rotate_root()


async def test_an_id_of_another_trust_domain_is_refused() -> None:
    async with running(Ca(directory="")) as embedded:
        with pytest.raises(IssueError, match="does not sign for spiffe://other/a"):
            await embedded.issue(Wanted(parse("spiffe://other/a"), "a", DAY_S))


# Rotation of the root


@pytest.mark.parametrize("kept", ["disk", "memory"])
async def test_another_root_signs_and_the_old_one_is_trusted(tmp_path: Path, kept: str) -> None:
    ca = Ca(directory=str(tmp_path) if kept == "disk" else "")
    async with running(ca) as embedded:
        old, before = await embedded.issue(WANTED), ca.roots()
        serial = int(await embedded.rotate_root(), 16)
        assert ca.roots() == before | {serial}
        new = await embedded.issue(WANTED)
        assert ca.proves(old) and ca.proves(new)
        only_new = Trust("td").with_own(ca.bundles[-1].without_anchor(ca.bundles[0].anchors[0]))
        assert verify(new.chain, only_new, NOW).spiffe_id == WEB
        with pytest.raises(Refused):
            verify(old.chain, only_new, NOW)
    if kept == "disk":
        again = Ca(directory=str(tmp_path))
        async with running(again) as embedded:
            assert again.roots() == ca.roots()
            assert verify((await embedded.issue(WANTED)).chain, only_new, NOW).spiffe_id == WEB


async def test_a_root_beside_the_old_one_is_trusted_at_once_and_signs_when_told(tmp_path: Path) -> None:
    place = own_place(str(tmp_path))
    old, new = fresh_root("td", NOW, 300), fresh_root("td", NOW, 300)
    give(place, old, signs=old)
    ca = Ca(root_certificate=str(place.certificates), root_key=str(place.key))
    both = {old.certificate.serial, new.certificate.serial}
    async with running(ca) as embedded:
        give(place, old, new, signs=old)
        await eventually(lambda: ca.roots() == both)
        give(place, old, new, signs=new)
        await trio.sleep(0.1)
        assert await signs(embedded, old), "not before it is told"
        assert int(await embedded.rotate_root(), 16) == new.certificate.serial
        assert await signs(embedded, new)
        give(place, new, signs=new)
        await eventually(lambda: ca.roots() == {new.certificate.serial})


async def signs(embedded: Embedded, root: Authority) -> bool:
    from meshtrio.identity.bundle import make_bundle

    made = await embedded.issue(WANTED)
    try:
        verify(made.chain, Trust("td").with_own(make_bundle("td", (root.certificate,))), NOW)
    except Refused:
        return False
    return True


@pytest.mark.parametrize(
    "spoil",
    [Path.unlink, lambda path: path.write_bytes(b"x"), lambda path: path.write_bytes(b"")],
    ids=["gone", "rubbish", "empty"],
)
async def test_roots_that_are_spoilt_while_it_runs_change_nothing(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    ca = Ca(directory=str(tmp_path))
    async with running(ca) as embedded:
        before = ca.roots()
        spoil(tmp_path / "root.pem")
        await trio.sleep(0.15)
        assert ca.roots() == before
        assert ca.proves(await embedded.issue(WANTED))


async def test_the_root_that_signs_cannot_be_taken_out(tmp_path: Path) -> None:
    ca, place = Ca(directory=str(tmp_path)), own_place(str(tmp_path))
    async with running(ca) as embedded:
        before = ca.roots()
        other = fresh_root("td", NOW, 300)
        place.certificates.write_bytes(other.certificate.pem)
        await eventually(lambda: ca.roots() == before | {other.certificate.serial})
        assert ca.proves(await embedded.issue(WANTED))


async def test_an_old_root_goes_when_what_it_signed_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRUNE_S", 0.05)
    ca = Ca(directory="")
    async with running(ca) as embedded:
        serial = int(await embedded.rotate_root(), 16)
        ca.wall += SIGNING_LIVES * DAY_S
        await trio.sleep(0.2)
        assert len(ca.roots()) == 2, "what it signed may live"
        ca.wall += 601
        await eventually(lambda: ca.roots() == {serial})
        assert ca.proves(await embedded.issue(WANTED))
