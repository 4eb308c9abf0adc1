"""What a node shows; that its CA takes it is tested in test_remote.py."""

from pathlib import Path

import pytest

from meshtrio.ca.grants import node_id
from meshtrio.config.identity import Identity, RemoteCa
from meshtrio.issuers.issuer import IssueError
from meshtrio.issuers.passport import Passport
from tests.support.identities import DAY_S, NOW, key, leaf, root


class Node:
    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.token = folder / "token"
        (folder / "ca.pem").write_bytes(root().certificate.pem)
        remote = RemoteCa("https://ca:1", str(folder / "ca.pem"), str(self.token))
        self.settings = Identity(trust_domain="td", directory=str(folder / "own"), remote=remote)
        self.passport = Passport(lambda: self.settings, "a", lambda: self.now)

    def block(self) -> None:
        Path(self.settings.directory).write_text("a file is in the way")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


CHAIN = (leaf(root(), str(node_id("td", "a"))),)


async def test_a_kubernetes_token_is_shown_each_time_and_read_each_time(node: Node) -> None:
    for token in ("eyJ.one", "eyJ.two"):
        node.token.write_text(f"{token}\n")
        way = node.passport.for_workloads()
        assert way is not None and (way.token, way.has_certificate) == (token, False)
        assert token not in repr(way)
    with pytest.raises(IssueError, match="has no join token"):
        await node.passport.for_joining()


async def test_a_join_token_is_for_joining_alone_and_its_key_is_on_the_disk_first(node: Node) -> None:
    await node.passport.open()
    node.token.write_text("meshtrio-join-x")
    assert node.passport.for_workloads() is None
    way, first = await node.passport.for_joining()
    assert way.token == "meshtrio-join-x"
    again = Node(node.token.parent)
    await again.passport.open()
    _, second = await again.passport.for_joining()
    assert second.private_numbers() == first.private_numbers()


async def test_a_certificate_is_shown_until_it_ends_or_is_refused(node: Node) -> None:
    assert node.passport.due_in_s() == float("inf")
    await node.passport.take(key("leaf"), CHAIN)
    way = node.passport.for_workloads()
    assert way is not None and way.has_certificate and not way.token
    assert node.passport.due_in_s() == pytest.approx(DAY_S / 2, abs=200)
    node.now = NOW + DAY_S / 2
    assert node.passport.due_in_s() == 0
    assert (await node.passport.for_joining())[0].has_certificate
    node.passport.refusal = "a test wants it"
    assert node.passport.for_workloads() is None
    with pytest.raises(IssueError, match=r"does not accept this node's certificate \(a test wants it\)"):
        await node.passport.for_joining()
    node.passport.refusal, node.now = "", NOW + DAY_S
    assert node.passport.for_workloads() is None
    with pytest.raises(IssueError, match="has ended"):
        await node.passport.for_joining()


async def test_what_was_kept_is_there_after_a_restart(node: Node) -> None:
    await node.passport.take(key("leaf"), CHAIN)
    again = Node(node.token.parent)
    assert again.passport.for_workloads() is None
    await again.passport.open()
    assert again.passport.for_workloads() is not None


async def test_a_disk_that_does_not_want_it_costs_nothing_until_the_restart(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.block()
    await node.passport.take(key("leaf"), CHAIN)
    assert node.passport.for_workloads() is not None
    assert "cannot be kept" in caplog.text


def test_a_name_that_cannot_stand_in_an_id(node: Node) -> None:
    assert str(node.passport.own_id) == "spiffe://td/meshtrio/node/a"
    node.passport.node = "a/b"
    with pytest.raises(IssueError, match="set `node`"):
        _ = node.passport.own_id
