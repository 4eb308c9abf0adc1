"""Core. What one X.509 certificate says, read once. Does not judge it, nor know others.

Everything is read here, so that whatever cannot be read is one refusal, and nobody later meets a parser's
exception: the library parses most fields only when they are first looked at.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshtrio.identity.refusal import Reason, Refused

CERTIFICATE_BYTES = 16 * 1024
"""Ours have about 600. Larger ones are refused before they are parsed."""
RSA_BITS = range(2048, 8192 + 1)
"""Above, one verification costs milliseconds, which a stranger could make us spend."""

Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_T = TypeVar("_T")
# What the library was seen to raise for changed bytes, and its neighbours; KeyError(13) for a name of a
# kind of string that it does not know.
UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
CACHED = 256
"""Certificates that stay read, for the same few are shown again and again: 100 us each. Full: the one that
was not asked for longest goes."""


class Certificate(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A certificate and what it says. `read` makes it. Two are equal if their bytes are."""

    der: bytes
    parsed: x509.Certificate
    serial: int
    subject: bytes
    issuer: bytes
    """Names as DER, for comparing."""
    not_before: float
    not_after: float
    """Both ends are part of its life; wall time."""
    key: Key
    key_id: bytes | None
    issuer_key_id: bytes | None
    uris: tuple[str, ...]
    names: tuple[x509.GeneralName, ...]
    """All its other names."""
    is_ca: bool
    path_length: int | None
    usage: x509.KeyUsage | None
    extended: frozenset[str] | None
    """Dotted ids of what the key may be used for; None: it does not say."""
    constraints: x509.NameConstraints | None
    critical: frozenset[str]
    """Dotted ids of its critical extensions."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    @property
    def issued_itself(self) -> bool:
        """Say whether it names itself as its issuer (whether it also signed itself is not asked)."""
        return self.subject == self.issuer

    @property
    def pem(self) -> bytes:
        """The same certificate for files and people."""
        return self.parsed.public_bytes(Encoding.PEM)


@lru_cache(CACHED)
def read(der: bytes) -> Certificate:
    """Read one certificate. Refused (TOO_LARGE, MALFORMED, WEAK_KEY) if it cannot be read, or not used."""
    if len(der) > CERTIFICATE_BYTES:
        raise Refused(
            Reason.TOO_LARGE, f"a certificate of {len(der)} bytes, want {CERTIFICATE_BYTES} at most"
        )
    return _reading(lambda: _read(der), "certificate")


def read_pem(text: bytes) -> tuple[Certificate, ...]:
    """Read all certificates of a PEM text. Refused if one cannot be read, or if there is none."""
    parsed = _reading(lambda: x509.load_pem_x509_certificates(text), "PEM text")
    return tuple(read(one.public_bytes(Encoding.DER)) for one in parsed)


def wrap(parsed: x509.Certificate) -> Certificate:
    """Read what the library has parsed or built already. Refused as `read` does."""
    return read(parsed.public_bytes(Encoding.DER))


def accepted_key(key: object) -> Key:
    """Give the key back if it is of a kind that we accept. Refused with WEAK_KEY if it is not."""
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_BITS:
        return key
    size = f" of {key.key_size} bits" if isinstance(key, Key) else ""
    curve = f" on {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else ""
    words = (
        f"a key of kind {type(key).__name__}{size}{curve}, want ECDSA P-256 or P-384, or RSA from 2048 bits"
    )
    raise Refused(Reason.WEAK_KEY, words)


def key_bytes(key: Key) -> bytes:
    """Give a public key as DER (SubjectPublicKeyInfo)."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _reading(act: Callable[[], _T], what: str) -> _T:
    """Turn all that the library raises for what cannot be read into one refusal."""
    try:
        return act()
    except UnsupportedAlgorithm as cause:
        raise Refused(Reason.WEAK_KEY, f"the {what} has a key or signature of an unknown kind") from cause
    except UNREADABLE as cause:
        raise Refused(Reason.MALFORMED, f"the {what} cannot be read: {ascii(str(cause))[:200]}") from cause


def _read(der: bytes) -> Certificate:
    parsed = x509.load_der_x509_certificate(der)
    if parsed.version is not x509.Version.v3:
        raise Refused(Reason.MALFORMED, "a certificate of version 1 says nothing of its use")
    if parsed.serial_number <= 0:
        raise Refused(Reason.MALFORMED, "its serial is not positive")
    extensions = parsed.extensions
    known = [extension.value for extension in extensions]
    alternative = _of(known, x509.SubjectAlternativeName)
    constraints = _of(known, x509.BasicConstraints)
    own_id = _of(known, x509.SubjectKeyIdentifier)
    authority = _of(known, x509.AuthorityKeyIdentifier)
    extended = _of(known, x509.ExtendedKeyUsage)
    names = tuple(alternative or ())
    return Certificate(
        der=der,
        parsed=parsed,
        serial=parsed.serial_number,
        subject=parsed.subject.public_bytes(),
        issuer=parsed.issuer.public_bytes(),
        not_before=parsed.not_valid_before_utc.timestamp(),
        not_after=parsed.not_valid_after_utc.timestamp(),
        key=accepted_key(parsed.public_key()),
        key_id=own_id.digest if own_id else None,
        issuer_key_id=authority.key_identifier if authority else None,
        uris=tuple(name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)),
        names=tuple(name for name in names if not isinstance(name, x509.UniformResourceIdentifier)),
        is_ca=constraints.ca if constraints else False,
        path_length=constraints.path_length if constraints else None,
        usage=_of(known, x509.KeyUsage),
        extended=frozenset(use.dotted_string for use in extended) if extended is not None else None,
        constraints=_of(known, x509.NameConstraints),
        critical=frozenset(one.oid.dotted_string for one in extensions if one.critical),
    )


def _of(known: list[x509.ExtensionType], kind: type[_T]) -> _T | None:
    return next((value for value in known if isinstance(value, kind)), None)
