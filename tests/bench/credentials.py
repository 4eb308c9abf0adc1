"""Shell. The root that all peers of two hops believe, and certificates below it for those without a CA.

They are of the kind that meshtrio makes itself, by its own CA: P-256, a leaf and the signing certificate.
"""

import time
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from meshtrio.identity.spiffe import parse
from meshtrio.issuers.issuer import Wanted
from meshtrio.issuers.signing import Signer, fresh_root

NEAR_ID, FAR_ID = "spiffe://bench/ns/bench/sa/near", "spiffe://bench/ns/bench/sa/far"
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
