"""Core. The roots of one trust domain, and the JSON in which trust domains tell each other theirs.

By the SPIFFE Trust Domain and Bundle standard, section 4, and X509-SVID, section 6. A bundle does not say
whose it is: who fetched it knows, and says so.
"""

import base64
import binascii

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from meshtrio.identity.certificate import Certificate, Key, read
from meshtrio.identity.refusal import Reason, Refused
from meshtrio.identity.spiffe import parse_trust_domain
from meshtrio.identity.svid import check_anchor

ANCHORS_BOUND = 32
"""Roots of one trust domain; two in a rotation. More: the bundle is refused, the last one stays."""
BUNDLE_BYTES = 1 << 20
SEQUENCE_BITS = 63
# msgspec raises the second for strings that are no UTF-8, and the third for some 1,000 brackets.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class BundleFault(ValueError):
    """A bundle cannot be used as a whole; nothing of it is."""


class Bundle(msgspec.Struct, frozen=True, gc=False):
    """What is trusted to sign for one trust domain. `sequence` grows with each change; None: not told."""

    trust_domain: str
    anchors: tuple[Certificate, ...] = ()
    sequence: int | None = None
    refresh_hint_s: int | None = None

    def with_anchor(self, anchor: Certificate) -> "Bundle":
        """Add a root beside the others: the first half of a rotation. BundleFault if it cannot be one."""
        if anchor in self.anchors:
            return self
        _check_anchors((*self.anchors, anchor))
        return msgspec.structs.replace(self, anchors=(*self.anchors, anchor), sequence=self._next())

    def without_anchor(self, anchor: Certificate) -> "Bundle":
        """Take a root out: the second half, when nothing that it signed lives any more."""
        if anchor not in self.anchors:
            return self
        kept = tuple(one for one in self.anchors if one != anchor)
        return msgspec.structs.replace(self, anchors=kept, sequence=self._next())

    def without_ended(self, wall_now: float, skew_s: float) -> "Bundle":
        """Take out the roots that have expired."""
        kept = tuple(one for one in self.anchors if wall_now <= one.not_after + skew_s)
        if len(kept) == len(self.anchors):
            return self
        return msgspec.structs.replace(self, anchors=kept, sequence=self._next())

    def _next(self) -> int:
        return (self.sequence or 0) + 1


def make_bundle(trust_domain: str, anchors: tuple[Certificate, ...], sequence: int | None = None) -> Bundle:
    """Put roots together. BundleFault if one cannot be a root; SpiffeFault for the name."""
    parse_trust_domain(trust_domain)
    kept = tuple(dict.fromkeys(anchors))
    _check_anchors(kept)
    return Bundle(trust_domain, kept, sequence)


class _Jwk(msgspec.Struct, frozen=True, omit_defaults=True):
    kty: str
    use: str | None = None
    crv: str | None = None
    x: str | None = None
    y: str | None = None
    n: str | None = None
    e: str | None = None
    x5c: list[str] | None = None


class _Set(msgspec.Struct, frozen=True, omit_defaults=True):
    keys: list[msgspec.Raw]
    spiffe_sequence: int | None = None
    spiffe_refresh_hint: int | None = None


class _Kind(msgspec.Struct, frozen=True):
    use: object = None
    kty: object = None
    x5c: object = None


def write_bundle(bundle: Bundle) -> bytes:
    """Write a bundle as SPIFFE's JSON (a JWK set)."""
    keys = [msgspec.Raw(msgspec.json.encode(_jwk(anchor))) for anchor in bundle.anchors]
    return msgspec.json.encode(_Set(keys, bundle.sequence, bundle.refresh_hint_s))


def read_bundle(trust_domain: str, text: bytes) -> Bundle:
    """Read SPIFFE's JSON as the bundle of this trust domain. BundleFault if it cannot be relied on.

    Keys of other uses and of kinds that we do not accept, and keys without certificate, are passed over, as
    the standard wants. A bundle may so have no root at all: then nobody of that trust domain is accepted.
    """
    if len(text) > BUNDLE_BYTES:
        raise BundleFault(f"the bundle has {len(text)} bytes, want {BUNDLE_BYTES} at most")
    try:
        told = msgspec.json.decode(text, type=_Set)
        found = [_anchor(raw) for raw in told.keys if _is_ours(raw)]
    except UNREADABLE as cause:
        raise BundleFault(f"the bundle cannot be read: {cause}") from cause
    for name, number in (("sequence", told.spiffe_sequence), ("refresh_hint", told.spiffe_refresh_hint)):
        if number is not None and not 0 <= number < 1 << SEQUENCE_BITS:
            raise BundleFault(f"spiffe_{name} is {number}")
    anchors = tuple(one for one in found if one is not None)
    made = make_bundle(trust_domain, anchors, told.spiffe_sequence)
    return msgspec.structs.replace(made, refresh_hint_s=told.spiffe_refresh_hint)


def _is_ours(raw: msgspec.Raw) -> bool:
    kind = msgspec.json.decode(raw, type=_Kind)
    return kind.use == "x509-svid" and kind.kty in ("EC", "RSA") and bool(kind.x5c)


def _anchor(raw: msgspec.Raw) -> Certificate | None:
    jwk = msgspec.json.decode(raw, type=_Jwk)
    first = (jwk.x5c or [""])[0]  # All but the first must be ignored (X509-SVID, 6.2).
    try:
        anchor = read(base64.b64decode(first, validate=True))
    except (binascii.Error, ValueError) as cause:
        raise BundleFault("a root of the bundle is not base64") from cause
    except Refused as refused:
        if refused.reason is Reason.WEAK_KEY:
            return None
        raise BundleFault(f"a root of the bundle: {refused}") from refused
    # RFC 7517, 4.7: the certificate's key must be the key that stands beside it.
    want, tells = _jwk(anchor), ("kty", "crv", "x", "y", "n", "e")
    if any(getattr(jwk, name) not in (None, getattr(want, name)) for name in tells):
        raise BundleFault("a root of the bundle has another key than the one beside it")
    return anchor


def _jwk(anchor: Certificate) -> _Jwk:
    x5c = [base64.b64encode(anchor.der).decode()]
    key: Key = anchor.key
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        n, e = (_number(one, (one.bit_length() + 7) // 8) for one in (numbers.n, numbers.e))
        return _Jwk("RSA", use="x509-svid", n=n, e=e, x5c=x5c)
    point = key.public_numbers()
    size = (key.key_size + 7) // 8
    x, y = _number(point.x, size), _number(point.y, size)
    return _Jwk("EC", use="x509-svid", crv=f"P-{key.key_size}", x=x, y=y, x5c=x5c)


def _number(number: int, size: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode()


def _check_anchors(anchors: tuple[Certificate, ...]) -> None:
    if len(anchors) > ANCHORS_BOUND:
        raise BundleFault(f"{len(anchors)} roots in one trust domain, want {ANCHORS_BOUND} at most")
    for anchor in anchors:
        try:
            check_anchor(anchor)
        except Refused as refused:
            raise BundleFault(f"a root with serial {anchor.serial:x}: {refused}") from refused
