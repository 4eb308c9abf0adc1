"""Shell. Who calls? By what was shown: a node's certificate, a join token, a Kubernetes token. Does not know
what is asked for, nor HTTP.
"""

from collections.abc import Awaitable, Callable

import msgspec
import trio

from meshtrio.ca.grants import TOKEN_PREFIX, Caller, Denied, Why, node_of
from meshtrio.ca.ledger import Ledger, LedgerError, Node
from meshtrio.identity.certificate import read
from meshtrio.identity.refusal import Refused
from meshtrio.identity.spiffe import SpiffeId
from meshtrio.identity.svid import check_leaf

Review = Callable[[str, SpiffeId], Awaitable[Caller]]
"""Says whose Kubernetes token this is, for who wants a certificate of this id. Denied if it is no agent's."""
THREADS = 4


class Shown(msgspec.Struct, frozen=True):
    """What a caller has shown. Holds a secret: never logged."""

    certificate: bytes | None
    """DER; that it leads to our root, and that the caller has its key, TLS has found out."""
    token: str
    node: str
    """What it says it is."""
    wanted: SpiffeId
    key: bytes
    """Of the certificate that it asks for."""

    def __repr__(self) -> str:
        return f"Shown({self.node!r})"


class Proof:
    """How callers are known."""

    def __init__(self, ledger: Ledger, review: Review | None, wall_now: Callable[[], float]) -> None:
        """Without `review`, Kubernetes tokens are not taken."""
        self._ledger = ledger
        self._review = review
        self._wall_now = wall_now
        self._limiter = trio.CapacityLimiter(THREADS)

    async def caller(self, shown: Shown) -> Caller:
        """Say who it is. Denied if nothing proves that. A token goes before a certificate, which an agent
        shows with everything once it has one."""
        if shown.token.startswith(TOKEN_PREFIX):
            node = await self._asked(self._redeem, shown)
            return Caller(node.name, "join", node.allow)
        if shown.token:
            if self._review is None:
                raise Denied(Why.TOKEN_UNKNOWN, "no join token, and Kubernetes tokens are not taken here")
            return await self._review(shown.token, shown.wanted)
        if shown.certificate is None:
            raise Denied(Why.NO_PROOF, "show a node's certificate, or a token (Authorization: Bearer ...)")
        try:
            name = node_of(check_leaf(read(shown.certificate)))
        except Refused as refused:
            raise Denied(Why.NO_PROOF, f"the certificate shown: {refused}") from refused
        node = await self._asked(self._known, name)
        return Caller(node.name, "certificate", node.allow)

    def _redeem(self, shown: Shown) -> Node:
        return self._ledger.redeem(shown.token, shown.node, shown.key, self._wall_now())

    def _known(self, name: str) -> Node:
        node = self._ledger.node(name)
        if node is None:
            raise Denied(Why.NODE_UNKNOWN, f"node {name} is not known here; join with a new token")
        return node

    async def _asked(self, ask: Callable[..., Node], what: object) -> Node:
        try:
            return await trio.to_thread.run_sync(ask, what, limiter=self._limiter)
        except LedgerError as failed:
            raise Denied(Why.NOT_NOW, "the CA cannot use its own files now", 5.0) from failed
