"""Shell. Key rings for tests: workloads with certificates of test authorities, and trust in those."""

import time
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshtrio.config.identity import Mtls
from meshtrio.identity.ca import Authority
from meshtrio.messages import Credentials, Trusted
from meshtrio.secure.keyring import Keyring
from tests.support.identities import key, leaf, root, signing

CLIENT, SERVER = 1, 2
CLIENT_ID, SERVER_ID = "spiffe://td/ns/shop/sa/client", "spiffe://td/ns/shop/sa/server"
AT = float(int(time.time()))


def private(own: ec.EllipticCurvePrivateKey) -> bytes:
    return own.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


class Shown(NamedTuple):
    """What somebody shows and proves."""

    chain: tuple[bytes, ...]
    own: ec.EllipticCurvePrivateKey


def shown(spiffe_id: str, *, number: int = 77, authority: Authority | None = None, at: float = AT) -> Shown:
    by = authority or signing(at=AT)
    made = leaf(by, spiffe_id, number, at)
    return Shown((made.der, *(one.der for one in by.chain)), key("leaf"))


def credentials(workload: int, spiffe_id: str, what: Shown | None = None) -> Credentials:
    what = what or shown(spiffe_id, number=100 + workload)
    return Credentials(workload, spiffe_id, what.chain, private(what.own), AT + 86_400)


def trusted(
    *others: str, serials: dict[str, float] | None = None, ids: dict[str, float] | None = None
) -> Trusted:
    bundles: dict[str, tuple[bytes, ...]] = {
        name: (root(name, at=AT).certificate.der,) for name in ("td", *others)
    }
    return Trusted("td", bundles, serials or {}, ids or {})


def ring(*, tls_1_2: bool = False, skew_s: float = 300.0) -> Keyring:
    """Make a ring with two workloads, a client and a server."""
    made = Keyring()
    made.settle(Mtls(tls_1_2=tls_1_2), skew_s)
    made.learn(trusted())
    made.learn(credentials(CLIENT, CLIENT_ID))
    made.learn(credentials(SERVER, SERVER_ID))
    return made
