"""Shell. Who the workloads of this worker are, whom they believe, and the TLS contexts that follow from that.

Does not know sockets or handshakes. What it holds comes from the agent; nothing of it is written anywhere but
into memory that has no name on any disk.

A context lives as long as nothing changes of what it was made from: the workload's certificate, trust,
revocations, settings. The key of session tickets is a part of it (a random one each), so after any change old
tickets open nothing, and what was verified in a full handshake holds for as long as a session can be resumed.
"""

import base64
import gc
import math
import os
import ssl
from collections import OrderedDict
from typing import TYPE_CHECKING

from meshtrio.address import Address
from meshtrio.config.identity import Mtls
from meshtrio.messages import Credentials, Trusted
from meshtrio.observe import log
from meshtrio.route.modes import ALPN
from meshtrio.secure.offering import Kept

if TYPE_CHECKING:  # `cryptography` costs megabytes, which a worker without identities need not have
    from meshtrio.identity.chain import Peer
    from meshtrio.identity.spiffe import SpiffeId
    from meshtrio.identity.trust import Trust

SESSIONS_BOUND = 1024
"""Sessions that one workload keeps for endpoints. Full: the one that was not used for longest goes."""
CIPHERS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME: OpenSSL knows no tolerance for clocks, so `identity.chain` judges time."""
_CERTIFICATE, _KEY = "CERTIFICATE", "PRIVATE KEY"


class NoIdentity(Exception):
    """The workload cannot prove who it is now. The words say why."""


class Proof:
    """One workload as it can prove itself now: contexts, and the sessions made with them."""

    __slots__ = ("chains", "client", "server", "server_way", "sessions", "spiffe_id")

    def __init__(self, credentials: Credentials, roots: bytes, *, tls_1_2: bool) -> None:
        self.spiffe_id = credentials.spiffe_id
        self.server = _context(ssl.PROTOCOL_TLS_SERVER, credentials, roots, tls_1_2=tls_1_2)
        self.client = _context(ssl.PROTOCOL_TLS_CLIENT, credentials, roots, tls_1_2=tls_1_2)
        self.server_way: tuple[int, bool] | None = None
        """How the server's context is set now, see `resumption.settle`."""
        self.sessions: OrderedDict[Address, tuple[Kept, Peer]] = OrderedDict()
        """By endpoint, with who was verified there in the full handshake."""
        self.chains: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()
        """By the leaf, what callers have shown in full handshakes; a ticket has the leaf only."""

    def session(self, address: Address, expected: "SpiffeId | None") -> "tuple[Kept, Peer] | None":
        """Find a session for this endpoint, made with whoever is expected there now."""
        known = self.sessions.get(address)
        if known is None or (expected is not None and known[1].spiffe_id != expected):
            return None
        self.sessions.move_to_end(address)
        return known

    def keep(self, address: Address, session: ssl.SSLSession, peer: "Peer") -> None:
        """Remember a session that can be resumed, of a connection that is well."""
        self.sessions[address] = Kept(session), peer
        self.sessions.move_to_end(address)
        while len(self.sessions) > SESSIONS_BOUND:
            self.sessions.popitem(last=False)

    def forget(self, address: Address, known: "tuple[Kept, Peer]") -> None:
        """Drop a session that the endpoint did not take."""
        if self.sessions.get(address) is known:
            del self.sessions[address]

    def has_shown(self, chain: list[bytes]) -> None:
        """Remember what a caller showed who may come again with a ticket."""
        self.chains[chain[0]] = tuple(chain)
        self.chains.move_to_end(chain[0])
        while len(self.chains) > SESSIONS_BOUND:
            self.chains.popitem(last=False)

    def __repr__(self) -> str:
        return f"Proof({self.spiffe_id!r})"


