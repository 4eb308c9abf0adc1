"""Shell. Where connections are secured: what is demanded at either end, the handshake, and who may call.

Knows the order of these steps; modes and policy are route's, TLS is its neighbours'. The configuration is
compiled here once, and again for each change. Does not dial, carry or count.
"""

import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import trio

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint
from meshtrio.config.schema import Config
from meshtrio.detect.detected import Detected
from meshtrio.forward.sealed import Sealed
from meshtrio.identity.spiffe import SpiffeId, parse_workload
from meshtrio.messages import Credentials, Trusted, WorkloadName
from meshtrio.neighbours import Neighbour
from meshtrio.outcome import Outcome
from meshtrio.route.granting import BY_KERNEL
from meshtrio.route.modes import Modes, Treatment, inbound, outbound
from meshtrio.route.policy import PolicyTable, Verdict
from meshtrio.secure.greeting import first_words, is_mesh, words_there
from meshtrio.secure.handshake import Secured, accept_securely, dial_securely
from meshtrio.secure.keyring import Keyring
from meshtrio.secure.verdict import HandshakeError

GREETING_S = 0.05
"""How long a client may be silent before the server is called: it may wait for that to speak. A mesh speaks
as soon as it is connected, whatever the distance: its first bytes travel with the end of TCP's handshake.
Where those are lost and sent again they come later, so the silent are not taken for plain ones for good."""

COMING_S = 2.0
"""How long a caller without a certificate is waited for: a successor takes workloads over one by one."""


class Unsafe(Exception):
    """A connection does not come about, because it is not secured as it must be, or not allowed."""

    def __init__(self, outcome: Outcome, detail: str, *, reason: str = "") -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.reason = reason
        """The kind of a failed handshake, for counting; empty: there was none."""


class Passage(NamedTuple):
    """One side of a connection, secured as it must be."""

    end: socket.socket | Sealed
    peer: SpiffeId | None = None
    serial: str = ""
    """Of the peer's certificate, in hexadecimal."""
    tls: str = ""
    cipher: str = ""
    resumed: bool = False
    silent: bool = False
    """Plain, because there was not one byte so far. Ask again when there is, unless the other side spoke."""


