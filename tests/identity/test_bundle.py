"""Bundles: what one trust domain writes another reads, and nothing else becomes a root."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.identity.bundle import (
    ANCHORS_BOUND,
    BUNDLE_BYTES,
    Bundle,
    BundleFault,
    make_bundle,
    read_bundle,
    write_bundle,
)
from meshtrio.identity.ca import PrivateKey, Term, make_root
from meshtrio.identity.certificate import key_bytes, read
from meshtrio.identity.spiffe import SpiffeFault
from tests.support.identities import CA_FALSE, DAY_S, NOW, SIGNING, forge, key, leaf, root, serial, usage

ROOT = root().certificate


def entry(**changes: Any) -> dict[str, Any]:
    """One key as we write it, changed; None takes a member out."""
    written = json.loads(write_bundle(make_bundle("td", (ROOT,))))["keys"][0]
    return {name: value for name, value in {**written, **changes}.items() if value is not None}


def told(*keys: object, **more: object) -> bytes:
    return json.dumps({"keys": keys, **more}).encode()


def own_keys() -> list[PrivateKey]:
    return [key("a"), ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)]


def test_what_is_written_is_read() -> None:
    roots = tuple(
        make_root(own, "td", serial(number), Term(NOW, DAY_S)).certificate
        for number, own in enumerate(own_keys(), 1)
    )
    bundle = Bundle("td", roots, sequence=7, refresh_hint_s=300)
    assert read_bundle("td", write_bundle(bundle)) == bundle
    assert read_bundle("other", write_bundle(bundle)).trust_domain == "other"


def test_it_is_written_as_the_standard_wants() -> None:
    document = json.loads(write_bundle(Bundle("td", (ROOT,), sequence=7, refresh_hint_s=300)))
    assert (document["spiffe_sequence"], document["spiffe_refresh_hint"]) == (7, 300)
    (jwk,) = document["keys"]
    assert set(jwk) == {"kty", "use", "crv", "x", "y", "x5c"}  # and no kid
    assert (jwk["kty"], jwk["use"], jwk["crv"]) == ("EC", "x509-svid", "P-256")
    assert base64.b64decode(jwk["x5c"][0]) == ROOT.der
    assert len(jwk["x"]) == 43 and "=" not in jwk["x"]  # 32 bytes, also with zeros in front


@pytest.mark.parametrize(
    "passed_over",
    [
        {"kty": "EC", "use": "jwt-svid", "kid": "x"},
        {"kty": "OKP", "use": "x509-svid", "x5c": ["AAAA"]},
        {"use": "x509-svid", "x5c": ["AAAA"]},
        {"kty": "EC", "use": "X509-SVID", "x5c": ["AAAA"]},
        {"kty": "EC", "use": "x509-svid"},
        {"kty": "EC", "use": "x509-svid", "x5c": []},
        {"kty": 5, "use": 6},
    ],
)
def test_what_nobody_knows_is_passed_over(passed_over: dict[str, object]) -> None:
    assert read_bundle("td", told(passed_over, entry())).anchors == (ROOT,)


def test_a_root_of_a_kind_that_we_do_not_accept_is_passed_over() -> None:
    own = ec.generate_private_key(ec.SECP521R1())
    strange = base64.b64encode(forge(None, SIGNING, own=own, subject="x")).decode()
    assert read_bundle("td", told({"kty": "EC", "use": "x509-svid", "x5c": [strange]})).anchors == ()


def test_only_the_first_certificate_counts() -> None:
    assert read_bundle("td", told(entry(x5c=[*entry()["x5c"], "rubbish"]))).anchors == (ROOT,)


def test_members_beside_the_certificate_may_be_missing() -> None:
    assert read_bundle("td", told(entry(crv=None, x=None, y=None))).anchors == (ROOT,)


def as_root(der: bytes) -> bytes:
    return told({"kty": "EC", "use": "x509-svid", "x5c": [base64.b64encode(der).decode()]})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"keys": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"keys": [{"kty": "\xd0"}]}',
        b"{}",
        b'{"keys": 5}',
        b'{"keys": [5]}',
        told(entry(x5c=["!"])),
        told(entry(x5c=["AAAA"])),
        told(entry(x5c="AAAA")),
        told(entry(x=entry()["y"])),
        told(entry(kty="RSA")),
        told(entry(), spiffe_sequence=-1),
        told(entry(), spiffe_sequence=1 << 63),
        told(entry(), spiffe_sequence="1"),
        told(entry(), spiffe_refresh_hint=-1),
        as_root(leaf(root()).der),
        as_root(forge(None, (SIGNING[0], usage("digital_signature")), subject="x")),
        as_root(forge(None, (CA_FALSE, SIGNING[1]), subject="x")),
    ],
)
def test_a_bundle_that_cannot_be_relied_on(text: bytes) -> None:
    with pytest.raises(BundleFault):
        read_bundle("td", text)


@pytest.mark.filterwarnings(
    "ignore:Attribute's length"
)  # cryptography's, of a name that it reads all the same
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_change_is_read_or_a_fault(place: int, by: int) -> None:
    text = bytearray(write_bundle(make_bundle("td", (ROOT,), 3)))
    text[place % len(text)] ^= by
    try:
        found = read_bundle("td", bytes(text))
    except BundleFault:
        return
    # What a change of a root leaves as its key no reader can question: roots are given, not proved.
    assert all(anchor.is_ca and key_bytes(anchor.key) == key_bytes(ROOT.key) for anchor in found.anchors)


def test_bounds() -> None:
    with pytest.raises(BundleFault, match="bytes"):
        read_bundle("td", b" " * (BUNDLE_BYTES + 1))
    roots = tuple(read(forge(None, SIGNING, subject="x", number=n)) for n in range(1, ANCHORS_BOUND + 2))
    with pytest.raises(BundleFault, match="roots"):
        make_bundle("td", roots)
    full = make_bundle("td", roots[1:])
    with pytest.raises(BundleFault, match="roots"):
        full.with_anchor(roots[0])


def test_each_change_has_a_higher_number() -> None:
    first = make_bundle("td", (ROOT,), 4)
    both = first.with_anchor(root(number=2).certificate)
    assert (both.sequence, len(both.anchors)) == (5, 2)
    assert both.with_anchor(ROOT) is both
    last = both.without_anchor(ROOT)
    assert (last.sequence, last.anchors) == (6, (root(number=2).certificate,))
    assert last.without_anchor(ROOT) is last
    assert make_bundle("td", (ROOT, ROOT)).anchors == (ROOT,)


def test_roots_that_have_ended_go() -> None:
    bundle = make_bundle("td", (ROOT, root(number=2, at=NOW + DAY_S).certificate), 1)
    assert bundle.without_ended(ROOT.not_after + 300, 300) is bundle
    assert len(bundle.without_ended(ROOT.not_after + 301, 300).anchors) == 1


def test_names_and_roots_are_checked() -> None:
    with pytest.raises(SpiffeFault):
        make_bundle("TD", (ROOT,))
    with pytest.raises(BundleFault):
        make_bundle("td", (leaf(root()),))
