"""A node's key on a real disk."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshtrio.ca.grants import node_id
from meshtrio.identity.certificate import key_bytes
from meshtrio.issuers import node_key
from meshtrio.issuers.node_key import JOINING, KEPT, NodeKey
from tests.support.identities import key, leaf, root


def test_kept_and_read_again(tmp_path: Path) -> None:
    folder = str(tmp_path / "new")
    chain = (leaf(root(), str(node_id("td", "a"))),)
    node_key.save(folder, KEPT, NodeKey(key("leaf"), chain))
    found = node_key.load(folder, KEPT)
    assert found is not None and found.chain == chain
    assert key_bytes(found.key.public_key()) == key_bytes(key("leaf").public_key())
    assert stat.S_IMODE(Path(folder, KEPT).stat().st_mode) == 0o600
    assert [one.name for one in Path(folder).iterdir()] == [KEPT]
    node_key.remove(folder, KEPT)
    node_key.remove(folder, KEPT)
    assert node_key.load(folder, KEPT) is None


def test_a_key_alone(tmp_path: Path) -> None:
    node_key.save(str(tmp_path), JOINING, node_key.new())
    found = node_key.load(str(tmp_path), JOINING)
    assert found is not None and found.chain == ()


def test_a_chain_of_another_key_is_none(tmp_path: Path) -> None:
    node_key.save(str(tmp_path), KEPT, NodeKey(key("other"), (leaf(root()),)))
    found = node_key.load(str(tmp_path), KEPT)
    assert found is not None and found.chain == ()


def test_what_cannot_be_used_is_not_there_and_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / KEPT).write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    assert node_key.load(str(tmp_path), KEPT) is None
    assert "broken" in caplog.text and "c2VjcmV0" not in caplog.text
    other = rsa.generate_private_key(65537, 2048)
    text = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / KEPT).write_bytes(text)
    assert node_key.load(str(tmp_path), KEPT) is None
    (tmp_path / JOINING).mkdir()
    assert node_key.load(str(tmp_path), JOINING) is None


def test_it_is_not_printed() -> None:
    assert repr(node_key.new()) == "NodeKey(0 certificates)"
