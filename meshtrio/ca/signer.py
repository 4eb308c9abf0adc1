"""Shell. Signs: a signing certificate below the root, made anew in time, and what is signed with it.

Keys are made here and never written. Does not know who may have what.
"""

import secrets
import ssl
from collections.abc import Callable

import msgspec

from meshtrio.identity.bundle import Bundle
from meshtrio.identity.ca import SERIAL_BYTES, Authority, Order, Term, issue, make_intermediate
from meshtrio.identity.certificate import Certificate, Key
from meshtrio.identity.refusal import Refused
from meshtrio.identity.spiffe import SpiffeId
from meshtrio.issuers.signing import fresh_key
from meshtrio.issuers.tls_chain import load_chain

SIGNING_LIFE_S = 90 * 86_400.0
"""Of a signing certificate; another one follows when half of it is over. What it signs ends with it."""
OWN_LIFE_S = 7 * 86_400.0
"""Of the certificate that the CA shows itself; another one follows when half of it is over."""


class Signed(msgspec.Struct, frozen=True):
    """A certificate, and the chain to be shown with it: leaf first, without the root."""

    leaf: Certificate
    chain: tuple[Certificate, ...]


class Names(msgspec.Struct, frozen=True):
    """By what the CA is found."""

    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


NAMELESS = Names()


class Signer:
    """One root at work."""

    def __init__(self, root: Authority, bundle: Bundle, skew_s: float, wall_now: Callable[[], float]) -> None:
        """Make the first signing certificate. Refused if the root may sign none, or has ended."""
        self.trust_domain = root.trust_domain
        self.bundle = bundle
        self._root = root
        self._skew_s = skew_s
        self._wall_now = wall_now
        self._signing = self._made()

    def use(self, root: Authority, bundle: Bundle) -> None:
        """Sign below this root from now on, and tell of these. Refused, and nothing has changed, if it may
        sign none."""
        before, self._root = self._root, root
        try:
            self._signing = self._made()
        except Refused:
            self._root = before
            raise
        self.bundle = bundle

    @property
    def root_ends(self) -> float:
        """The wall time at which the root ends."""
        return self._root.certificate.not_after

    def sign(self, spiffe_id: SpiffeId, key: Key, life_s: float, names: Names = NAMELESS) -> Signed:
        """Sign. It lives shorter where its issuers end before. Refused if it may not be."""
        if is_half_over(self._signing.certificate, self._wall_now()):
            self._signing = self._made()
        order = Order(spiffe_id, key, secrets.token_bytes(SERIAL_BYTES), names.dns, names.addresses)
        leaf = issue(self._signing, order, self._term(life_s))
        return Signed(leaf, (leaf, *self._signing.chain))

    def server_context(self, names: Names) -> tuple[ssl.SSLContext, Certificate]:
        """Make the TLS settings by which the CA is known at these names, and by which nodes show theirs."""
        key = fresh_key()
        own = self.sign(SpiffeId(self.trust_domain, "/meshtrio/ca"), key.public_key(), OWN_LIFE_S, names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["http/1.1"])
        # Who has none may still bring a token.
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=b"".join(one.der for one in self.bundle.anchors))
        load_chain(context, key, own.chain)
        return context, own.leaf

    def _made(self) -> Authority:
        key, serial = fresh_key(), secrets.token_bytes(SERIAL_BYTES)
        return make_intermediate(self._root, key, serial, self._term(SIGNING_LIFE_S))

    def _term(self, life_s: float) -> Term:
        return Term(self._wall_now(), life_s, self._skew_s)


def is_half_over(certificate: Certificate, wall_now: float) -> bool:
    """Say whether more than half of its life is over, so that there is time to try again and again."""
    return wall_now > (certificate.not_before + certificate.not_after) / 2
