"""What a certificate says is read whole, or it is refused."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.identity.certificate import CERTIFICATE_BYTES, accepted_key, key_bytes, read, read_pem, wrap
from meshtrio.identity.refusal import Reason, Refused
from tests.support.identities import DAY_S, LEAF, NOW, WEB, forge, key, leaf, root, signing, uris


def reason_of(der: bytes) -> Reason:
    with pytest.raises(Refused) as caught:
        read(der)
    return caught.value.reason


def test_a_leaf_says_what_was_ordered() -> None:
    made = leaf(signing())
    assert made.uris == (str(WEB),)
    assert (made.not_before, made.not_after) == (NOW - 300, NOW + DAY_S)
    assert (made.serial, made.is_ca, made.path_length) == (77, False, None)
    assert made.issuer == signing().certificate.subject
    assert made.issuer_key_id == signing().certificate.key_id
    assert made.critical == {"2.5.29.19", "2.5.29.15", "2.5.29.17"}
    assert key_bytes(made.key) == key_bytes(key("leaf").public_key())


def test_the_same_bytes_are_the_same_certificate() -> None:
    made = leaf(signing())
    assert read(made.der) == made == wrap(made.parsed)
    assert len({read(made.der), made}) == 1
    assert made != leaf(signing(), number=1)
    assert read_pem(made.pem + root().certificate.pem) == (made, root().certificate)


def test_who_issued_itself() -> None:
    assert root().certificate.issued_itself
    assert not signing().certificate.issued_itself


@pytest.mark.parametrize("der", [b"", b"x", b"\x30\x80", b"-----BEGIN CERTIFICATE-----"])
def test_what_is_no_certificate(der: bytes) -> None:
    assert reason_of(der) is Reason.MALFORMED


def test_pem_without_certificates() -> None:
    for text in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff"):
        with pytest.raises(Refused):
            read_pem(text)


def test_too_large() -> None:
    assert reason_of(b"\x30" * (CERTIFICATE_BYTES + 1)) is Reason.TOO_LARGE


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_change_is_read_or_refused(place: int, by: int) -> None:
    """No parser's exception gets out."""
    der = bytearray(leaf(signing()).der)
    der[place % len(der)] ^= by
    try:
        read(bytes(der))
    except Refused:
        pass
    except Warning:
        assert bytes(der) != leaf(signing()).der  # the library tells of serials that are not positive


@given(st.integers(0, 10_000))
def test_a_cut_is_refused(end: int) -> None:
    der = leaf(signing()).der
    assert reason_of(der[: end % len(der)]) is Reason.MALFORMED


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_serial_is_positive() -> None:
    der = forge(root(), number=0x55AA)
    assert der.count(b"\x02\x02\x55\xaa") == 1
    assert reason_of(der.replace(b"\x02\x02\x55\xaa", b"\x02\x02\xff\xaa")) is Reason.MALFORMED


def test_a_name_of_a_kind_that_nobody_knows() -> None:
    """The library reads names only when they are looked at, and raises an exception of its own."""
    strange = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x04\xa3\x02\x05\x00")
    assert reason_of(forge(root(), (*LEAF[:2], strange))) is Reason.MALFORMED


def test_an_id_that_is_no_ascii() -> None:
    strange = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x04\x86\x02\xc3\xbc")
    assert read(forge(root(), (*LEAF[:2], strange))).uris == ("\u00fc",)  # for `parse` to refuse


def test_a_null_byte_stays_in_the_id() -> None:
    """`spiffe://td/a\\0b` must not be taken for `spiffe://td/a` (CVE-2009-2408)."""
    assert read(forge(root(), (*LEAF[:2], uris("spiffe://td/a\0b")))).uris == ("spiffe://td/a\0b",)


def test_keys_of_other_kinds() -> None:
    assert accepted_key(key("leaf").public_key())
    with pytest.raises(Refused) as caught:
        accepted_key(key("leaf"))
    assert caught.value.reason is Reason.WEAK_KEY


def test_the_pem_is_the_certificate() -> None:
    assert x509.load_pem_x509_certificate(leaf(root()).pem).public_bytes(Encoding.DER) == leaf(root()).der


def test_a_name_of_an_unknown_kind_of_string() -> None:
    """Found by changing bytes: the library raises KeyError for it."""
    der = forge(root(), subject="web")
    assert der.count(b"\x0c\x03web") == 1
    assert reason_of(der.replace(b"\x0c\x03web", b"\x0d\x03web")) is Reason.MALFORMED


def test_a_certificate_of_version_one_says_too_little() -> None:
    """Nothing in it says what its key is for, so a leaf could be an issuer."""
    der = leaf(root()).der
    assert der.count(b"\xa0\x03\x02\x01\x02") == 1
    assert reason_of(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x00")) is Reason.MALFORMED
