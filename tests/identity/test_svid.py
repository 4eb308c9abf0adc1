"""What a workload's certificate must be, and what stands between it and the root."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from meshtrio.identity.chain import verify
from meshtrio.identity.refusal import Reason
from tests.support.identities import (
    LEAF,
    NOW,
    SIGNING,
    WEB,
    constraint,
    forge,
    refused,
    root,
    signer,
    trust,
    uris,
    usage,
)

CA = x509.BasicConstraints(ca=True, path_length=None)
MIDDLES = [
    ((x509.BasicConstraints(ca=False, path_length=None), usage("digital_signature")), Reason.NOT_A_CA),
    ((usage("key_cert_sign"),), Reason.NOT_A_CA),
    ((CA, usage("digital_signature")), Reason.KEY_USAGE),
    ((CA,), Reason.KEY_USAGE),
    ((*SIGNING, uris("spiffe://td/path")), Reason.BAD_SPIFFE_ID),
    ((*SIGNING, uris("spiffe://other")), Reason.BAD_SPIFFE_ID),
    ((*SIGNING, uris("https://td")), Reason.BAD_SPIFFE_ID),
    ((*SIGNING, uris("spiffe://td", "spiffe://td2")), Reason.MANY_URIS),
    ((*SIGNING, x509.InhibitAnyPolicy(0)), Reason.UNKNOWN_CRITICAL),
    (SIGNING, None),
    ((*SIGNING, uris("spiffe://td")), None),
]


@pytest.mark.parametrize(("extensions", "reason"), MIDDLES)
def test_what_stands_between(extensions: tuple[x509.ExtensionType, ...], reason: Reason | None) -> None:
    der, authority = signer(*extensions)
    presented = [forge(authority), der]
    if reason is None:
        assert verify(presented, trust(), NOW)
    else:
        assert refused(presented, trust()) is reason


def test_keys_and_signatures_of_other_kinds() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    strong = rsa.generate_private_key(65537, 2048)
    assert refused([forge(root(), own=weak)], trust()) is Reason.WEAK_KEY
    assert refused([forge(root(), own=ec.generate_private_key(ec.SECP521R1()))], trust()) is Reason.WEAK_KEY
    assert refused([forge(root(), own=ec.generate_private_key(ec.SECP256K1()))], trust()) is Reason.WEAK_KEY
    edwards = ed25519.Ed25519PrivateKey.generate()
    assert refused([forge(root(), own=edwards)], trust()) is Reason.WEAK_KEY  # type: ignore[arg-type]
    assert verify([forge(root(), own=strong)], trust(), NOW)
    assert verify([forge(root(), own=ec.generate_private_key(ec.SECP384R1()))], trust(), NOW)
    assert refused([forge(root(), hash_with=hashes.SHA224())], trust()) is Reason.WEAK_SIGNATURE


LEAVES: list[tuple[tuple[x509.ExtensionType, ...], Reason]] = [
    (LEAF[:2], Reason.NO_SPIFFE_ID),
    ((*LEAF[:2], x509.SubjectAlternativeName([x509.DNSName("web")])), Reason.NO_SPIFFE_ID),
    ((*LEAF[:2], uris(str(WEB), str(WEB))), Reason.MANY_URIS),
    ((*LEAF[:2], uris(str(WEB), "https://example.org")), Reason.MANY_URIS),
    ((*LEAF[:2], uris("https://td/x")), Reason.BAD_SPIFFE_ID),
    ((*LEAF[:2], uris("spiffe://td")), Reason.BAD_SPIFFE_ID),
    ((*LEAF[:2], uris("spiffe://td/x/")), Reason.BAD_SPIFFE_ID),
    ((CA, *LEAF[1:]), Reason.CA_AS_LEAF),
    ((CA, usage("key_cert_sign"), LEAF[2]), Reason.CA_AS_LEAF),
    ((LEAF[0], usage("digital_signature", "key_cert_sign"), LEAF[2]), Reason.CA_AS_LEAF),
    ((LEAF[0], usage("digital_signature", "crl_sign"), LEAF[2]), Reason.KEY_USAGE),
    ((LEAF[0], usage("key_encipherment"), LEAF[2]), Reason.KEY_USAGE),
    ((LEAF[0], LEAF[2]), Reason.KEY_USAGE),
    ((*LEAF, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])), Reason.EXTENDED_KEY_USAGE),
    ((*LEAF, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])), Reason.EXTENDED_KEY_USAGE),
    ((*LEAF, x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0")), Reason.UNKNOWN_CRITICAL),
    ((*LEAF, constraint("td")), Reason.NAME_CONSTRAINTS),
]


@pytest.mark.parametrize(("extensions", "reason"), LEAVES)
def test_a_leaf_by_our_own_authority_that_is_no_svid(
    extensions: tuple[x509.ExtensionType, ...], reason: Reason
) -> None:
    assert refused([forge(root(), extensions)], trust()) is reason


def test_the_plainest_svid_is_accepted() -> None:
    """So each refusal above is for what it changed."""
    assert verify([forge(root())], trust(), NOW)
    assert verify([forge(root(), LEAF[1:])], trust(), NOW)  # CA false is the default


def test_an_end_before_the_beginning() -> None:
    """The library makes none, so openssl's encoding of the years is changed."""
    made = forge(root(), begin=NOW - 300, end=NOW + 86_400)
    begin, end = b"\x17\x0d270115", b"\x17\x0d270116"
    assert made.count(begin) == made.count(end) == 1
    swapped = made.replace(end, b"\x17\x0d260116")
    assert refused([swapped], trust()) is Reason.MALFORMED
