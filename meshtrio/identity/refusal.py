"""Core. Why a certificate, a chain or a request for one is refused: one closed list for audit and metrics.

The words beside a reason are for people, and may have what the other side wrote; the value of the reason is
for counting.
"""

import enum


class Reason(enum.Enum):
    """Why somebody is not who they say, or may not be."""

    NO_CERTIFICATE = "no_certificate"
    """Nothing was shown."""
    TOO_LARGE = "too_large"
    """More certificates, or more bytes, than any honest chain has."""
    MALFORMED = "malformed"
    """It cannot be read, or says things about itself that exclude each other."""
    NO_SPIFFE_ID = "no_spiffe_id"
    """A leaf without a URI."""
    MANY_URIS = "many_uris"
    """More than one URI, whatever they are."""
    BAD_SPIFFE_ID = "bad_spiffe_id"
    """Its URI is no SPIFFE ID, or one that such a certificate cannot have."""
    CA_AS_LEAF = "ca_as_leaf"
    """A signing certificate where a workload's should be."""
    NOT_A_CA = "not_a_ca"
    """It signed another and is no signing certificate."""
    KEY_USAGE = "key_usage"
    """The key may not be used for this, or for too much."""
    EXTENDED_KEY_USAGE = "extended_key_usage"
    WEAK_KEY = "weak_key"
    """Another key than ECDSA P-256 or P-384, or RSA of 2048 to 8192 bits."""
    WEAK_SIGNATURE = "weak_signature"
    """Signed otherwise than with ECDSA or RSA over SHA-2."""
    UNKNOWN_CRITICAL = "unknown_critical"
    """A critical extension that we do not understand."""
    UNKNOWN_TRUST_DOMAIN = "unknown_trust_domain"
    """We have no roots of that trust domain: it is neither ours nor federated."""
    SELF_SIGNED = "self_signed"
    UNTRUSTED = "untrusted"
    """No path leads to a root of its trust domain."""
    BAD_SIGNATURE = "bad_signature"
    """The issuer's name fits, its key did not sign this."""
    PATH_LENGTH = "path_length"
    """A signing certificate further down than its issuers allow."""
    NAME_CONSTRAINTS = "name_constraints"
    """An issuer was not allowed to sign for that name."""
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    WRONG_IDENTITY = "wrong_identity"
    """Somebody else than who was expected there, or asks for an identity that is not theirs."""


class Refused(Exception):
    """Somebody is not accepted. Ends where identities are asked for; the words hold no secret."""

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(words)
        self.reason = reason
