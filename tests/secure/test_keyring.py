"""What a ring takes, what it gives, and what it never shows."""

import logging
import os
from pathlib import Path

import pytest

from meshtrio.address import Address
from meshtrio.config.identity import Mtls
from meshtrio.messages import Credentials, Trusted
from meshtrio.secure.keyring import SESSIONS_BOUND, Keyring, NoIdentity, Proof
from tests.support.identities import key, root
from tests.support.rings import (
    AT,
    CLIENT,
    CLIENT_ID,
    SERVER,
    SERVER_ID,
    credentials,
    private,
    ring,
    shown,
    trusted,
)


def test_identities_come_and_go() -> None:
    told = Keyring()
    assert (told.identity(CLIENT), told.why_none(CLIENT)) == ("", "no certificate has come for this workload")
    told.learn(credentials(CLIENT, CLIENT_ID))
    assert (told.identity(CLIENT), told.why_none(CLIENT)) == ("", "it is not known whom to trust")
    with pytest.raises(NoIdentity, match="whom to trust"):
        told.proof(CLIENT)
    told.learn(trusted())
    assert (told.identity(CLIENT), told.why_none(CLIENT)) == (CLIENT_ID, "")
    told.learn(Credentials(CLIENT, CLIENT_ID, why="the CA has been silent for 25 hours"))
    assert (told.identity(CLIENT), told.why_none(CLIENT)) == ("", "the CA has been silent for 25 hours")
    told.learn(credentials(CLIENT, CLIENT_ID))
    told.forget(CLIENT)
    told.forget(CLIENT)
    assert told.identity(CLIENT) == ""


BAD: dict[str, Credentials | Trusted] = {
    "no DER": Credentials(CLIENT, CLIENT_ID, (b"no",), private(key("leaf"))),
    "no key": Credentials(CLIENT, CLIENT_ID, shown(CLIENT_ID).chain, b""),
    "another's key": Credentials(CLIENT, CLIENT_ID, shown(CLIENT_ID).chain, private(key("other"))),
    "a root that is none": Trusted("td", {"td": (b"no",)}),
    "a root that is a leaf": Trusted("td", {"td": (shown(CLIENT_ID).chain[0],)}),
    "a serial that is none": Trusted("td", {"td": (root(at=AT).certificate.der,)}, {"x": 0.0}),
    "an id that is none": Trusted("td", {"td": (root(at=AT).certificate.der,)}, {}, {"cart": 0.0}),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_read_changes_nothing(what: str, caplog: pytest.LogCaptureFixture) -> None:
    told = ring()
    before = told.proof(CLIENT)
    with caplog.at_level(logging.WARNING, "meshtrio"):
        told.learn(BAD[what])
    assert told.proof(CLIENT) is before
    assert len(caplog.records) == 1


def test_contexts_live_until_something_changes() -> None:
    told = ring()
    client, server = told.proof(CLIENT), told.proof(SERVER)
    told.learn(credentials(CLIENT, CLIENT_ID))
    told.learn(trusted())
    told.settle(Mtls(mode="strict"), 300.0)
    assert told.proof(CLIENT) is client
    told.learn(credentials(CLIENT, CLIENT_ID, shown(CLIENT_ID, number=5)))
    assert told.proof(CLIENT) is not client
    assert told.proof(SERVER) is server
    told.learn(trusted(serials={"5": 0.0}))
    assert told.proof(SERVER) is not server
    server = told.proof(SERVER)
    told.settle(Mtls(tls_1_2=True), 300.0)
    assert told.proof(SERVER) is not server


def test_only_good_ciphers() -> None:
    for tls_1_2 in (False, True):
        proof = ring(tls_1_2=tls_1_2).proof(CLIENT)
        for context in (proof.client, proof.server):
            for cipher in context.get_ciphers():
                assert cipher["aead"]
                assert cipher["protocol"] == "TLSv1.3" or cipher["name"].startswith("ECDHE")


def test_sessions_are_bounded_and_for_one_identity() -> None:
    told = ring()
    proof = told.proof(CLIENT)

    class Peer:
        spiffe_id = SERVER_ID

    for port in range(SESSIONS_BOUND + 10):
        proof.keep(Address.of("10.0.0.1", port), object(), Peer())  # type: ignore[arg-type]
    assert len(proof.sessions) == SESSIONS_BOUND
    assert proof.session(Address.of("10.0.0.1", 9), None) is None
    last = Address.of("10.0.0.1", SESSIONS_BOUND)
    assert proof.session(last, None) is not None
    assert proof.session(last, SERVER_ID) is not None  # type: ignore[arg-type]
    assert proof.session(last, CLIENT_ID) is None  # type: ignore[arg-type]


def test_keys_are_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    told, mine = ring(), credentials(CLIENT, CLIENT_ID)
    with caplog.at_level(logging.DEBUG):
        told.learn(Credentials(CLIENT, CLIENT_ID, (b"no",), mine.key))
        told.proof(CLIENT)
    texts = [caplog.text, repr(told), repr(told.proof(CLIENT)), repr(mine), str(vars(told))]
    for text in texts:
        assert repr(mine.key)[2:-1] not in text
        assert "PRIVATE" not in text


def test_nothing_is_left_open_and_nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    open_before = len(os.listdir("/proc/self/fd"))
    told = ring()
    told.proof(CLIENT)
    told.learn(BAD["another's key"])
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert list(tmp_path.iterdir()) == []


def test_an_encrypted_key_asks_nobody() -> None:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    locked = key("leaf").private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(OSError):
        Proof(Credentials(CLIENT, CLIENT_ID, shown(CLIENT_ID).chain, locked), b"", tls_1_2=False)
