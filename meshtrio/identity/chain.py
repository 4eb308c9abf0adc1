"""Core. Who is at the other end? From the certificates they showed, what we trust, and the time.

RFC 5280, section 6, as far as SVIDs need it, and not by `cryptography.x509.verification`, which wants DNS or
IP names of servers and knows no tolerance for clocks. Other certificates than the first may come in any
order and may be too many (TLS 1.3, 4.4.2), so the path is searched, from the leaf up: at each step the roots
first, then what was shown. The search looks at SIGNATURES_BOUND signatures at most.
"""

from collections.abc import Sequence
from functools import lru_cache

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from meshtrio.identity.bundle import Bundle
from meshtrio.identity.certificate import CACHED, Certificate, read
from meshtrio.identity.constraints import check_names
from meshtrio.identity.refusal import Reason, Refused
from meshtrio.identity.spiffe import SpiffeId
from meshtrio.identity.svid import check_anchor, check_leaf, check_signing, check_time
from meshtrio.identity.trust import Trust

SKEW_S = 300.0
CHAIN_CERTIFICATES = 6
CHAIN_BYTES = 32 * 1024
PATH_CERTIFICATES = 6
"""From leaf to root, both counted: ours have three."""
SIGNATURES_BOUND = 16
"""Verifications of signatures for one chain; each takes some 50 to 200 us, RSA-8192 a few times that."""


class Peer(msgspec.Struct, frozen=True, gc=False):
    """Somebody whose identity is proved."""

    spiffe_id: SpiffeId
    serial: int
    not_before: float
    not_after: float
    """Of the leaf."""
    chain: tuple[bytes, ...]
    """The path that proves it, from leaf to root, as DER. Verified again it gives the same peer.

    Not a name for the certificate: how a signature is written can be changed by anyone.
    """


def verify(
    presented: Sequence[bytes],
    trust: Trust,
    wall_now: float,
    *,
    skew_s: float = SKEW_S,
    expected: SpiffeId | None = None,
) -> Peer:
    """Say who showed this chain (DER, leaf first). Refused, with one reason, if it proves nobody, or somebody
    else than `expected`. That the other side has the leaf's key is not proved here; TLS does that."""
    shown = _read_all(presented)
    leaf = shown[0]
    spiffe_id = check_leaf(leaf)
    path = _Search(trust, spiffe_id.trust_domain, wall_now, skew_s).path(tuple(shown))
    check_time(leaf, wall_now, skew_s)
    revoked = trust.revocations
    if revoked.has_serial(leaf.serial, wall_now) or revoked.has_id(spiffe_id, wall_now):
        raise Refused(Reason.REVOKED, f"{spiffe_id} with serial {leaf.serial:x} is revoked")
    if expected is not None and spiffe_id != expected:
        raise Refused(Reason.WRONG_IDENTITY, f"it is {spiffe_id}, want {expected}")
    chain = tuple(one.der for one in path)
    return Peer(spiffe_id, leaf.serial, leaf.not_before, leaf.not_after, chain)


_paths: "dict[tuple[Certificate, ...], tuple[Bundle, tuple[Certificate, ...]]]" = {}
"""By what was shown, the path that was found last, and the roots of that time. Full: all are forgotten."""


@lru_cache(CACHED)
def signed_by(child: Certificate, issuer: Certificate) -> bool:
    """Say whether the issuer's key made the child's signature, and the child names that issuer.

    That never changes, so it is remembered; what changes (time, trust, revocation) is asked elsewhere.
    """
    try:
        child.parsed.verify_directly_issued_by(issuer.parsed)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _read_all(presented: Sequence[bytes]) -> list[Certificate]:
    if not presented:
        raise Refused(Reason.NO_CERTIFICATE, "no certificate was shown")
    if len(presented) > CHAIN_CERTIFICATES:
        words = f"a chain of {len(presented)} certificates, want {CHAIN_CERTIFICATES} at most"
        raise Refused(Reason.TOO_LARGE, words)
    if sum(map(len, presented)) > CHAIN_BYTES:
        raise Refused(Reason.TOO_LARGE, f"a chain of more than {CHAIN_BYTES} bytes")
    return [read(der) for der in presented]


