"""Shell. A TLS context with a key that is in no file."""

import os
import ssl
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshtrio.identity.certificate import Certificate


def load_chain(
    context: ssl.SSLContext, key: ec.EllipticCurvePrivateKey, chain: Sequence[Certificate]
) -> None:
    """Let a TLS context show this chain. Python's ssl reads files alone, so it gets one that has no name, is
    in memory, and has gone when this returns."""
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = os.memfd_create("meshtrio-chain")
    try:
        os.write(file, private + b"".join(one.pem for one in chain))
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
