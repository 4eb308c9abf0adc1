"""Shell. The root that all peers of two hops believe, and certificates below it for those without a CA.

They are of the kind that meshtrio makes itself, by its own CA: P-256, a leaf and the signing certificate.
"""

import datetime
import time
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from meshtrio.identity.spiffe import parse
from meshtrio.issuers.issuer import Wanted
from meshtrio.issuers.signing import Signer, fresh_root

NEAR_ID, FAR_ID = "spiffe://bench/ns/bench/sa/near", "spiffe://bench/ns/bench/sa/far"
FAR_NAME = "far.bench"
"""For who knows hosts only, and no SPIFFE IDs."""
LIFE_S = 86_400.0


class Files(NamedTuple):
    """PEM files."""

    root: Path
    root_key: Path
    near: Path
    """Chain and key of the load's side."""
    far: Path


def write(folder: Path) -> Files:
    """Make a root and two certificates below it."""
    files = Files(*(folder / f"{name}.pem" for name in Files._fields))
    authority = fresh_root("bench", time.time(), 300.0)
    files.root.write_bytes(authority.certificate.parsed.public_bytes(Encoding.PEM))
    files.root_key.touch(0o600)
    files.root_key.write_bytes(authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signer = Signer()
    for spiffe_id, path in ((NEAR_ID, files.near), (FAR_ID, files.far)):
        made = signer.issue(authority, Wanted(parse(spiffe_id), "bench", LIFE_S), time.time(), 300.0)
        key = load_der_private_key(made.key, None)
        chain = [x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in made.chain]
        path.touch(0o600)
        path.write_bytes(
            b"".join((*chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())))
        )
    return files


def write_named(files: Files, path: Path) -> Path:
    """Make one more for the servers' side, of FAR_NAME, right below the root."""
    root = x509.load_pem_x509_certificate(files.root.read_bytes())
    root_key = load_pem_private_key(files.root_key.read_bytes(), None)
    assert isinstance(root_key, EllipticCurvePrivateKey)
    key, now = generate_private_key(SECP256R1()), datetime.datetime.now(tz=datetime.UTC)
    leaf = (
        x509.CertificateBuilder(root.subject, x509.Name([]), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(seconds=LIFE_S))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(FAR_NAME)]), critical=True)
        .sign(root_key, SHA256())
    )
    path.touch(0o600)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(leaf.public_bytes(Encoding.PEM) + private)
    return path
