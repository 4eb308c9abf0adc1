"""Shell. Strangers with TLS of their own who dial a meshed service, and the authority whose certificates they
have or forge. Knows no agent; mesh.py does.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshtrio.messages import Credentials
from meshtrio.route.modes import ALPN
from meshtrio.secure.keyring import Proof
from tests.support.identities import LEAF, forge, key, root, signing, uris, usage
from tests.support.namespace import Namespace
from tests.support.rings import AT, Shown, private, shown

DOMAIN = "cluster.local"
FRIEND = f"spiffe://{DOMAIN}/ns/shop/sa/friend"
"""Whom all these strangers say to be."""
DAY_S = 86_400.0
PATIENCE_S = 10.0


def give_root(folder: Path) -> dict[str, str]:
    """Write our root to files, and say so in words of the configuration."""
    ours = root(DOMAIN, at=AT)
    certificate, own = folder / "given.pem", folder / "given.key"
    certificate.write_bytes(ours.certificate.pem)
    own.touch(0o600)
    own.write_bytes(ours.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {"root_certificate": str(certificate), "root_key": str(own)}


def friend(spiffe_id: str = FRIEND, number: int = 77) -> Shown:
    """Give what a workload of this mesh shows that is somewhere else."""
    return shown(spiffe_id, number=number, authority=signing(DOMAIN, at=AT))


def forged(*extensions: x509.ExtensionType, begin: float = AT - 300, end: float = AT + DAY_S) -> Shown:
    """Give what is signed by the right authority, and wrong."""
    by = signing(DOMAIN, at=AT)
    der = forge(by, extensions or (*LEAF[:2], uris(FRIEND)), begin=begin, end=end)
    return Shown((der, *(one.der for one in by.chain)), key("leaf"))


def self_signed() -> Shown:

    return Shown(
        (forge(None, (*LEAF[:2], uris(FRIEND)), subject="me", begin=AT - 300, end=AT + DAY_S),), key("leaf")
    )


def ca_as_leaf() -> Shown:
    ca = x509.BasicConstraints(ca=True, path_length=None)
    return forged(ca, usage("digital_signature", "key_cert_sign"), uris(FRIEND))


def context_of(what: Shown | None) -> ssl.SSLContext:
    """Make a client that shows this, or nothing, and believes whatever it is shown."""
    if what is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols([ALPN])
    else:
        told = Credentials(9, FRIEND, what.chain, private(what.own))
        context = Proof(told, root(DOMAIN, at=AT).certificate.der, tls_1_2=True).client
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Call:
    """One connection of a stranger. A context manager."""

    def __init__(self, space: Namespace, host: str, port: int) -> None:
        """Connect, and say nothing yet."""
        self.sock = space.tcp_socket()
        self.sock.settimeout(PATIENCE_S)
        self.began = time.time()
        self.sock.connect((host, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ip, from_port = self.sock.getsockname()
        self.source = f"{ip}:{from_port}"
        """As the agent writes it."""
        self.tls: ssl.SSLSocket | None = None

    def __enter__(self) -> "Call":
        return self

    def __exit__(self, *_: object) -> None:
        (self.tls or self.sock).close()

    def greeted(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> bytes:
        """Do the handshake, and hear the server's greeting; empty: the connection was ended instead."""
        try:
            self.tls = context.wrap_socket(self.sock, session=session)
            return self.tls.recv(4096)
        except (ConnectionError, ssl.SSLError):
            return b""

    def ends(self) -> bool:
        """Say whether the other side ends the connection, before our patience does."""
        try:
            while self.sock.recv(65_536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True


class ByHand:
    """TLS whose bytes somebody else carries."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """Begin; `words` are what is to be sent first."""
        self._arriving, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arriving, self._leaving)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self.words = self._leaving.read()

    def greeted(self, sock: socket.socket) -> bytes:
        """Go on when the first words are sent, and hear the server's greeting."""
        while True:
            self._arriving.write(sock.recv(65_536))
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                sock.sendall(self._leaving.read())
                return self._tls.read(4096)


ATTACKS: dict[str, tuple[Callable[[], Shown | None], str]] = {
    "no certificate": (lambda: None, "no certificate was shown"),
    "self-signed": (self_signed, "self-signed"),
    "other CA": (lambda: shown(FRIEND, authority=signing(DOMAIN, 7, at=AT)), "unable to get local issuer"),
    "expired": (lambda: forged(begin=AT - DAY_S, end=AT - 400), "expired"),
    "not yet valid": (lambda: forged(begin=AT + 50_000), "valid only in"),
    "other trust domain": (
        lambda: shown("spiffe://other/ns/shop/sa/friend", authority=signing("other", at=AT)),
        "unable to get local issuer",
    ),
    "trust domain that is not its CA's": (
        lambda: forged(*LEAF[:2], uris("spiffe://other/ns/shop/sa/friend")),
        "we have no roots of other",
    ),
    "two URIs": (lambda: forged(*LEAF[:2], uris(FRIEND, f"{FRIEND}s")), "URI"),
    "CA as leaf": (ca_as_leaf, "it may sign others"),
}
"""What strangers show, and what the refusal says of it."""
