"""World. Whom a node believes: real files that change, are spoilt, and come back; bundles over HTTPS."""

import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from meshtrio import trusting as module
from meshtrio.config.identity import Federated, Identity
from meshtrio.discover import file
from meshtrio.identity.bundle import make_bundle, write_bundle
from meshtrio.identity.revocation import Revocations, write
from meshtrio.identity.spiffe import parse
from meshtrio.identity.trust import Trust
from meshtrio.messages import Trusted
from meshtrio.trusting import Trusting, trusted
from tests.issuers.test_bundle_fetch import Endpoint
from tests.issuers.test_bundle_fetch import endpoint as endpoint
from tests.support.desk import eventually
from tests.support.identities import root, trust

WEB = parse("spiffe://td/ns/shop/sa/web")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(file, "SETTLE_S", 0.01)


class Board:
    """What was told."""

    def __init__(self, **settings: object) -> None:
        self.settings = replace(Identity(trust_domain="td"), **settings)
        self.told: list[Trust] = []
        self.trusting = Trusting(self.settings, self.told.append)
        self.trusting.own(make_bundle("td", (root().certificate,)))

    def domains(self) -> set[str]:
        return set(self.trusting.trust.bundles)

    def reconfigure(self, **settings: object) -> None:
        self.settings = replace(self.settings, **settings)
        self.trusting.reconfigure(self.settings)


@contextlib.asynccontextmanager
async def running(board: Board) -> AsyncIterator[Trusting]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(board.trusting.run)
        yield board.trusting
        nursery.cancel_scope.cancel()


def put(path: Path, text: bytes) -> None:
    fresh = path.with_suffix(".fresh")
    fresh.write_bytes(text)
    fresh.replace(path)


async def test_revocations_follow_their_file(tmp_path: Path) -> None:
    path = tmp_path / "revoked.json"
    path.write_bytes(write(Revocations().with_serial(7)))
    board = Board(revocations=str(path))
    async with running(board) as trusting:
        await eventually(lambda: trusting.trust.revocations.serials == {7: math.inf})
        put(path, b'{"revoked": [{"id": "spiffe://td/ns/shop/sa/web"}]}')
        await eventually(lambda: trusting.trust.revocations.ids == {WEB: math.inf})
        put(path, b'{"revoked": [{"id": "nobody"}]}')
        await eventually(lambda: "revocations" in trusting.faults)
        assert trusting.trust.revocations.ids == {WEB: math.inf}, "the last good list holds"
        path.unlink()
        await eventually(lambda: "No such file" in trusting.faults["revocations"])
        assert trusting.trust.revocations.ids == {WEB: math.inf}
        put(path, b'{"revoked": []}')
        await eventually(lambda: not trusting.faults)
        assert len(trusting.trust.revocations) == 0


async def test_a_federated_bundle_follows_its_file(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    board = Board(federated=(Federated("other", str(path)),))
    async with running(board) as trusting:
        await eventually(lambda: "other" in trusting.faults)
        put(path, write_bundle(make_bundle("other", (root("other").certificate,), 2)))
        await eventually(lambda: board.domains() == {"td", "other"} and not trusting.faults)
        put(path, write_bundle(make_bundle("other", (root("other", 2).certificate,), 1)))
        await eventually(lambda: "is old" in trusting.faults.get("other", ""))
        put(path, b"{")
        await eventually(lambda: "cannot be read" in trusting.faults["other"])
        assert trusting.trust.bundles["other"].anchors == (root("other").certificate,)
        board.reconfigure(federated=())
        await eventually(lambda: board.domains() == {"td"})
        assert trusting.faults == {}


async def test_what_was_never_known_is_not_called_the_last_good_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    revoked, other = tmp_path / "revoked.json", tmp_path / "other.json"
    board = Board(revocations=str(revoked), federated=(Federated("other", str(other)),))
    async with running(board) as trusting:
        await eventually(lambda: trusting.faults.keys() == {"revocations", "other"})
        assert caplog.messages.count("nothing is known yet of what we should trust") == 2
        put(revoked, write(Revocations().with_serial(7)))
        put(other, write_bundle(make_bundle("other", (root("other").certificate,))))
        await eventually(lambda: not trusting.faults)
        caplog.clear()
        put(revoked, b"{")
        put(other, b"{")
        await eventually(lambda: trusting.faults.keys() == {"revocations", "other"})
        assert caplog.messages.count("the last good copy of what we trust holds") == 2


async def test_the_source_of_certificates_federates_too(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    put(path, write_bundle(make_bundle("other", (root("other").certificate,))))
    board = Board()
    issued = make_bundle("other", (root("other", 2).certificate,))
    async with running(board) as trusting:
        trusting.federate((issued, make_bundle("third", (root("third").certificate,))))
        assert board.domains() == {"td", "other", "third"}
        assert trusting.trust.bundles["other"] == issued
        # What is configured is stronger, for as long as it is.
        board.reconfigure(federated=(Federated("other", str(path)),))
        await eventually(lambda: trusting.trust.bundles["other"] != issued)
        trusting.federate((issued,))
        assert board.domains() == {"td", "other"}
        assert trusting.trust.bundles["other"] != issued
        board.reconfigure(federated=())
        await eventually(lambda: trusting.trust.bundles["other"] == issued)
        # Nobody else says who signs for us.
        trusting.federate((make_bundle("td", (root("td", 2).certificate,)),))
        assert trusting.trust.bundles.keys() == {"td"}
        assert "our own trust domain" in trusting.faults["td"]


async def test_a_federated_bundle_is_fetched_again(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH_LEAST_S", 0.02)
    monkeypatch.setattr(module, "REFRESH_S", 0.02)
    other = make_bundle("other", (root("other").certificate,), 1)
    endpoint.text = write_bundle(other)
    board = Board(federated=(Federated("other", endpoint.url, endpoint.ca_file),))
    async with running(board) as trusting:
        await eventually(lambda: trusting.trust.bundles.get("other") == other)
        endpoint.text = write_bundle(other.with_anchor(root("other", 2).certificate))
        await eventually(lambda: len(trusting.trust.bundles["other"].anchors) == 2)
        endpoint.status = 500
        await eventually(lambda: "answered 500" in trusting.faults.get("other", ""))
        assert len(trusting.trust.bundles["other"].anchors) == 2, "the last good copy holds"
        endpoint.status = 200
        await eventually(lambda: not trusting.faults)


async def test_nobody_else_says_who_signs_for_us(tmp_path: Path) -> None:
    board = Board()
    board.trusting.own(make_bundle("td", ()))
    assert "has no root" in board.trusting.faults["own roots"]
    assert board.trusting.trust.bundles["td"].anchors == (root().certificate,)
    board.trusting.own(make_bundle("td", (root(number=2).certificate,)))
    assert board.trusting.faults == {}
    assert len(board.told) == 2


async def test_revocations_that_are_configured_no_more_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "revoked.json"
    path.write_bytes(write(Revocations().with_serial(7)))
    board = Board(revocations=str(path))
    async with running(board) as trusting:
        await eventually(lambda: len(trusting.trust.revocations) == 1)
        board.reconfigure(revocations="")
        await eventually(lambda: len(trusting.trust.revocations) == 0)


def test_what_workers_are_told() -> None:
    known = trust("td", "other").revoking(Revocations().with_serial(255).with_id(WEB, 9.0))
    assert trusted(known) == Trusted(
        "td",
        {"td": (root().certificate.der,), "other": (root("other").certificate.der,)},
        {"ff": 0.0},
        {str(WEB): 9.0},
    )
