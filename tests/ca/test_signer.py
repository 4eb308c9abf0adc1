"""What the CA signs with, as its clock goes on."""

import ssl
import subprocess
from pathlib import Path

import pytest

from meshtrio.ca.signer import Names, Signer, is_half_over
from meshtrio.identity.bundle import make_bundle
from meshtrio.identity.ca import Authority
from meshtrio.identity.chain import verify
from meshtrio.identity.refusal import Refused
from meshtrio.identity.trust import Trust
from tests.support.identities import DAY_S, NOW, WEB, key, root, signing


class Clock:
    now = NOW


def signer_of(clock: Clock, authority: Authority | None = None) -> Signer:
    own = authority or root()
    return Signer(own, make_bundle("td", (own.certificate,)), 300.0, lambda: clock.now)


def test_what_is_signed_verifies_through_years() -> None:
    clock = Clock()
    signer = signer_of(clock)
    trust = Trust("td").with_own(signer.bundle)
    below = set()
    for day in range(0, 800, 20):
        clock.now = NOW + day * DAY_S
        signed = signer.sign(WEB, key("leaf").public_key(), 30 * DAY_S)
        below.add(signed.chain[1].serial)
        assert verify([one.der for one in signed.chain], trust, clock.now, expected=WEB).spiffe_id == WEB
        assert signed.leaf.not_after == clock.now + 30 * DAY_S
    assert 12 <= len(below) <= 20


def test_another_root_signs_from_now_on_or_nothing_changes() -> None:
    clock = Clock()
    signer = signer_of(clock)
    fresh = root("td", 2)
    bundle = make_bundle("td", (root().certificate, fresh.certificate))
    signer.use(fresh, bundle)
    signed = signer.sign(WEB, key("leaf").public_key(), 60)
    assert signed.chain[1].issuer == fresh.certificate.subject
    clock.now += 11 * 365 * DAY_S
    with pytest.raises(Refused):
        signer.use(root(), bundle)
    assert signer.root_ends == fresh.certificate.not_after
    assert signer.bundle is bundle


def test_below_a_root_that_may_sign_leaves_only_it_says_so() -> None:
    with pytest.raises(Refused, match="signs leaves only"):
        signer_of(Clock(), signing())


def test_the_servers_certificate_has_its_names_and_openssl_takes_it(tmp_path: Path) -> None:
    signer = signer_of(Clock())
    context, leaf = signer.server_context(Names(("ca.example",), ("127.0.0.1", "::1")))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_OPTIONAL
    signed = signer.sign(WEB, key("leaf").public_key(), 60, Names(("ca.example",)))
    for name, pem in (("leaf", leaf.pem), ("below", signed.chain[1].pem), ("root", root().certificate.pem)):
        (tmp_path / name).write_bytes(pem)
    command = ["openssl", "verify", "-attime", str(int(NOW)), "-purpose", "sslserver"]
    command += ["-verify_hostname", "ca.example", "-CAfile", str(tmp_path / "root")]
    command += ["-untrusted", str(tmp_path / "below"), str(tmp_path / "leaf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_half_over() -> None:
    leaf = signer_of(Clock()).sign(WEB, key("leaf").public_key(), 1000).leaf
    middle = (leaf.not_before + leaf.not_after) / 2
    assert not is_half_over(leaf, middle)
    assert is_half_over(leaf, middle + 1)
