"""Core. Make certificates: a root, signing certificates below it, and leaves for workloads.

The same inputs make the same bytes: times, serials and keys are arguments, and ECDSA signs by RFC 6979,
which also takes luck out of signing (a repeated nonce would give the key away). Whatever is made is read
again and held to the rules by which others will verify it. Does not know who may have which identity.
"""

import datetime
import hashlib
import ipaddress
import re
from collections.abc import Sequence

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshtrio.identity.certificate import Certificate, Key, accepted_key, key_bytes, wrap
from meshtrio.identity.refusal import Reason, Refused
from meshtrio.identity.spiffe import SpiffeId, parse_trust_domain, parse_workload
from meshtrio.identity.svid import check_anchor, check_leaf, check_signing, check_time

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
SERIAL_BYTES = 16
NAMES_BOUND = 16
_DNS_NAME = re.compile(r"(?=.{1,253}$)(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


class Term(msgspec.Struct, frozen=True, gc=False):
    """How long a certificate shall live, from now; and how far back it begins, for clocks that are late."""

    wall_now: float
    life_s: float
    skew_s: float = 300.0


class Authority(msgspec.Struct, frozen=True, gc=False):
    """Who signs: a signing certificate, its key, and what has to be shown with a leaf."""

    certificate: Certificate
    key: PrivateKey
    trust_domain: str
    chain: tuple[Certificate, ...] = ()
    """The signing certificates from this one up, without the root; a root has none to show."""

    def __repr__(self) -> str:
        return f"Authority(spiffe://{self.trust_domain}, serial {self.certificate.serial:x})"


def make_root(key: PrivateKey, trust_domain: str, serial: bytes, term: Term) -> Authority:
    """Make a root that signs itself and may have one level of signing certificates below it."""
    parse_trust_domain(trust_domain)
    number = _number(serial)
    name = _name("root", number)
    public = accepted_key(key.public_key())
    builder = _signing(_builder(name, name, number), public, trust_domain, 1)
    made = _finish(_timed(builder, term, None), key, _key_id(public))
    check_anchor(made)
    check_signing(made, trust_domain)
    return Authority(made, key, trust_domain)


def make_intermediate(parent: Authority, key: PrivateKey, serial: bytes, term: Term) -> Authority:
    """Make a signing certificate that signs leaves only. Refused if the parent may not sign another, or has
    ended."""
    number = _number(serial)
    room = parent.certificate.path_length
    if room is not None and room < 1:
        raise Refused(Reason.PATH_LENGTH, "this authority signs leaves only")
    public = accepted_key(key.public_key())
    named = _builder(_name("signing", number), parent.certificate.parsed.subject, number)
    builder = _signing(named, public, parent.trust_domain, 0)
    made = _finish(_timed(builder, term, parent.certificate), parent.key, _own_key_id(parent))
    check_signing(made, parent.trust_domain)
    return Authority(made, key, parent.trust_domain, (made, *parent.chain))


class Order(msgspec.Struct, frozen=True, gc=False):
    """What a leaf shall say."""

    spiffe_id: SpiffeId
    key: Key
    serial: bytes
    dns_names: Sequence[str] = ()
    """For clients that know no SPIFFE; nothing in the mesh is decided by them."""
    addresses: Sequence[str] = ()


def issue(authority: Authority, order: Order, term: Term) -> Certificate:
    """Make a workload's certificate. It ends with its issuer's at the latest.

    Refused if the id is no workload's of this trust domain, the key is too weak, or the issuer has ended.
    """
    parse_workload(str(order.spiffe_id))
    if order.spiffe_id.trust_domain != authority.trust_domain:
        words = f"{order.spiffe_id} is not of trust domain {authority.trust_domain}"
        raise Refused(Reason.WRONG_IDENTITY, words)
    number = _number(order.serial)
    parsed = authority.certificate.parsed
    # Without subject: nobody can then take its name for an identity. The names must then be critical
    # (RFC 5280, 4.1.2.6).
    builder = _builder(x509.Name([]), parsed.subject, number).public_key(accepted_key(order.key))
    leaf_only = x509.BasicConstraints(ca=False, path_length=None)
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = (
        builder.add_extension(leaf_only, critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(both, critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(order)), critical=True)
        .add_extension(_key_id(order.key), critical=False)
    )
    made = _finish(_timed(builder, term, authority.certificate), authority.key, _own_key_id(authority))
    check_leaf(made)
    return made


def is_dns_name(name: str) -> bool:
    """Say whether a certificate can have this name."""
    return _DNS_NAME.fullmatch(name) is not None


def _names(order: Order) -> list[x509.GeneralName]:
    if len(order.dns_names) + len(order.addresses) > NAMES_BOUND:
        raise Refused(Reason.TOO_LARGE, f"more than {NAMES_BOUND} names beside the id")
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(order.spiffe_id))]
    for name in order.dns_names:
        if not is_dns_name(name):
            raise Refused(Reason.MALFORMED, f"{ascii(name)[:80]} is no DNS name in lower case")
        names.append(x509.DNSName(name))
    for address in order.addresses:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError as cause:
            raise Refused(Reason.MALFORMED, f"{ascii(address)[:80]} is no IP address") from cause
    return names


