"""Shell. A CA at work: it makes keys and serials by luck, keeps a signing certificate below its root, and
signs leaves with that. Blocks for a millisecond each. Does not know where roots come from.
"""

import secrets

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshtrio.identity.ca import SERIAL_BYTES, Authority, Order, Term, issue, make_intermediate, make_root
from meshtrio.identity.plan import Validity
from meshtrio.issuers.issuer import Issued, Wanted

ROOT_LIFE_S = 10 * 365 * 86_400.0
SIGNING_LIVES = 30
"""A signing certificate lives as long as so many leaves, and is replaced in the middle of its life."""


class Signer:
    """Signs leaves below one root at a time. In one thread at a time."""

    def __init__(self) -> None:
        """Begin without signing certificate."""
        self._signing: Authority | None = None
        self._parent: Authority | None = None

    def issue(self, root: Authority, wanted: Wanted, wall_now: float, skew_s: float) -> Issued:
        """Make a leaf with a new key. Refused if the root has ended, or the id is not of its trust domain."""
        signing = self._below(root, Term(wall_now, wanted.life_s * SIGNING_LIVES, skew_s))
        key = fresh_key()
        order = Order(wanted.spiffe_id, key.public_key(), secrets.token_bytes(SERIAL_BYTES))
        leaf = issue(signing, order, Term(wall_now, wanted.life_s, skew_s))
        chain = (leaf.der, *(one.der for one in signing.chain))
        secret = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return Issued(wanted.spiffe_id, chain, secret, leaf.serial, Validity(leaf.not_before, leaf.not_after))

    def _below(self, root: Authority, term: Term) -> Authority:
        """Give the authority that signs leaves: the root itself if it may sign nothing else."""
        if root.certificate.path_length == 0:
            return root
        signing = self._signing
        if signing is None or self._parent is not root or not _is_young(signing, term):
            serial = secrets.token_bytes(SERIAL_BYTES)
            signing = make_intermediate(root, fresh_key(), serial, term)
            self._signing, self._parent = signing, root
        return signing


def fresh_root(trust_domain: str, wall_now: float, skew_s: float) -> Authority:
    """Make a root with a new key."""
    term = Term(wall_now, ROOT_LIFE_S, skew_s)
    return make_root(fresh_key(), trust_domain, secrets.token_bytes(SERIAL_BYTES), term)


def fresh_key() -> ec.EllipticCurvePrivateKey:
    """Make a key of the kind that we use."""
    return ec.generate_private_key(ec.SECP256R1())


def _is_young(signing: Authority, term: Term) -> bool:
    """Say whether it may sign on. Not if the clock was set back to before it began."""
    begin, end = signing.certificate.not_before, signing.certificate.not_after
    return begin <= term.wall_now <= end - term.life_s / 2
