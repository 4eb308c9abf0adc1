"""Shell. The TLS handshake between two workloads, as the one who dials and as the one who is dialled.

Knows the ring, sockets and trio; does not know services or policy. The caller owns the clock. OpenSSL proves
that the other side has the key of the certificate it shows; who that is, and whether it is believed, decides
`identity.chain`. In TLS 1.3 the dialling side is done before the other has judged it: that it was refused
shows at its first read, as a reset.

A resumed session has proved only that it goes on from an earlier one, so everything that can have changed
since is asked again. The dialling side remembers the chain and verifies it as if it had been shown now. The
dialled side takes the leaf only; for it are asked the leaf's rules and time, its trust domain, and revocation
by id and serial. That is enough, since the signatures above the leaf do not change, and whatever else could
(roots, revoked issuers, our own identity) makes a new context, which has no session of before, and a new key,
so that no ticket of before is taken. If whom to believe changes amid a handshake, the chain that was shown in
the full one is verified by what holds now.
"""

import socket
import ssl
from typing import TYPE_CHECKING, NamedTuple

import trio

from meshtrio.address import Address
from meshtrio.forward.sealed import Sealed, seal
from meshtrio.forward.tcp import close_with_reset
from meshtrio.observe import log
from meshtrio.route.modes import ALPN
from meshtrio.secure.keyring import Keyring, NoIdentity, Proof
from meshtrio.secure.offering import Kept
from meshtrio.secure.resumption import settle, shown_by, verify_again
from meshtrio.secure.verdict import HandshakeError as HandshakeError
from meshtrio.secure.verdict import refusal_of

if TYPE_CHECKING:
    from meshtrio.identity.chain import Peer
    from meshtrio.identity.spiffe import SpiffeId

READ_BYTES = 16_384
HANDSHAKE_BYTES = 65_536
"""The most that is taken from a stranger: twice the longest chain that we would accept."""


class Secured(NamedTuple):
    """A connection whose other side is known."""

    end: Sealed
    peer: "Peer"
    version: str
    cipher: str
    resumed: bool


async def dial_securely(
    sock: socket.socket, *, ring: Keyring, workload: int, address: Address, expected: "SpiffeId | None"
) -> Secured:
    """Do the handshake as the dialling side, over a connected socket, and verify who is there.

    A session that was made with the same endpoint, as the same identity, is resumed. If this raises,
    HandshakeError or Cancelled, the socket is closed, and the other side has got an alert if there was one.
    """
    handshake = _Handshake(sock)
    try:
        proof = _proof(ring, workload)
        known = proof.session(address, expected)
        handshake.begin(proof.client, server_side=False, session=known[0] if known else None)
        await handshake.run()
        if known is not None and not handshake.tls.session_reused:
            proof.forget(address, known)
        known_peer = known[1] if known else None
        peer = handshake.endpoint(ring, known_peer, expected=expected)
        return handshake.secured(peer, proof, address)
    except BaseException:
        close_with_reset(sock)
        raise


async def accept_securely(
    sock: socket.socket,
    *,
    ring: Keyring,
    workload: int,
    any_alpn: bool = False,
    offered_bytes: int | None = None,
) -> Secured:
    """Do the handshake as the dialled side, and verify who dialled. As `dial_securely` if it fails.

    `any_alpn`: clients that do not ask for our protocol are served, too. `offered_bytes`: how long the ticket
    is that a mesh offers, see `resumption.settle`.
    """
    handshake = _Handshake(sock)
    try:
        proof, trust = _proof(ring, workload), ring.trust
        settle(proof, offered_bytes)
        handshake.begin(proof.server, server_side=True)
        await handshake.run()
        if not any_alpn:
            handshake.check_alpn("caller")
        return handshake.secured(handshake.caller(ring, proof, still_good=ring.trust is trust))
    except BaseException:
        close_with_reset(sock)
        raise


def _proof(ring: Keyring, workload: int) -> Proof:
    try:
        return ring.proof(workload)
    except NoIdentity as why:
        raise HandshakeError("no_identity", str(why)) from why