class _Search:
    """One search for a path. Remembers the first thing that was wrong with an issuer whose name fitted, for
    that tells more than that no path was found."""

    def __init__(self, trust: Trust, trust_domain: str, wall_now: float, skew_s: float) -> None:
        bundle = trust.bundle(trust_domain)
        if bundle is None:
            raise Refused(Reason.UNKNOWN_TRUST_DOMAIN, f"we have no roots of {trust_domain}")
        self._bundle = bundle
        self._anchors = bundle.anchors
        self._trust_domain = trust_domain
        self._revocations = trust.revocations
        self._wall_now = wall_now
        self._skew_s = skew_s
        self._signatures = 0
        self._wrong: Refused | None = None

    def path(self, shown: tuple[Certificate, ...]) -> tuple[Certificate, ...]:
        """Find the path; the one that was found before, if it is of the same roots and holds still."""
        known = _paths.get(shown)
        if known is not None and known[0] is self._bundle and all(map(self._holds, known[1][1:])):
            return known[1]
        path = self.from_leaf(shown[0], list(shown[1:]))
        if len(_paths) >= CACHED:
            _paths.clear()
        _paths[shown] = self._bundle, path
        return path

    def _holds(self, issuer: Certificate) -> bool:
        """Say whether what can change of an issuer speaks for it now: time, and revocation."""
        try:
            check_time(issuer, self._wall_now, self._skew_s)
            self._check_revoked(issuer)
        except Refused:
            return False
        return True

    def from_leaf(self, leaf: Certificate, others: list[Certificate]) -> tuple[Certificate, ...]:
        path = self._upwards((leaf,), tuple(one for one in dict.fromkeys(others) if one != leaf))
        if path is not None:
            return path
        if self._wrong is not None:
            raise self._wrong
        if leaf.issued_itself:
            raise Refused(Reason.SELF_SIGNED, "it signed itself")
        raise Refused(Reason.UNTRUSTED, f"no path to a root of {self._trust_domain}")

    def _upwards(
        self, path: tuple[Certificate, ...], others: tuple[Certificate, ...]
    ) -> tuple[Certificate, ...] | None:
        if len(path) >= PATH_CERTIFICATES:
            return None
        for anchor in self._anchors:
            if self._issued(path, anchor, is_anchor=True):
                return (*path, anchor)
        for other in others:
            if self._issued(path, other, is_anchor=False):
                left = tuple(one for one in others if one is not other)
                found = self._upwards((*path, other), left)
                if found is not None:
                    return found
        return None

    def _issued(self, path: tuple[Certificate, ...], issuer: Certificate, *, is_anchor: bool) -> bool:
        child = path[-1]
        if child.issuer != issuer.subject or _another_key(child, issuer):
            return False
        try:
            if is_anchor:
                check_anchor(issuer)
            else:
                check_signing(issuer, self._trust_domain)
            check_time(issuer, self._wall_now, self._skew_s)
            self._check_revoked(issuer)
            _check_path_length(path, issuer)
            for below in path:
                if below is path[0] or not below.issued_itself:
                    check_names(issuer, below)
            self._check_signature(child, issuer)
        except Refused as refused:
            self._wrong = self._wrong or refused
            return False
        return True

    def _check_revoked(self, issuer: Certificate) -> None:
        if self._revocations.has_serial(issuer.serial, self._wall_now):
            raise Refused(Reason.REVOKED, f"an issuer with serial {issuer.serial:x} is revoked")

    def _check_signature(self, child: Certificate, issuer: Certificate) -> None:
        self._signatures += 1
        if self._signatures > SIGNATURES_BOUND:
            raise Refused(Reason.TOO_LARGE, f"more than {SIGNATURES_BOUND} signatures to look at")
        if not signed_by(child, issuer):
            raise Refused(Reason.BAD_SIGNATURE, "the issuer's key did not sign it")


def _another_key(child: Certificate, issuer: Certificate) -> bool:
    """Two roots may have one name while one follows the other; key ids tell them apart at no cost."""
    if child.issuer_key_id is None or issuer.key_id is None:
        return False
    return child.issuer_key_id != issuer.key_id


def _check_path_length(path: tuple[Certificate, ...], issuer: Certificate) -> None:
    """Count the signing certificates below, without those that follow themselves (RFC 5280, 4.2.1.9)."""
    below = sum(1 for one in path[1:] if not one.issued_itself)
    if issuer.path_length is not None and below > issuer.path_length:
        words = f"{below} signing certificates below one that allows {issuer.path_length}"
        raise Refused(Reason.PATH_LENGTH, words)
