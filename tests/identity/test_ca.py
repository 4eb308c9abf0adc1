"""What we make is right by our own rules, by openssl's, and always the same for the same inputs."""

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from meshtrio.identity.ca import Authority, Order, PrivateKey, Term, issue, make_intermediate, make_root
from meshtrio.identity.chain import signed_by, verify
from meshtrio.identity.refusal import Reason, Refused
from meshtrio.identity.spiffe import SpiffeFault, SpiffeId, parse
from tests.support.identities import (
    DAY_S,
    NOW,
    SIGNING,
    WEB,
    authority_of,
    forge,
    key,
    leaf,
    root,
    serial,
    shown,
    signing,
    trust,
)


def order(spiffe_id: SpiffeId = WEB, own: PrivateKey | None = None, **more: tuple[str, ...]) -> Order:
    return Order(spiffe_id, (own or key("leaf")).public_key(), serial(77), **more)


def reason_of(authority: Authority, wanted: Order, term: Term) -> Reason:
    with pytest.raises(Refused) as caught:
        issue(authority, wanted, term)
    return caught.value.reason


@pytest.mark.parametrize(
    "own", [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)]
)
def test_the_same_inputs_make_the_same_bytes(own: PrivateKey) -> None:
    def made() -> list[bytes]:
        top = make_root(own, "td", serial(1), Term(NOW, DAY_S))
        below = make_intermediate(top, own, serial(2), Term(NOW, DAY_S))
        return [top.certificate.der, below.certificate.der, issue(below, order(), Term(NOW, 60)).der]

    assert made() == made()


