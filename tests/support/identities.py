"""Shell. Authorities and certificates for tests: right ones in a line, and wrong ones in any way wanted."""

import datetime
import functools
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from meshtrio.identity.bundle import make_bundle
from meshtrio.identity.ca import Authority, Order, PrivateKey, Term, issue, make_intermediate, make_root
from meshtrio.identity.certificate import Certificate, read
from meshtrio.identity.chain import verify
from meshtrio.identity.refusal import Reason, Refused
from meshtrio.identity.spiffe import parse
from meshtrio.identity.trust import Trust

NOW = 1_800_000_000.0
DAY_S = 86_400.0
WEB = parse("spiffe://td/ns/shop/sa/web")


@functools.cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """Give the same P-256 key for the same name, within one run."""
    return ec.generate_private_key(ec.SECP256R1())


def serial(number: int) -> bytes:
    return number.to_bytes(16, "big")


@functools.cache
def root(trust_domain: str = "td", number: int = 1, at: float = NOW) -> Authority:
    own = key(f"root{number}{trust_domain}")
    unique = serial(number + 100 * len(trust_domain))
    return make_root(own, trust_domain, unique, Term(at, 3650 * DAY_S))


@functools.cache
def signing(trust_domain: str = "td", number: int = 1, at: float = NOW) -> Authority:
    """Make a signing certificate below the root of the same number."""
    parent = root(trust_domain, number, at)
    return make_intermediate(parent, key(f"signing{number}"), serial(1000 + number), Term(at, 30 * DAY_S))


def leaf(authority: Authority, spiffe_id: str = str(WEB), number: int = 77, at: float = NOW) -> Certificate:
    order = Order(parse(spiffe_id), key("leaf").public_key(), serial(number))
    return issue(authority, order, Term(at, DAY_S))


def shown(certificate: Certificate, *others: Certificate) -> list[bytes]:
    return [certificate.der, *(one.der for one in others)]


def trust(*domains: str) -> Trust:
    """Trust the first roots of these trust domains; `td` is ours."""
    found = Trust("td")
    for name in domains or ("td",):
        bundle = make_bundle(name, (root(name).certificate,), 1)
        found = found.with_own(bundle) if name == "td" else found.federate(bundle)
    return found


USAGE = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)


def usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{**USAGE, **dict.fromkeys(names, True)})


def uris(*values: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(value) for value in values])


CA_FALSE = x509.BasicConstraints(ca=False, path_length=None)
LEAF: tuple[x509.ExtensionType, ...] = (
    CA_FALSE,
    usage("digital_signature"),
    uris(str(WEB)),
)
SIGNING: tuple[x509.ExtensionType, ...] = (
    x509.BasicConstraints(ca=True, path_length=None),
    usage("key_cert_sign"),
)


def forge(
    authority: Authority | None,
    extensions: Sequence[x509.ExtensionType] = LEAF,
    *,
    own: PrivateKey | None = None,
    subject: str = "",
    hash_with: hashes.SHA256 | hashes.SHA224 | None = None,
    number: int = 78,
    begin: float = NOW - 300,
    end: float = NOW + DAY_S,
) -> bytes:
    """Make a certificate that says whatever is wanted; without authority it signs itself."""
    own = own or key("leaf")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)] if subject else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(authority.certificate.parsed.subject if authority else name)
        .public_key(own.public_key())
        .serial_number(number)
        .not_valid_before(datetime.datetime.fromtimestamp(begin, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(end, datetime.UTC))
    )
    for value in extensions:
        builder = builder.add_extension(value, critical=not isinstance(value, x509.ExtendedKeyUsage))
    made = builder.sign(authority.key if authority else own, hash_with or hashes.SHA256())
    return made.public_bytes(Encoding.DER)


def authority_of(der: bytes, own: PrivateKey, trust_domain: str = "td") -> Authority:
    return Authority(read(der), own, trust_domain)


def signer(*extensions: x509.ExtensionType) -> tuple[bytes, Authority]:
    """Make a signing certificate by our root that says what is wanted."""
    der = forge(root(), extensions, own=key("signer"), subject="signer")
    return der, authority_of(der, key("signer"))


def constraint(*permitted: str, excluded: tuple[str, ...] = ()) -> x509.NameConstraints:
    allowed = [x509.UniformResourceIdentifier(value) for value in permitted] or None
    denied = [x509.UniformResourceIdentifier(value) for value in excluded] or None
    return x509.NameConstraints(allowed, denied)


def refused(presented: Sequence[bytes], by: Trust, now: float = NOW) -> Reason:
    """Say why this chain is refused. Fails if it is not."""
    try:
        peer = verify(presented, by, now)
    except Refused as refusal:
        assert str(refusal).isprintable()
        return refusal.reason
    raise AssertionError(f"{peer.spiffe_id} is accepted")
