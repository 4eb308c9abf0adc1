"""Every word that a failed handshake is counted by."""

import ssl

import pytest

from meshtrio.identity.refusal import Reason
from meshtrio.secure.verdict import refusal_of


def failed(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "words"
    return error


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (7, Reason.BAD_SIGNATURE),
        (18, Reason.SELF_SIGNED),
        (19, Reason.UNTRUSTED),
        (20, Reason.UNTRUSTED),
        (24, Reason.NOT_A_CA),
        (25, Reason.PATH_LENGTH),
        (26, Reason.EXTENDED_KEY_USAGE),
        (47, Reason.NAME_CONSTRAINTS),
        (66, Reason.WEAK_KEY),
        (68, Reason.WEAK_SIGNATURE),
    ],
)
def test_what_openssl_says_of_a_certificate(code: int, reason: Reason) -> None:
    assert (refusal_of(failed(code)).reason, str(refusal_of(failed(code)))) == (reason.value, "words")


def test_what_else_it_says() -> None:
    other = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    other.reason = "WRONG_VERSION_NUMBER"
    assert (refusal_of(other).reason, str(refusal_of(other))) == ("tls", "wrong version number")
    other.reason = "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert refusal_of(other).reason == "no_certificate"