class _Handshake:
    """One handshake under way."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls: ssl.SSLObject
        self.taken_bytes = 0

    def begin(self, context: ssl.SSLContext, *, server_side: bool, session: Kept | None = None) -> None:
        self.sock.setblocking(False)
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side)
        if session is not None:
            session.offer(self.tls)

    async def run(self) -> None:
        """Exchange messages until both sides have what they need."""
        if self.tls.server_side:
            await self._listen()
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                if self.outgoing.pending:
                    await self._speak()
                    # The answer takes a way there and back, so to try before that costs a call for nothing.
                    await trio.lowlevel.wait_readable(self.sock)
                await self._listen()
            except ssl.SSLError as why:
                self._speak_once()  # the alert
                raise refusal_of(why) from why
            else:
                await self._speak()
                return

    async def _speak(self) -> None:
        """Send all that TLS has to say."""
        rest = self.outgoing.read()
        try:
            while rest:
                try:
                    rest = rest[self.sock.send(rest) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self.sock)
        except OSError as why:
            raise HandshakeError("eof", f"the other side has gone: {why.strerror}") from why

    def _speak_once(self) -> None:
        """Send what the kernel takes at once."""
        try:
            self.sock.send(self.outgoing.read())
        except OSError:
            return  # nobody is there to hear the alert, or they hear nothing

    async def _listen(self) -> None:
        """Read something."""
        while True:
            try:
                data = self.sock.recv(READ_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.sock)
                continue
            except OSError as why:
                raise HandshakeError("eof", f"the other side has gone: {why.strerror}") from why
            break
        if not data:
            raise HandshakeError("eof", "the other side ended the connection amid the handshake")
        self.taken_bytes += len(data)
        if self.taken_bytes > HANDSHAKE_BYTES:
            raise HandshakeError("too_large", f"a handshake of more than {HANDSHAKE_BYTES} bytes")
        self.incoming.write(data)

    def endpoint(self, ring: Keyring, known: "Peer | None", *, expected: "SpiffeId | None") -> "Peer":
        """Say who was dialled; `known` is who the session was made with."""
        from meshtrio.identity.chain import verify
        from meshtrio.identity.refusal import Refused

        self.check_alpn("endpoint")
        shown = known.chain if known is not None and self.tls.session_reused else shown_by(self.tls)
        try:
            return verify(shown, ring.trust, log.wall_now(), skew_s=ring.skew_s, expected=expected)
        except Refused as refused:
            raise HandshakeError(refused.reason.value, str(refused)) from refused

    def caller(self, ring: Keyring, proof: Proof, *, still_good: bool) -> "Peer":
        """Say who has dialled. Not `still_good`: whom to believe has changed under way."""
        from meshtrio.identity.chain import verify
        from meshtrio.identity.refusal import Refused

        shown = shown_by(self.tls)
        try:
            if self.tls.session_reused:
                if still_good:
                    return verify_again(shown, ring)
                shown = list(proof.chains.get(shown[0], shown)) if shown else shown
            peer = verify(shown, ring.trust, log.wall_now(), skew_s=ring.skew_s)
        except Refused as refused:
            raise HandshakeError(refused.reason.value, str(refused)) from refused
        proof.has_shown(shown)
        return peer

    def check_alpn(self, who: str) -> None:
        """Pass if our protocol was agreed on."""
        if self.tls.selected_alpn_protocol() != ALPN:
            raise HandshakeError("alpn", f"the {who} does not speak {ALPN}")

    def secured(self, peer: "Peer", proof: Proof | None = None, address: Address | None = None) -> Secured:
        """Hand over the connection. With `proof`, the endpoint's session is kept when it has come."""
        resumed = bool(self.tls.session_reused)

        def keep() -> None:
            session = self.tls.session
            if proof is not None and address is not None and session is not None and session.has_ticket:
                proof.keep(address, session, peer)

        learn = keep if proof is not None and not resumed else None
        end = seal(self.sock, self.tls, (self.incoming, self.outgoing), learn)
        version, cipher = self.tls.version(), self.tls.cipher()
        return Secured(end, peer, version or "", cipher[0] if cipher else "", resumed)
