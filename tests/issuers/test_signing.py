"""Ring 1. What is signed proves what it should, by openssl, too."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key

from meshtrio.identity.bundle import make_bundle
from meshtrio.identity.ca import Authority, Term, make_root
from meshtrio.identity.certificate import key_bytes, read
from meshtrio.identity.chain import verify
from meshtrio.identity.refusal import Refused
from meshtrio.identity.spiffe import parse
from meshtrio.identity.trust import Trust
from meshtrio.issuers.issuer import Issued, Wanted
from meshtrio.issuers.signing import SIGNING_LIVES, Signer, fresh_key, fresh_root
from tests.support.identities import DAY_S, NOW, WEB, serial

WANTED = Wanted(WEB, "web", DAY_S)


@pytest.fixture
def root() -> Authority:
    return fresh_root("td", NOW, 300.0)


def signed(root: Authority, signer: Signer, at: float = NOW) -> Issued:
    return signer.issue(root, WANTED, at, 300.0)


def test_a_leaf_proves_its_workload(root: Authority) -> None:
    made = signed(root, Signer())
    trust = Trust("td").with_own(make_bundle("td", (root.certificate,)))
    peer = verify(made.chain, trust, NOW)
    assert (peer.spiffe_id, peer.serial) == (WEB, made.serial)
    assert made.validity == (NOW - 300, NOW + DAY_S)
    own = load_der_private_key(made.key, None)
    assert key_bytes(own.public_key()) == key_bytes(read(made.chain[0]).key)  # type: ignore[arg-type]
    assert made.key.hex() not in repr(made)


def test_openssl_agrees(root: Authority, tmp_path: Path) -> None:
    leaf, signing = (read(der) for der in signed(root, Signer()).chain)
    for name, one in (("root", root.certificate), ("signing", signing), ("leaf", leaf)):
        (tmp_path / name).write_bytes(one.pem)
    base = [
        "openssl",
        "verify",
        "-x509_strict",
        "-attime",
        str(int(NOW)),
        "-CAfile",
        "root",
        "-untrusted",
        "signing",
    ]
    for purpose in ("sslserver", "sslclient"):
        done = subprocess.run(
            [*base, "-purpose", purpose, "leaf"], cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_every_key_and_serial_is_another(root: Authority) -> None:
    signer = Signer()
    made = [signed(root, signer) for _ in range(20)]
    assert len({one.key for one in made}) == len({one.serial for one in made}) == 20
    assert len({one.chain[1] for one in made}) == 1


def test_the_signing_certificate_is_replaced_in_the_middle_of_its_life(root: Authority) -> None:
    signer = Signer()
    first = signed(root, signer)
    half = NOW + SIGNING_LIVES * DAY_S / 2
    assert signed(root, signer, half - 1).chain[1] == first.chain[1]
    assert signed(root, signer, half + 1).chain[1] != first.chain[1]


def test_a_clock_that_is_set_back_finds_another_signing_certificate(root: Authority) -> None:
    signer = Signer()
    later = signed(root, signer, NOW + 10 * DAY_S)
    now = signed(root, signer, NOW)
    assert now.chain[1] != later.chain[1]
    assert now.validity.covers(NOW, 0)


def test_another_root_signs_at_once(root: Authority) -> None:
    signer = Signer()
    signed(root, signer)
    other = fresh_root("td", NOW, 300.0)
    trust = Trust("td").with_own(make_bundle("td", (other.certificate,)))
    assert verify(signed(other, signer).chain, trust, NOW).spiffe_id == WEB


def test_a_root_that_has_ended_signs_nothing(root: Authority) -> None:
    with pytest.raises(Refused, match="expired"):
        signed(root, Signer(), root.certificate.not_after + 1)


def test_an_id_of_another_trust_domain_is_refused(root: Authority) -> None:
    with pytest.raises(Refused, match="not of trust domain td"):
        Signer().issue(root, Wanted(parse("spiffe://x/a"), "a", DAY_S), NOW, 300.0)


def test_a_given_root_without_room_signs_leaves_itself() -> None:
    from meshtrio.identity.ca import make_intermediate

    top = make_root(fresh_key(), "td", serial(3), Term(NOW, 100 * DAY_S))
    below = make_intermediate(top, fresh_key(), serial(4), Term(NOW, 50 * DAY_S))
    given = Authority(below.certificate, below.key, "td")
    made = signed(given, Signer())
    trust = Trust("td").with_own(make_bundle("td", (below.certificate,)))
    assert len(made.chain) == 1
    assert verify(made.chain, trust, NOW).spiffe_id == WEB
