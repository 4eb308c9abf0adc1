"""Core. A request for a certificate (CSR): what the CA reads of it, and what makes it refuse.

From a request the CA takes the public key and nothing else. That its id is the one the caller may have is
checked, though it is not copied from there: who asks for another one is mistaken or worse, and shall hear so.
"""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from meshtrio.identity.ca import PrivateKey
from meshtrio.identity.certificate import UNREADABLE, Key, accepted_key
from meshtrio.identity.refusal import Reason, Refused
from meshtrio.identity.spiffe import SpiffeId

REQUEST_BYTES = 16 * 1024
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def make_request(key: PrivateKey, spiffe_id: SpiffeId) -> bytes:
    """Ask for a certificate of this id for this key, as DER. The key stays here."""
    own = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(spiffe_id))])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(own, critical=True)
    deterministic = True if isinstance(key, ec.EllipticCurvePrivateKey) else None
    made = builder.sign(key, hashes.SHA256(), ecdsa_deterministic=deterministic)
    return made.public_bytes(Encoding.DER)


def read_request(der: bytes, allowed: SpiffeId) -> Key:
    """Give the key for which `allowed` is asked. Refused if the request asks for anything else, or if who
    made it has not the key."""
    if len(der) > REQUEST_BYTES:
        raise Refused(Reason.TOO_LARGE, f"a request of {len(der)} bytes, want {REQUEST_BYTES} at most")
    try:
        asked = x509.load_der_x509_csr(der)
        key = asked.public_key()
        extensions = [extension.value for extension in asked.extensions]
        signed = asked.is_signature_valid
        algorithm = asked.signature_hash_algorithm
    except UnsupportedAlgorithm as cause:
        raise Refused(Reason.WEAK_KEY, "the request has a key or signature of an unknown kind") from cause
    except UNREADABLE as cause:
        raise Refused(Reason.MALFORMED, f"the request cannot be read: {ascii(str(cause))[:200]}") from cause
    accepted = accepted_key(key)
    if not isinstance(algorithm, _HASHES):
        raise Refused(Reason.WEAK_SIGNATURE, "the request is not signed over SHA-2")
    if not signed:
        raise Refused(Reason.BAD_SIGNATURE, "who made the request has not its key")
    _check_wishes(extensions, allowed)
    return accepted


def _check_wishes(extensions: list[x509.ExtensionType], allowed: SpiffeId) -> None:
    names: list[x509.GeneralName] = []
    for wish in extensions:
        if isinstance(wish, x509.SubjectAlternativeName):
            names += wish
        if isinstance(wish, x509.BasicConstraints) and wish.ca:
            raise Refused(Reason.CA_AS_LEAF, "the request is for a signing certificate")
        if isinstance(wish, x509.KeyUsage) and (wish.key_cert_sign or wish.crl_sign):
            raise Refused(Reason.CA_AS_LEAF, "the request is for a key that signs certificates")
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    if not uris:
        raise Refused(Reason.NO_SPIFFE_ID, "the request is for no id")
    if len(uris) > 1:
        raise Refused(Reason.MANY_URIS, f"the request is for {len(uris)} URIs, want one")
    if uris[0] != str(allowed):
        raise Refused(Reason.WRONG_IDENTITY, f"the request is for {ascii(uris[0])[:200]}, not {allowed}")
    if len(names) > 1:
        raise Refused(Reason.WRONG_IDENTITY, "the request is for other names beside the id")