class Keyring:
    """The identities of all workloads of a worker, and its trust."""

    def __init__(self) -> None:
        self._tls_1_2 = False
        self.skew_s = 300.0
        """By how much other machines' clocks may differ."""
        # Both bounded by the workloads of this machine.
        self._credentials: dict[int, Credentials] = {}
        self._proofs: dict[int, Proof] = {}
        self._trusted: Trusted | None = None
        self._trust: Trust | None = None
        self._roots = b""

    def settle(self, mtls: Mtls, skew_s: float) -> None:
        """Take the settings. What changed holds for the next handshake."""
        if (mtls.tls_1_2, skew_s) != (self._tls_1_2, self.skew_s):
            self._tls_1_2, self.skew_s = mtls.tls_1_2, skew_s
            self._proofs.clear()

    def learn(self, news: Credentials | Trusted) -> None:
        """Take who a workload is, or whom to believe, for all handshakes from now on.

        What cannot be read changes nothing but the log. Never raises.
        """
        if isinstance(news, Trusted):
            self._believe(news)
        else:
            self._know(news)

    def forget(self, workload: int) -> None:
        """Forget a workload that has gone."""
        self._credentials.pop(workload, None)
        self._proofs.pop(workload, None)

    def identity(self, workload: int) -> str:
        """Give the SPIFFE ID that a workload can prove now; empty: none."""
        known = self._credentials.get(workload)
        return known.spiffe_id if known is not None and known.chain and self._trust is not None else ""

    def why_none(self, workload: int) -> str:
        """Say why a workload has no identity."""
        known = self._credentials.get(workload)
        if known is None:
            return "no certificate has come for this workload"
        if not known.chain:
            return known.why or "it has no valid certificate"
        return "it is not known whom to trust" if self._trust is None else ""

    def proof(self, workload: int) -> Proof:
        """Give what a handshake needs. NoIdentity if there is none."""
        proof = self._proofs.get(workload)
        if proof is None:
            if not self.identity(workload):
                raise NoIdentity(self.why_none(workload))
            proof = Proof(self._credentials[workload], self._roots, tls_1_2=self._tls_1_2)
            self._proofs[workload] = proof
        return proof

    @property
    def trust(self) -> "Trust":
        """Whom we believe now. NoIdentity if that is not known."""
        if self._trust is None:
            raise NoIdentity("it is not known whom to trust")
        return self._trust

    def _believe(self, news: Trusted) -> None:
        if news == self._trusted:
            return  # sessions go on
        try:
            trust, roots = _read_trust(news)
        except ValueError as fault:
            log.warning("what was told of trust is not taken", why=str(fault))
            return
        if self._trust is None:
            # What was imported for this stays; to look it through again and again would hold connections up.
            gc.freeze()
        self._trusted, self._trust, self._roots = news, trust, roots
        self._proofs.clear()

    def _know(self, news: Credentials) -> None:
        if news == self._credentials.get(news.workload):
            return
        if news.chain:
            try:
                _context(ssl.PROTOCOL_TLS_SERVER, news, b"", tls_1_2=False)
            except (ValueError, OSError) as fault:
                # OpenSSL's words name its own functions, never what it was given.
                log.warning("a certificate cannot be used", workload=news.workload, why=str(fault))
                return
        self._credentials[news.workload] = news
        self._proofs.pop(news.workload, None)


def _read_trust(news: Trusted) -> "tuple[Trust, bytes]":
    """Read what the agent says of trust. ValueError if any of it cannot be relied on."""
    from meshtrio.identity.bundle import make_bundle
    from meshtrio.identity.certificate import read
    from meshtrio.identity.refusal import Refused
    from meshtrio.identity.revocation import Revocations
    from meshtrio.identity.spiffe import parse_workload
    from meshtrio.identity.trust import Trust

    def until(moment: float) -> float:
        return moment or math.inf

    try:
        bundles = {
            name: make_bundle(name, tuple(read(der) for der in roots)) for name, roots in news.bundles.items()
        }
    except Refused as refused:
        raise ValueError(f"a root: {refused}") from refused
    revocations = Revocations(
        {int(serial, 16): until(moment) for serial, moment in news.revoked_serials.items()},
        {parse_workload(text): until(moment) for text, moment in news.revoked_ids.items()},
    )
    ders = dict.fromkeys(der for roots in news.bundles.values() for der in roots)
    return Trust(news.own, bundles, revocations), b"".join(ders)


def _context(kind: int, credentials: Credentials, roots: bytes, *, tls_1_2: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(kind)
    context.check_hostname = False  # names say nothing in the mesh; who it is says the SPIFFE ID
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2 if tls_1_2 else ssl.TLSVersion.TLSv1_3
    context.set_ciphers(CIPHERS_1_2)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME) | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols([ALPN])
    if roots:
        context.load_verify_locations(cadata=roots)
    _show(context, credentials)
    return context


def _show(context: ssl.SSLContext, credentials: Credentials) -> None:
    """Give a context its certificate and key. Python's ssl reads them from files only: here from memory."""
    text = "".join(_pem(_CERTIFICATE, der) for der in credentials.chain) + _pem(_KEY, credentials.key)
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
    finally:
        os.close(descriptor)


def _pem(what: str, der: bytes) -> str:
    lines = base64.encodebytes(der).decode()
    return f"-----BEGIN {what}-----\n{lines}-----END {what}-----\n"


def _no_password() -> str:
    """Without this OpenSSL would ask at the terminal for the password of a key that is encrypted."""
    return ""
