"""Shell. How this node proves to its CA which node it is: by a token, or by the certificate it got for one.

The certificate and its key are kept in identity.directory, for a join token is good once. The key of an
attempt to join is on the disk before the token is used, beside the old one, which holds until there is a new
one. Does not know what is asked of the CA.
"""

import ssl
from collections.abc import Callable
from functools import partial

import msgspec
import trio
from cryptography.hazmat.primitives.asymmetric import ec

from meshtrio.ca.grants import TOKEN_PREFIX, is_node_name, node_id
from meshtrio.config.environ import read_text
from meshtrio.config.fault import Faults
from meshtrio.config.identity import Identity
from meshtrio.identity.certificate import Certificate
from meshtrio.identity.spiffe import SpiffeId
from meshtrio.issuers import node_key
from meshtrio.issuers.issuer import IssueError
from meshtrio.issuers.node_key import JOINING, KEPT, NodeKey
from meshtrio.issuers.tls_chain import load_chain
from meshtrio.observe import log

TOKEN_BYTES = 16_384
RENEW_PART = 0.5
"""A node's certificate is renewed when this part of its life is over, so the CA may be away for the rest."""


class Way(msgspec.Struct, frozen=True):
    """How to come to the CA: whom to believe there, and what to show. Holds a secret: never logged."""

    tls: ssl.SSLContext
    token: str = ""
    has_certificate: bool = False

    def __repr__(self) -> str:
        return "Way()"


class Passport:
    """What this node has to show."""

    def __init__(self, settings: Callable[[], Identity], node: str, wall_now: Callable[[], float]) -> None:
        """Begin with nothing; `open` reads what was kept."""
        self._opening = trio.Lock()
        self._is_open = False
        self._settings = settings
        self._wall_now = wall_now
        self.node = node
        self._kept: NodeKey | None = None
        self._joining: NodeKey | None = None
        self.refusal = ""
        """Why the CA does not accept our certificate; empty: it does, as far as we know."""

    @property
    def own_id(self) -> SpiffeId:
        """The id of this node. IssueError if its name cannot stand in one."""
        if not is_node_name(self.node):
            raise IssueError(f"node {self.node!a} has a name that cannot stand in an id; set `node`")
        return node_id(self._settings().trust_domain, self.node)

    async def open(self) -> None:
        """Read what was kept, if that was not done yet."""
        async with self._opening:
            directory = self._settings().directory
            if directory and not self._is_open:
                self._kept = await trio.to_thread.run_sync(node_key.load, directory, KEPT)
                self._joining = await trio.to_thread.run_sync(node_key.load, directory, JOINING)
            if self._kept is not None and not self._kept.chain:
                self._kept = None
            self._is_open = True

    def anonymous(self) -> Way:
        """Show nothing, for what everybody may ask. IssueError if the CA cannot be known."""
        return Way(self._context())

    def for_workloads(self) -> Way | None:
        """Show what a request for a workload's certificate needs; None: this node has to join first."""
        token = self._token()
        if token and not token.startswith(TOKEN_PREFIX):
            return Way(self._context(), token)
        return self._with_certificate()

    async def for_joining(self) -> tuple[Way, ec.EllipticCurvePrivateKey]:
        """Show what gets a certificate for this node, for the key given here. IssueError if there is nothing.

        That is the certificate it has, or the token.
        """
        by_certificate = self._with_certificate()
        if by_certificate is not None:
            return by_certificate, (await trio.to_thread.run_sync(node_key.new)).key
        token = self._token()
        if not token.startswith(TOKEN_PREFIX):
            why = f"the CA does not accept this node's certificate ({self.refusal})" if self.refusal else ""
            ended = "this node's certificate has ended" if self._kept else "this node has no certificate"
            words = "identity.remote.token_file has no join token (meshtrio ca token)"
            raise IssueError(f"{why or ended}, and {words}")
        if self._joining is None:
            self._joining = await trio.to_thread.run_sync(node_key.new)
            await self._save(JOINING, self._joining)
        return Way(self._context(), token), self._joining.key

    async def take(self, key: ec.EllipticCurvePrivateKey, chain: tuple[Certificate, ...]) -> None:
        """Show this from now on, and after a restart."""
        self._kept, self._joining, self.refusal = NodeKey(key, chain), None, ""
        if await self._save(KEPT, self._kept):
            await trio.to_thread.run_sync(node_key.remove, self._settings().directory, JOINING)

    def due_in_s(self) -> float:
        """Say in how many seconds a certificate has to be renewed (0: now); infinity if there is none."""
        if self._kept is None or self.refusal:
            return float("inf")
        leaf = self._kept.chain[0]
        due = leaf.not_before + (leaf.not_after - leaf.not_before) * RENEW_PART
        return max(due - self._wall_now(), 0.0)

    def _with_certificate(self) -> Way | None:
        if self._kept is None or self.refusal or self._wall_now() >= self._kept.chain[0].not_after:
            return None
        context = self._context()
        load_chain(context, self._kept.key, self._kept.chain)
        return Way(context, has_certificate=True)

    def _context(self) -> ssl.SSLContext:
        path = self._settings().remote.ca_file
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(cadata=read_text(path))
        except Faults as unreadable:
            raise IssueError(f"identity.remote.ca_file: {unreadable.faults[0]}") from None
        except (ssl.SSLError, ValueError) as cause:
            raise IssueError(f"identity.remote.ca_file: {path} has no certificate in it") from cause
        return context

    def _token(self) -> str:
        path = self._settings().remote.token_file
        if not path:
            return ""
        try:
            token = read_text(path, TOKEN_BYTES).strip()
        except Faults as unreadable:
            # A join token that was used may be taken away.
            log.debug("no token for the CA", why=str(unreadable))
            return ""
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise IssueError(f"identity.remote.token_file: {path} has no token in it")
        return token

    async def _save(self, name: str, what: NodeKey) -> bool:
        directory = self._settings().directory
        if not directory:
            return False
        try:
            await trio.to_thread.run_sync(partial(node_key.save, directory, name, what))
        except OSError as cause:
            # It will do until the next start.
            log.error("this node's certificate cannot be kept", directory=directory, why=cause.strerror)
            return False
        return True
