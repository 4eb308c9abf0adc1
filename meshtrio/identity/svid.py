"""Core. What an X509-SVID must be, as a workload's certificate or as one that signs. Knows one at a time.

By the SPIFFE X509-SVID standard and RFC 5280, and stricter where they leave it open: a certificate of an id
that we would not make is not accepted either. The same rules hold when we issue and when we verify.

What a certificate is never changes, so who passed is remembered; what changes (time) is asked each time.
"""

from functools import lru_cache

from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, SignatureAlgorithmOID

from meshtrio.identity.certificate import CACHED, Certificate
from meshtrio.identity.refusal import Reason, Refused
from meshtrio.identity.spiffe import SpiffeFault, SpiffeId, parse, parse_workload

# What we read and obey. Any other extension may be there, but not critical (RFC 5280, 4.2).
_UNDERSTOOD = frozenset(
    oid.dotted_string
    for oid in (
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    )
)
_SIGNATURES = frozenset(
    (
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    )
)
"""RSA-PSS is left out: its hash is a parameter, and nobody who issues SVIDs uses it."""
_BOTH_WAYS = frozenset(
    oid.dotted_string for oid in (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
)


@lru_cache(CACHED)
def check_leaf(certificate: Certificate) -> SpiffeId:
    """Say whose certificate this is. Refused if it is not a workload's X509-SVID; nothing is verified yet."""
    usage = certificate.usage
    if certificate.is_ca or (usage is not None and usage.key_cert_sign):
        raise Refused(Reason.CA_AS_LEAF, "it may sign others, so it is nobody's proof of identity")
    _check_form(certificate)
    found = _identity(certificate)
    if usage is None or not usage.digital_signature or usage.crl_sign:
        raise Refused(Reason.KEY_USAGE, "key usage is not digitalSignature, or more than a leaf may have")
    if certificate.extended is not None and not certificate.extended >= _BOTH_WAYS:
        raise Refused(Reason.EXTENDED_KEY_USAGE, "extended key usage is not both serverAuth and clientAuth")
    if certificate.constraints is not None:
        raise Refused(Reason.NAME_CONSTRAINTS, "name constraints on a leaf (RFC 5280, 4.2.1.10)")
    return found


@lru_cache(CACHED)
def check_signing(certificate: Certificate, trust_domain: str) -> None:
    """Pass if this may be an issuer within the trust domain. Refused if not; its signature is not looked at.

    A signing certificate that names another trust domain is refused, though the standard only says that it
    should not be so.
    """
    _check_issuer(certificate)
    if certificate.usage is None:
        raise Refused(Reason.KEY_USAGE, "a signing certificate without key usage")
    if not certificate.uris:
        return
    if len(certificate.uris) > 1:
        raise Refused(Reason.MANY_URIS, f"a signing certificate with {len(certificate.uris)} URIs")
    try:
        own = parse(certificate.uris[0])
    except SpiffeFault as fault:
        raise Refused(Reason.BAD_SPIFFE_ID, f"a signing certificate: {fault}") from fault
    if own.path or own.trust_domain != trust_domain:
        words = f"a signing certificate of {own}, want spiffe://{trust_domain} or none"
        raise Refused(Reason.BAD_SPIFFE_ID, words)


@lru_cache(CACHED)
def check_anchor(certificate: Certificate) -> None:
    """Pass if this may be a root. Its names are not looked at: which trust domain it stands for says the
    bundle that it came in, and corporate roots know nothing of SPIFFE."""
    _check_issuer(certificate)


def check_time(certificate: Certificate, wall_now: float, skew_s: float) -> None:
    """Pass if it is valid now, by clocks that differ by `skew_s` at most. Refused if not."""
    if wall_now < certificate.not_before - skew_s:
        early = certificate.not_before - wall_now
        raise Refused(Reason.NOT_YET_VALID, f"valid only in {early:.0f} s (tolerance {skew_s:.0f} s)")
    if wall_now > certificate.not_after + skew_s:
        late = wall_now - certificate.not_after
        raise Refused(Reason.EXPIRED, f"expired {late:.0f} s ago (tolerance {skew_s:.0f} s)")


def _check_issuer(certificate: Certificate) -> None:
    if not certificate.is_ca:
        raise Refused(Reason.NOT_A_CA, "an issuer that is no CA")
    _check_form(certificate)
    if certificate.usage is not None and not certificate.usage.key_cert_sign:
        raise Refused(Reason.KEY_USAGE, "an issuer whose key may not sign certificates")


def _check_form(certificate: Certificate) -> None:
    strange = certificate.critical - _UNDERSTOOD
    if strange:
        raise Refused(Reason.UNKNOWN_CRITICAL, f"critical extension {min(strange)}")
    if certificate.parsed.signature_algorithm_oid not in _SIGNATURES:
        oid = certificate.parsed.signature_algorithm_oid.dotted_string
        raise Refused(Reason.WEAK_SIGNATURE, f"signed with {oid}, want ECDSA or RSA with SHA-2")
    if certificate.not_after < certificate.not_before:
        raise Refused(Reason.MALFORMED, "it ends before it begins")


def _identity(certificate: Certificate) -> SpiffeId:
    if not certificate.uris:
        raise Refused(Reason.NO_SPIFFE_ID, "no URI among its names")
    if len(certificate.uris) > 1:
        raise Refused(Reason.MANY_URIS, f"{len(certificate.uris)} URIs among its names, want one")
    try:
        return parse_workload(certificate.uris[0])
    except SpiffeFault as fault:
        raise Refused(Reason.BAD_SPIFFE_ID, str(fault)) from fault