def _builder(subject: x509.Name, issuer: x509.Name, number: int) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(issuer_name=issuer, subject_name=subject, serial_number=number)


def _timed(
    builder: x509.CertificateBuilder, term: Term, issuer: Certificate | None
) -> x509.CertificateBuilder:
    begin, end = term.wall_now - term.skew_s, term.wall_now + term.life_s
    if issuer is not None:
        check_time(issuer, term.wall_now, 0.0)
        begin, end = max(begin, issuer.not_before), min(end, issuer.not_after)
    if end <= term.wall_now:
        raise Refused(Reason.EXPIRED, "it would end before it begins")
    return builder.not_valid_before(_moment(begin)).not_valid_after(_moment(end))


def _moment(wall: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(wall), datetime.UTC)


def _signing(
    named: x509.CertificateBuilder, key: Key, trust_domain: str, depth: int
) -> x509.CertificateBuilder:
    """Say that this key signs certificates, with `depth` levels of signing certificates below it."""
    own = x509.UniformResourceIdentifier(str(SpiffeId(trust_domain)))
    return (
        named.public_key(key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=depth), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([own]), critical=False)
        .add_extension(_key_id(key), critical=False)
    )


def _finish(
    builder: x509.CertificateBuilder, key: PrivateKey, key_id: x509.SubjectKeyIdentifier
) -> Certificate:
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)
    builder = builder.add_extension(authority, critical=False)
    deterministic = True if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return wrap(builder.sign(key, hashes.SHA256(), ecdsa_deterministic=deterministic))


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _name(role: str, number: int) -> x509.Name:
    """Names differ by serial, so that a root and its successor are never taken for each other."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "meshtrio"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"meshtrio {role}"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{number:x}"),
        ]
    )


def _number(serial: bytes) -> int:
    number = int.from_bytes(serial, "big")
    if len(serial) != SERIAL_BYTES or number == 0:
        raise ValueError(f"a serial is {SERIAL_BYTES} random bytes, not all zero")
    return number


def _key_id(key: Key) -> x509.SubjectKeyIdentifier:
    """RFC 7093, method 1, for the usual one needs SHA-1."""
    return x509.SubjectKeyIdentifier(hashlib.sha256(key_bytes(key)).digest()[:20])


def _own_key_id(authority: Authority) -> x509.SubjectKeyIdentifier:
    """A given root may have made its key id in another way."""
    known = authority.certificate.key_id
    return x509.SubjectKeyIdentifier(known) if known is not None else _key_id(authority.certificate.key)
