"""Who is accepted, who is not, and with which reason. Every path here is also told to openssl."""

import itertools
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.identity.bundle import make_bundle
from meshtrio.identity.ca import Authority, Term, make_intermediate
from meshtrio.identity.certificate import Certificate, read
from meshtrio.identity.chain import CHAIN_BYTES, SIGNATURES_BOUND, Peer, _Search, signed_by, verify
from meshtrio.identity.refusal import Reason, Refused
from meshtrio.identity.revocation import Revocations
from meshtrio.identity.spiffe import parse
from meshtrio.identity.trust import Trust
from tests.support.identities import (
    DAY_S,
    NOW,
    SIGNING,
    WEB,
    authority_of,
    forge,
    key,
    leaf,
    refused,
    root,
    serial,
    shown,
    signing,
    trust,
)

SIGNER = signing()
MIDDLE = SIGNER.certificate


def openssl(tmp_path: Path, presented: list[bytes], roots: tuple[Certificate, ...], now: float = NOW) -> str:
    """Ask openssl; "" if it accepts."""
    (tmp_path / "roots.pem").write_bytes(b"".join(one.pem for one in roots))
    (tmp_path / "leaf.pem").write_bytes(read(presented[0]).pem)
    (tmp_path / "others.pem").write_bytes(b"".join(read(one).pem for one in presented[1:]))
    words = ["openssl", "verify", "-x509_strict", "-attime", f"{now:.0f}", "-CAfile", "roots.pem"]
    words += ["-no-CApath", "-no-CAstore", "-purpose", "sslclient"]
    words += ["-untrusted", "others.pem"] if presented[1:] else []
    done = subprocess.run([*words, "leaf.pem"], cwd=tmp_path, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_a_workload_is_known_by_its_chain(tmp_path: Path) -> None:
    own = leaf(SIGNER)
    peer = verify(shown(own, MIDDLE), trust(), NOW)
    path = (own.der, MIDDLE.der, root().certificate.der)
    assert peer == Peer(WEB, 77, NOW - 300, NOW + DAY_S, path)
    assert openssl(tmp_path, shown(own, MIDDLE), (root().certificate,)) == ""
    assert verify(peer.chain, trust(), NOW) == peer


def test_a_root_may_sign_leaves_itself() -> None:
    assert verify(shown(leaf(root())), trust(), NOW).spiffe_id == WEB


def test_the_others_come_in_any_order_and_may_be_too_many() -> None:
    others = (MIDDLE, root().certificate, signing(number=2).certificate, signing("other").certificate)
    for order in itertools.permutations(others):
        assert verify(shown(leaf(SIGNER), *order), trust(), NOW).serial == 77


@pytest.mark.parametrize(("late_s", "reason"), [(299, None), (301, Reason.EXPIRED)])
def test_clocks_may_differ_by_five_minutes_at_the_end(late_s: float, reason: Reason | None) -> None:
    now = NOW + DAY_S + late_s
    if reason is None:
        assert verify(shown(leaf(SIGNER), MIDDLE), trust(), now)
    else:
        assert refused(shown(leaf(SIGNER), MIDDLE), trust(), now) is reason


@pytest.mark.parametrize(("early_s", "reason"), [(599, None), (601, Reason.NOT_YET_VALID)])
def test_and_at_the_beginning(early_s: float, reason: Reason | None) -> None:
    """It begins 300 s back, and 300 s more are tolerated. The issuers are older."""
    old = signing(at=NOW - DAY_S)
    by = Trust("td").with_own(make_bundle("td", (root(at=NOW - DAY_S).certificate,)))
    presented = shown(leaf(old), old.certificate)
    if reason is None:
        assert verify(presented, by, NOW - early_s)
    else:
        assert refused(presented, by, NOW - early_s) is reason


def test_an_issuer_that_has_ended_signs_nothing() -> None:
    own = forge(SIGNER, end=NOW + 90 * DAY_S)
    assert verify([own, MIDDLE.der], trust(), NOW + 29 * DAY_S)
    assert refused([own, MIDDLE.der], trust(), NOW + 31 * DAY_S) is Reason.EXPIRED


def test_nothing_proves_nothing() -> None:
    assert refused([], trust()) is Reason.NO_CERTIFICATE
    assert refused([b""], trust()) is Reason.MALFORMED
    assert refused([b"\x30\x03\x02\x01\x01"], trust()) is Reason.MALFORMED
    assert refused([leaf(SIGNER).der + b"x", MIDDLE.der], trust()) is Reason.MALFORMED


def test_a_chain_has_a_bound() -> None:
    assert refused([leaf(SIGNER).der] * 7, trust()) is Reason.TOO_LARGE
    assert refused([leaf(SIGNER).der, b"x" * CHAIN_BYTES], trust()) is Reason.TOO_LARGE
    assert refused([b"x" * 20_000], trust()) is Reason.TOO_LARGE


def test_other_authorities(tmp_path: Path) -> None:
    ours = (root().certificate,)
    assert refused([forge(None)], trust()) is Reason.SELF_SIGNED
    stranger = root(number=9)
    assert refused(shown(leaf(stranger)), trust()) is Reason.UNTRUSTED
    assert refused(shown(leaf(stranger), stranger.certificate), trust()) is Reason.UNTRUSTED
    assert openssl(tmp_path, shown(leaf(stranger), stranger.certificate), ours) != ""
    assert refused(shown(leaf(SIGNER)), trust()) is Reason.UNTRUSTED  # without what is between


def test_the_name_of_our_root_is_not_its_key(tmp_path: Path) -> None:
    false = Authority(root().certificate, key("thief"), "td")
    made = forge(false)
    assert refused([made], trust()) is Reason.BAD_SIGNATURE
    assert openssl(tmp_path, [made], (root().certificate,)) != ""


def test_other_trust_domains_only_if_federated() -> None:
    presented = shown(leaf(root("other"), "spiffe://other/x"))
    assert refused(presented, trust()) is Reason.UNKNOWN_TRUST_DOMAIN
    assert verify(presented, trust("td", "other"), NOW).spiffe_id == parse("spiffe://other/x")


def test_a_federated_root_says_nothing_of_us() -> None:
    """The whole point of bundles by trust domain: `other` signs an id of `td`."""
    made = forge(root("other"))
    assert read(made).uris == (str(WEB),)
    assert refused([made], trust("td", "other")) is Reason.UNTRUSTED


def test_another_identity_than_expected() -> None:
    presented = shown(leaf(SIGNER), MIDDLE)
    assert verify(presented, trust(), NOW, expected=WEB)
    with pytest.raises(Refused) as caught:
        verify(presented, trust(), NOW, expected=parse("spiffe://td/ns/shop/sa/db"))
    assert caught.value.reason is Reason.WRONG_IDENTITY


def test_who_is_revoked() -> None:
    presented = shown(leaf(SIGNER), MIDDLE)
    for entry in (
        Revocations().with_serial(77),
        Revocations().with_id(WEB),
        Revocations().with_serial(MIDDLE.serial),
        Revocations().with_serial(root().certificate.serial),
    ):
        assert refused(presented, trust().revoking(entry)) is Reason.REVOKED
    other = Revocations().with_serial(76).with_id(parse("spiffe://td/ns/shop/sa/db"))
    assert verify(presented, trust().revoking(other), NOW)
    assert verify(presented, trust().revoking(Revocations().with_serial(77, until=NOW - 1)), NOW)


def test_a_leaf_signs_nobody(tmp_path: Path) -> None:
    """A workload makes itself an authority with its own, honest certificate."""
    own = leaf(SIGNER)
    thief = forge(Authority(own, key("leaf"), "td"), own=key("thief"))
    presented = [thief, own.der, MIDDLE.der]
    assert refused(presented, trust()) is Reason.NOT_A_CA
    assert openssl(tmp_path, presented, (root().certificate,)) != ""


def test_path_length_is_obeyed(tmp_path: Path) -> None:
    """Our signing certificates allow none below them; one makes one nevertheless."""
    der = forge(SIGNER, SIGNING, own=key("below"), subject="below")
    presented = [forge(authority_of(der, key("below"))), der, MIDDLE.der]
    assert refused(presented, trust()) is Reason.PATH_LENGTH
    assert openssl(tmp_path, presented, (root().certificate,)) != ""
    with pytest.raises(Refused) as caught:
        make_intermediate(SIGNER, key("below"), serial(5), Term(NOW, DAY_S))
    assert caught.value.reason is Reason.PATH_LENGTH


def test_roots_overlap_while_one_follows_the_other() -> None:
    """Three phases: the old root alone, both, the new one alone. In the middle everyone is accepted."""
    old, new = shown(leaf(signing()), signing().certificate), shown(leaf(root(number=2)))
    first = make_bundle("td", (root().certificate,), 1)
    both = first.with_anchor(root(number=2).certificate)
    last = both.without_anchor(root().certificate)
    by = Trust("td").with_own(first)
    assert verify(old, by, NOW) and refused(new, by) is Reason.UNTRUSTED
    by = by.with_own(both)
    assert verify(old, by, NOW) and verify(new, by, NOW)
    by = by.with_own(last)
    assert refused(old, by) is Reason.UNTRUSTED and verify(new, by, NOW)


def test_a_root_renewed_with_the_same_key_and_name(tmp_path: Path) -> None:
    """The old one has expired, and is found first."""
    expired = forge(None, SIGNING, own=key("r"), subject="r", end=NOW - DAY_S, begin=NOW - 9 * DAY_S)
    renewed = forge(None, SIGNING, own=key("r"), subject="r", number=79)
    own = forge(authority_of(renewed, key("r")))
    by = Trust("td").with_own(make_bundle("td", (read(expired), read(renewed))))
    assert verify([own], by, NOW).chain[-1] == renewed
    assert refused([own], Trust("td").with_own(make_bundle("td", (read(expired),)))) is Reason.EXPIRED


def test_many_issuers_of_one_name_cost_little() -> None:
    """Each signed by each, in a ring that leads nowhere: a search without bound would take all orders."""
    ring = [forge(None, SIGNING, own=key("ring"), subject="x", number=80 + number) for number in range(5)]
    own = forge(authority_of(ring[0], key("ring")))
    count = 0

    def counted(child: Certificate, issuer: Certificate) -> bool:
        nonlocal count
        count += 1
        return signed_by(child, issuer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meshtrio.identity.chain.signed_by", counted)
        assert refused([own, *ring], trust()) is Reason.TOO_LARGE
    assert count == SIGNATURES_BOUND


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # which is then refused
@given(st.integers(0, 5000), st.integers(1, 255))
def test_a_changed_byte_proves_nothing_or_the_same(place: int, by: int) -> None:
    """What is signed cannot be changed. How a signature is written can: the count of its unused bits is
    read by nobody, so the bytes of a certificate are no name for it; we revoke by serial and id."""
    der = bytearray(leaf(SIGNER).der)
    der[place % len(der)] ^= by
    try:
        peer = verify([bytes(der), MIDDLE.der], trust(), NOW)
    except Refused:
        return
    assert (peer.spiffe_id, peer.serial, peer.not_after) == (WEB, 77, NOW + DAY_S)
    signed = leaf(SIGNER).parsed.tbs_certificate_bytes
    assert read(peer.chain[0]).parsed.tbs_certificate_bytes == signed


def test_what_is_remembered_is_not_who_is_trusted() -> None:
    """The same chain again, which costs no signatures, after what matters has changed."""
    presented = shown(leaf(SIGNER), MIDDLE)
    assert verify(presented, trust(), NOW)
    assert refused(presented, trust(), NOW + 2 * DAY_S) is Reason.EXPIRED
    assert refused(presented, trust().revoking(Revocations().with_id(WEB))) is Reason.REVOKED
    elsewhere = Trust("td").with_own(make_bundle("td", (root(number=2).certificate,)))
    assert refused(presented, elsewhere) is Reason.UNTRUSTED
    assert verify(presented, trust(), NOW)


def test_a_path_that_was_found_is_asked_for_all_that_can_change(monkeypatch: pytest.MonkeyPatch) -> None:
    by, own = trust(), forge(SIGNER, end=NOW + 90 * DAY_S)
    presented = [own, MIDDLE.der]
    found = verify(presented, by, NOW)
    with monkeypatch.context() as patch:
        patch.delattr(_Search, "from_leaf")  # whoever searches breaks
        assert verify(presented, by, NOW + DAY_S) == found
    assert refused(presented, by, NOW + 31 * DAY_S) is Reason.EXPIRED  # its issuer, not the leaf
    for one in (MIDDLE, root().certificate):
        assert refused(presented, by.revoking(Revocations().with_serial(one.serial))) is Reason.REVOKED
    assert verify(presented, by, NOW) == found


def test_where_a_path_that_was_found_ends_another_is_looked_for() -> None:
    """Two roots of one name and key: the one that is found first ends first."""
    first, second = (
        forge(None, SIGNING, own=key("r"), subject="r", number=number, end=NOW + days * DAY_S)
        for number, days in ((80, 10), (81, 60))
    )
    own = forge(authority_of(second, key("r")), end=NOW + 50 * DAY_S)
    by = Trust("td").with_own(make_bundle("td", (read(first), read(second))))
    assert [verify([own], by, NOW + days * DAY_S).chain[-1] for days in (0, 20, 0)] == [first, second, second]
    assert refused([own], by.with_own(make_bundle("td", (read(first),))), NOW + 20 * DAY_S) is Reason.EXPIRED
