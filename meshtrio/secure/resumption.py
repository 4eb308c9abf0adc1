"""Shell. How a caller that was verified once comes again: what it is given for that, and what is asked then.

Knows the server's TLS context and the ring; does not know sockets. OpenSSL has two ways. It can seal a
session into the ticket, so that the caller is the memory; then each resumption reads the caller's certificate
from DER anew, and OpenSSL 3.0 looks long for a decoder of its key. Or it keeps the session, and the ticket is
a name of 32 random bytes: half of the server's time in such a handshake, 12 KiB a session. A mesh is served
in the second way while there is room, and in the first one otherwise. Either ends with the context, or after
2 hours.

Which way a context goes is read when a connection begins, and a worker begins one at a time.
"""

import ssl
from typing import TYPE_CHECKING

from meshtrio.observe import log
from meshtrio.secure.keyring import Keyring, Proof

if TYPE_CHECKING:  # see keyring
    from meshtrio.identity.chain import Peer

KEPT_BOUND = 256
"""Sessions that are kept for the callers of one workload: 3 MiB. Full: more callers get sealed tickets."""
NAME_BYTES = 32
"""How long a ticket is that names a session (SSL_MAX_SSL_SESSION_ID_LENGTH). Sealed ones are longer."""


def settle(proof: Proof, offered_bytes: int | None) -> None:
    """Make the next connection to this server go the way that suits its caller.

    `offered_bytes` is how long the ticket is that a mesh offers, 0 if it offers none, None if the caller is
    no mesh. A mesh that offers one gets no other, for it keeps the one it has, or forgets it if it is not
    taken; whoever else comes may use each only once, and would fill what is kept.
    """
    context, tickets = proof.server, 0 if offered_bytes else 1
    if offered_bytes == 0:
        keeps = context.session_stats()["number"] < KEPT_BOUND
    else:
        keeps = offered_bytes == NAME_BYTES
    if proof.server_way == (tickets, keeps):
        return  # to read and set options takes Python's ssl 20 us, and most callers come the same way
    context.num_tickets = tickets
    if keeps:
        context.options |= ssl.OP_NO_TICKET
    else:
        context.options &= ~ssl.OP_NO_TICKET
    proof.server_way = tickets, keeps


def verify_again(shown: list[bytes], ring: Keyring) -> "Peer":
    """Judge the leaf of a session that was resumed; why that is enough says `handshake`."""
    from meshtrio.identity.certificate import read
    from meshtrio.identity.chain import Peer
    from meshtrio.identity.refusal import Reason, Refused
    from meshtrio.identity.svid import check_leaf, check_time

    if not shown:
        raise Refused(Reason.NO_CERTIFICATE, "the session has no certificate")
    leaf, now, revoked = read(shown[0]), log.wall_now(), ring.trust.revocations
    spiffe_id = check_leaf(leaf)
    if ring.trust.bundle(spiffe_id.trust_domain) is None:
        raise Refused(Reason.UNKNOWN_TRUST_DOMAIN, f"we have no roots of {spiffe_id.trust_domain}")
    check_time(leaf, now, ring.skew_s)
    if revoked.has_serial(leaf.serial, now) or revoked.has_id(spiffe_id, now):
        raise Refused(Reason.REVOKED, f"{spiffe_id} with serial {leaf.serial:x} is revoked")
    return Peer(spiffe_id, leaf.serial, leaf.not_before, leaf.not_after, (leaf.der,))


def shown_by(tls: ssl.SSLObject) -> list[bytes]:
    """Give the certificates that the other side showed, as DER, the leaf first; if it resumed, the leaf."""
    if not tls.session_reused:
        inner = tls._sslobj  # type: ignore[attr-defined]  # public as of Python 3.13
        chain = inner.get_unverified_chain()
        if chain:
            return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain]
    leaf = tls.getpeercert(binary_form=True)
    return [leaf] if leaf else []
