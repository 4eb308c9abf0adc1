"""Shell. Why a handshake failed, in the words that are counted. Knows the errors of Python's ssl."""

import ssl
from typing import Final

from meshtrio.identity.refusal import Reason

# X509_V_ERR_*, see x509_vfy.h. What is not here says no more than that nobody vouches for it.
_BY_CODE: Final = {
    6: Reason.MALFORMED,
    7: Reason.BAD_SIGNATURE,
    18: Reason.SELF_SIGNED,
    22: Reason.TOO_LARGE,
    24: Reason.NOT_A_CA,
    25: Reason.PATH_LENGTH,
    26: Reason.EXTENDED_KEY_USAGE,
    32: Reason.KEY_USAGE,
    34: Reason.UNKNOWN_CRITICAL,
    47: Reason.NAME_CONSTRAINTS,
    48: Reason.NAME_CONSTRAINTS,
    51: Reason.NAME_CONSTRAINTS,
    66: Reason.WEAK_KEY,
    67: Reason.WEAK_KEY,
    68: Reason.WEAK_SIGNATURE,
}


class HandshakeError(Exception):
    """There is no secure connection. `reason` is for counting: a value of `identity.refusal.Reason`, or
    "eof", "tls", "alpn", "no_identity"; callers with a clock add "timeout". The words hold no secret."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


def refusal_of(why: ssl.SSLError) -> HandshakeError:
    """Say what an error of the handshake means."""
    if isinstance(why, ssl.SSLCertVerificationError):
        reason = _BY_CODE.get(why.verify_code, Reason.UNTRUSTED)
        return HandshakeError(reason.value, f"{why.verify_message}")
    if why.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return HandshakeError(Reason.NO_CERTIFICATE.value, "no certificate was shown")
    return HandshakeError("tls", (why.reason or str(why)).replace("_", " ").lower())
