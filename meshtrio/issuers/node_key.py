"""Shell. The key and the certificate by which this node is known to its CA, in a file of mode 0600. Blocks.

They must live over a restart, for a join token is good once; so the key is on the disk before the token is
used. Workloads' keys are never here.
"""

import contextlib
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from meshtrio.identity.certificate import Certificate, key_bytes, read_pem
from meshtrio.identity.refusal import Refused
from meshtrio.issuers.signing import fresh_key
from meshtrio.issuers.whole_file import locked, write_whole
from meshtrio.observe import log

KEPT = "node.pem"
JOINING = "node-joining.pem"
"""The key of an attempt to join, until that has succeeded."""
FILE_BYTES = 1 << 20


class NodeKey(msgspec.Struct, frozen=True):
    """A key, and the chain that says whose it is (leaf first; empty: nobody has said so yet)."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[Certificate, ...] = ()

    def __repr__(self) -> str:
        return f"NodeKey({len(self.chain)} certificates)"


def new() -> NodeKey:
    """Make one that nobody knows."""
    return NodeKey(fresh_key())


def load(directory: str, name: str) -> NodeKey | None:
    """Read what was kept; None if there is nothing that can be used (then the node has to join)."""
    path = Path(directory, name)
    try:
        with open(path, "rb") as file:
            text = file.read(FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as cause:
        log.warning("the node's key cannot be read", path=str(path), why=cause.strerror)
        return None
    try:
        key = load_pem_private_key(text, password=None)
        chain = read_pem(text) if b"BEGIN CERTIFICATE" in text else ()
    except (ValueError, TypeError, UnsupportedAlgorithm, Refused):
        # Without the library's words, which might quote the key.
        log.warning("the node's key is broken; the node has to join again", path=str(path))
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return None
    if chain and key_bytes(chain[0].key) != key_bytes(key.public_key()):
        chain = ()
    return NodeKey(key, chain)


def save(directory: str, name: str, what: NodeKey) -> None:
    """Keep it, whole or not at all. OSError if the disk does not want it."""
    private = what.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with locked(Path(directory)):
        write_whole(Path(directory, name), private + b"".join(one.pem for one in what.chain))


def remove(directory: str, name: str) -> None:
    """Take it away, if it is there."""
    with contextlib.suppress(OSError):
        Path(directory, name).unlink(missing_ok=True)