class Border:
    """Modes, policy and the key ring of one worker."""

    def __init__(self) -> None:
        """Begin with the default configuration and without identities."""
        self.keyring = Keyring()
        self._trusted = Trusted("")
        self._config = Config()
        self.settle(self._config)

    def settle(self, config: Config) -> None:
        """Let this configuration hold for connections to come."""
        self._config = config
        self._modes = Modes.configured(config)
        self._policy = PolicyTable.configured(config)
        self.keyring.settle(config.mtls, config.identity.skew_s)

    async def out(
        self,
        sock: socket.socket,
        endpoint: Endpoint,
        caller: WorkloadName,
        neighbour: Neighbour | None = None,
    ) -> Passage:
        """Secure the way to an endpoint that has just been dialled. If this raises, the socket is closed.

        Unsafe if it cannot be secured as it must be. `endpoint.identity`, where known, must be the peer's.
        `neighbour` is who serves it, where that is a workload of this node.
        """
        beside = self._beside(sock, endpoint, caller, neighbour) if neighbour is not None else None
        if beside is not None:
            return beside
        to = endpoint.address
        if not endpoint.meshed:
            return Passage(sock)
        demand = self._modes.of(namespace=caller.namespace, workload=caller.name, port=to.port)
        treatment = outbound(demand, meshed=True, has_identity=bool(self.keyring.identity(caller.id)))
        if treatment is Treatment.PLAIN:
            return Passage(sock)
        if treatment is not Treatment.MUTUAL_TLS:
            sock.close()
            raise Unsafe(Outcome.NO_IDENTITY, self._why_none(caller))
        try:
            expected = parse_workload(endpoint.identity) if endpoint.identity else None
        except ValueError as fault:
            sock.close()
            raise Unsafe(Outcome.UPSTREAM_TLS, f"{to} has no identity that can be: {fault}") from fault
        try:
            with _at_most(self._config.mtls.handshake_s):
                secured = await dial_securely(
                    sock, ring=self.keyring, workload=caller.id, address=to, expected=expected
                )
        except trio.TooSlowError:
            words = f"handshake with {to}: no end within {self._config.mtls.handshake_s:g} s"
            raise Unsafe(Outcome.UPSTREAM_TLS, words, reason="timeout") from None
        except HandshakeError as failed:
            words = f"handshake with {to}: {failed}"
            raise Unsafe(Outcome.UPSTREAM_TLS, words, reason=failed.reason) from failed
        return _passage(secured)

    def _beside(
        self, sock: socket.socket, endpoint: Endpoint, caller: WorkloadName, neighbour: Neighbour
    ) -> Passage | None:
        """Take the kernel's word for who calls whom within this node, if that is wanted; None: encrypt.

        Both must have a valid certificate all the same, and the called one be who is expected.
        """
        ring = self.keyring
        own, called = ring.identity(caller.id), ring.identity(neighbour.workload)
        wanted = self._config.mtls.same_node == "kernel" and self.takes_tls(caller, endpoint.address.port)
        if not wanted or not own or not called or endpoint.identity not in ("", called):
            return None
        try:
            source = Address.of(*sock.getsockname()[:2])
            if not neighbour.door.vouch(source, endpoint.address, caller.id):
                return None
        except OSError:
            return None  # it is encrypted, and whoever has gone shows there
        return Passage(sock, parse_workload(called), tls=BY_KERNEL)

    async def into(
        self,
        sock: socket.socket,
        called: WorkloadName,
        to: Address,
        *,
        vouched: Callable[[], int | None] = lambda: None,
    ) -> Passage:
        """Find out what a caller speaks, and secure that. If this raises, the socket may be closed already.

        Unsafe if the mode does not let it in, or the handshake failed. `vouched` says which workload of this
        node it is by the word of the worker that dialled, which was given before the first byte was sent.
        """
        demand = self._modes.of(namespace=called.namespace, workload=called.name, port=to.port)
        has_identity = bool(self.keyring.identity(called.id))
        detected: Detected | None = None
        by_kernel = self._config.mtls.same_node == "kernel"
        if demand.mode != "disable" and not by_kernel:
            detected = words_there(sock)
        if demand.mode != "disable" and detected is None:
            patience_s = self._config.mtls.handshake_s if demand.mode == "strict" else GREETING_S
            # Whoever sends a byte now and then would else be waited for as long as he likes.
            with trio.move_on_after(self._config.mtls.handshake_s):
                detected = await first_words(sock, GREETING_S if by_kernel else patience_s)
                if by_kernel and (workload := vouched()) is not None:
                    return await self._neighbour(sock, workload)
                if by_kernel and detected is None:
                    detected = await first_words(sock, patience_s - GREETING_S)
        treatment = inbound(demand, has_identity=has_identity, detected=detected)
        match treatment:
            case Treatment.PLAIN:
                return Passage(sock, silent=detected is None and demand.mode != "disable")
            case Treatment.REFUSE_PLAINTEXT:
                spoken = detected.protocol.value if detected else "nothing"
                words = f"port {to.port} wants mutual TLS, and the caller speaks {spoken}"
                raise Unsafe(Outcome.PLAINTEXT, words)
            case Treatment.REFUSE_NO_IDENTITY:
                raise Unsafe(Outcome.NO_IDENTITY, self._why_none(called))
        try:
            offered = detected.ticket_bytes if detected is not None and is_mesh(detected) else None
            with trio.fail_after(self._config.mtls.handshake_s):
                secured = await accept_securely(
                    sock,
                    ring=self.keyring,
                    workload=called.id,
                    any_alpn=demand.any_alpn,
                    offered_bytes=offered,
                )
        except trio.TooSlowError:
            words = f"no end of the handshake within {self._config.mtls.handshake_s:g} s"
            raise Unsafe(Outcome.CLIENT_TLS, words, reason="timeout") from None
        except HandshakeError as failed:
            raise Unsafe(Outcome.CLIENT_TLS, str(failed), reason=failed.reason) from failed
        return _passage(secured)

    async def _neighbour(self, sock: socket.socket, workload: int) -> Passage:
        with trio.move_on_after(COMING_S):
            while not self.keyring.identity(workload):
                await trio.sleep(0.02)
        identity = self.keyring.identity(workload)
        if not identity or self.is_revoked(identity, "", time.time()):
            words = f"{identity} is revoked" if identity else "the calling workload has no valid certificate"
            raise Unsafe(Outcome.CLIENT_TLS, words, reason="revoked" if identity else "kernel")
        return Passage(sock, parse_workload(identity), tls=BY_KERNEL)

    def learn(self, news: Credentials | Trusted) -> None:
        """Take what the agent says of identities."""
        self.keyring.learn(news)
        if isinstance(news, Trusted):
            self._trusted = news

    def is_revoked(self, peer: str, serial: str, wall_now: float) -> bool:
        """Say whether this id, or this serial, has been revoked."""
        untils = self._trusted.revoked_ids.get(peer), self._trusted.revoked_serials.get(serial)
        return any(until is not None and (until == 0 or wall_now < until) for until in untils)

    @property
    def has_revoked(self) -> bool:
        """Say whether anybody is revoked at all."""
        return bool(self._trusted.revoked_ids or self._trusted.revoked_serials)

    def takes_tls(self, called: WorkloadName, port: int) -> bool:
        """Say whether mutual TLS to this port of a workload of ours would be understood."""
        demand = self._modes.of(namespace=called.namespace, workload=called.name, port=port)
        return demand.mode != "disable" and bool(self.keyring.identity(called.id))

    def judge(self, caller: SpiffeId | None, called: WorkloadName, port: int) -> Verdict:
        """Say whether this caller may call this port of this workload."""
        return self._policy.judge(caller, namespace=called.namespace, workload=called.name, port=port)

    def _why_none(self, workload: WorkloadName) -> str:
        why = self.keyring.why_none(workload.id) or "it was not issued a certificate yet"
        return f"{workload.name} has no valid certificate: {why}"


def _at_most(seconds: float) -> AbstractContextManager[object]:
    """Bound a block as `trio.fail_after` does; not if less is left anyhow, for a deadline costs 15 us."""
    if trio.current_effective_deadline() <= trio.current_time() + seconds:
        return nullcontext()
    return trio.fail_after(seconds)


def _passage(secured: Secured) -> Passage:
    peer, serial = secured.peer.spiffe_id, f"{secured.peer.serial:x}"
    return Passage(secured.end, peer, serial, secured.version, secured.cipher, secured.resumed)
