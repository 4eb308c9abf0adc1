"""A request is answered for the id that its caller may have, and for nothing else."""

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.identity.ca import PrivateKey
from meshtrio.identity.certificate import key_bytes
from meshtrio.identity.refusal import Reason, Refused
from meshtrio.identity.request import REQUEST_BYTES, make_request, read_request
from meshtrio.identity.spiffe import parse
from tests.support.identities import CA_FALSE, SIGNING, WEB, key, uris, usage


def request(*wishes: x509.ExtensionType, own: PrivateKey | None = None, with_hash: bool = True) -> bytes:
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    for wish in wishes:
        builder = builder.add_extension(wish, critical=False)
    algorithm = hashes.SHA256() if with_hash else hashes.SHA224()
    return builder.sign(own or key("leaf"), algorithm).public_bytes(Encoding.DER)


def reason_of(der: bytes) -> Reason:
    with pytest.raises(Refused) as caught:
        read_request(der, WEB)
    return caught.value.reason


def test_what_we_ask_we_answer() -> None:
    made = make_request(key("leaf"), WEB)
    assert key_bytes(read_request(made, WEB)) == key_bytes(key("leaf").public_key())
    assert make_request(key("leaf"), WEB) == made


def test_openssl_reads_ours_and_we_read_openssl(tmp_path: Path) -> None:
    (tmp_path / "ours.der").write_bytes(make_request(key("leaf"), WEB))
    words = ["openssl", "req", "-inform", "DER", "-in", "ours.der", "-noout", "-verify", "-text"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"URI:{WEB}" in done.stdout
    words = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    words += ["-keyout", "key.pem", "-subj", "/CN=web", "-addext", f"subjectAltName=URI:{WEB}"]
    subprocess.run(
        [*words, "-outform", "DER", "-out", "theirs.der"], cwd=tmp_path, capture_output=True, check=True
    )
    assert read_request((tmp_path / "theirs.der").read_bytes(), WEB)


WISHES = [
    ((), Reason.NO_SPIFFE_ID),
    ((uris("spiffe://td/ns/shop/sa/db"),), Reason.WRONG_IDENTITY),
    ((uris(f"{WEB}/"),), Reason.WRONG_IDENTITY),
    ((uris("spiffe://TD/ns/shop/sa/web"),), Reason.WRONG_IDENTITY),
    ((uris(str(WEB), str(WEB)),), Reason.MANY_URIS),
    ((uris(str(WEB)), x509.BasicConstraints(ca=True, path_length=None)), Reason.CA_AS_LEAF),
    ((uris(str(WEB)), usage("key_cert_sign")), Reason.CA_AS_LEAF),
    ((uris(str(WEB)), *SIGNING), Reason.CA_AS_LEAF),
    (
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(WEB)), x509.DNSName("db")]),),
        Reason.WRONG_IDENTITY,
    ),
]


@pytest.mark.parametrize(("wishes", "reason"), WISHES)
def test_wishes_that_are_not_granted(wishes: tuple[x509.ExtensionType, ...], reason: Reason) -> None:
    assert reason_of(request(*wishes)) is reason


def test_what_is_asked_beside_is_not_copied_and_no_matter() -> None:
    assert read_request(request(uris(str(WEB)), CA_FALSE, usage("digital_signature")), WEB)


def test_who_has_not_the_key() -> None:
    der = bytearray(request(uris(str(WEB))))
    der[-1] ^= 1
    assert reason_of(bytes(der)) is Reason.BAD_SIGNATURE


def test_weak_requests() -> None:
    assert reason_of(request(uris(str(WEB)), own=rsa.generate_private_key(65537, 1024))) is Reason.WEAK_KEY
    assert reason_of(request(uris(str(WEB)), with_hash=False)) is Reason.WEAK_SIGNATURE


@pytest.mark.parametrize("der", [b"", b"x", b"\x30\x00"])
def test_what_is_no_request(der: bytes) -> None:
    assert reason_of(der) is Reason.MALFORMED
    assert reason_of(b"\x30" * (REQUEST_BYTES + 1)) is Reason.TOO_LARGE


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_is_refused_or_changes_nothing(place: int, by: int) -> None:
    der = bytearray(make_request(key("leaf"), WEB))
    der[place % len(der)] ^= by
    try:
        found = read_request(bytes(der), WEB)
    except Refused:
        return
    # The count of unused bits before the signature is read by nobody.
    assert key_bytes(found) == key_bytes(key("leaf").public_key())


def test_a_request_for_one_is_none_for_another() -> None:
    with pytest.raises(Refused):
        read_request(make_request(key("leaf"), WEB), parse("spiffe://td/ns/shop/sa/db"))