def openssl(*words: str, cwd: Path) -> str:
    done = subprocess.run(["openssl", *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_openssl_accepts_it_for_both_purposes(tmp_path: Path) -> None:
    """With DNS names and addresses, as curl and others need them."""
    named = order(dns_names=("web.shop.svc.cluster.local",), addresses=("10.0.0.1", "fd00::1"))
    made = issue(signing(), named, Term(NOW, DAY_S))
    (tmp_path / "leaf.pem").write_bytes(made.pem)
    (tmp_path / "signing.pem").write_bytes(signing().certificate.pem)
    (tmp_path / "root.pem").write_bytes(root().certificate.pem)
    common = ["verify", "-x509_strict", "-attime", f"{NOW:.0f}", "-CAfile", "root.pem", "-no-CApath"]
    common += ["-untrusted", "signing.pem"]
    for purpose in ("sslclient", "sslserver"):
        openssl(*common, "-purpose", purpose, "leaf.pem", cwd=tmp_path)
    openssl(*common, "-verify_hostname", "web.shop.svc.cluster.local", "leaf.pem", cwd=tmp_path)
    openssl(*common, "-verify_ip", "fd00::1", "leaf.pem", cwd=tmp_path)
    told = openssl("x509", "-in", "leaf.pem", "-noout", "-purpose", cwd=tmp_path)
    assert "SSL client : Yes" in told and "SSL server : Yes" in told and "SSL client CA : No" in told
    told = openssl("x509", "-in", "signing.pem", "-noout", "-purpose", cwd=tmp_path)
    assert "SSL client CA : Yes" in told
    told = openssl("x509", "-in", "leaf.pem", "-noout", "-text", cwd=tmp_path)
    assert "Subject Alternative Name: critical" in told and f"URI:{WEB}" in told


def test_an_authority_shows_all_but_the_root() -> None:
    assert root().chain == ()
    assert signing().chain == (signing().certificate,)
    own = leaf(signing())
    assert verify(shown(own, *signing().chain), trust(), NOW).spiffe_id == WEB


def test_signing_certificates_have_the_trust_domain_as_their_id() -> None:
    for authority in (root(), signing()):
        assert authority.certificate.uris == ("spiffe://td",)
        assert authority.certificate.is_ca
    assert (root().certificate.path_length, signing().certificate.path_length) == (1, 0)
    assert signed_by(signing().certificate, root().certificate)


def test_two_roots_never_have_one_name() -> None:
    assert root(number=1).certificate.subject != root(number=2).certificate.subject


def test_a_leaf_ends_with_its_issuer() -> None:
    short = make_intermediate(root(), key("signing1"), serial(9), Term(NOW, 3600))
    made = issue(short, order(), Term(NOW + 600, DAY_S))
    assert (made.not_before, made.not_after) == (NOW + 300, NOW + 3600)
    young = issue(short, order(), Term(NOW + 1, 60))
    assert young.not_before == NOW - 299
    assert (
        issue(short, order(), Term(NOW + 1, 60, skew_s=9000)).not_before == NOW - 300
    )  # not before its issuer
    assert reason_of(short, order(), Term(NOW + 3601, 60)) is Reason.EXPIRED
    assert reason_of(short, order(), Term(NOW + 3600, 60)) is Reason.EXPIRED
    assert reason_of(short, order(), Term(NOW - 301, 60)) is Reason.NOT_YET_VALID


def test_life_is_more_than_nothing() -> None:
    assert reason_of(signing(), order(), Term(NOW, 0)) is Reason.EXPIRED


def test_times_are_whole_seconds() -> None:
    made = issue(signing(), order(), Term(NOW + 0.75, 60.5))
    assert (made.not_before, made.not_after) == (NOW - 300, NOW + 61)


def test_only_ids_of_its_own_trust_domain() -> None:
    assert reason_of(signing(), order(parse("spiffe://other/x")), Term(NOW, 60)) is Reason.WRONG_IDENTITY
    with pytest.raises(SpiffeFault):
        issue(signing(), order(parse("spiffe://td")), Term(NOW, 60))
    with pytest.raises(SpiffeFault):  # a value that `parse` did not make
        issue(signing(), order(SpiffeId("td", "/a/../b")), Term(NOW, 60))


def test_weak_keys_are_not_certified() -> None:
    assert (
        reason_of(signing(), order(own=rsa.generate_private_key(65537, 1024)), Term(NOW, 60))
        is Reason.WEAK_KEY
    )


@pytest.mark.parametrize("serial", [b"", b"\0" * 16, b"x" * 15, b"x" * 17])
def test_a_serial_is_sixteen_bytes_of_luck(serial: bytes) -> None:
    with pytest.raises(ValueError, match="serial"):
        issue(signing(), Order(WEB, key("leaf").public_key(), serial), Term(NOW, 60))


def test_all_128_bits_are_the_serial() -> None:
    made = issue(signing(), Order(WEB, key("leaf").public_key(), b"\xff" * 16), Term(NOW, 60))
    assert made.serial == (1 << 128) - 1


@pytest.mark.parametrize(
    "name", ["", "*", "Web", "web.", "a..b", "-a", "a b", "a\n", "\u00fc", "a" * 64, "a." * 127]
)
def test_names_that_are_none(name: str) -> None:
    assert reason_of(signing(), order(dns_names=(name,)), Term(NOW, 60)) is Reason.MALFORMED
    assert reason_of(signing(), order(addresses=(name,)), Term(NOW, 60)) is Reason.MALFORMED


def test_names_have_a_bound() -> None:
    assert reason_of(signing(), order(dns_names=("web",) * 17), Term(NOW, 60)) is Reason.TOO_LARGE


def test_a_given_root_of_another_make() -> None:
    """Without URI, without key ids, with a name of its own."""
    own = key("corporate")
    der = forge(None, (*SIGNING,), own=own, subject="Example Corp Root", end=NOW + 99 * DAY_S)
    given = authority_of(der, own)
    below = make_intermediate(given, key("signing1"), serial(3), Term(NOW, DAY_S))
    made = leaf(below)
    assert signed_by(below.certificate, given.certificate) and signed_by(made, below.certificate)


def test_an_authority_shows_no_key() -> None:
    assert repr(signing()) == f"Authority(spiffe://td, serial {1001:x})"


def test_nobody_is_called_as_a_workload() -> None:
    assert leaf(signing()).parsed.subject == x509.Name([])
