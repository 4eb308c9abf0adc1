"""Shell. Identities on a virtual clock: an issuer that signs at once, fails and vanishes when it is told to.

The wall clock is the running one and an offset, so that it can be set back and forth. Knows no workers: what
they would be told is a list.
"""

import contextlib
from collections.abc import AsyncIterator, Callable

import trio
from msgspec.structs import replace

from meshtrio.config.identity import Identity
from meshtrio.identities import Identities
from meshtrio.identity.bundle import make_bundle
from meshtrio.identity.chain import verify
from meshtrio.identity.spiffe import SpiffeId, parse
from meshtrio.issuers.issuer import Issued, IssueError, News, Wanted
from meshtrio.issuers.signing import Signer
from meshtrio.messages import Credentials, Trusted
from tests.support.identities import NOW, root

WEB = "spiffe://td/ns/shop/sa/web"


class Clerk:
    """An issuer without threads and disks. Its clock may differ from the node's."""

    name = "clerk"

    def __init__(self, settings: Callable[[], Identity], true_now: Callable[[], float]) -> None:
        self.authority = root("td", at=NOW - 10 * 86_400)
        self.ahead_s = 0.0
        self.down = ""
        self.takes_s = 0.2
        self.made: list[Issued] = []
        self.news: News | None = None
        self._settings = settings
        self._true_now = true_now
        self._signer = Signer()

    async def run(self, news: News, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.news = news
        news(make_bundle("td", (self.authority.certificate,)))
        task_status.started()
        await trio.sleep_forever()

    async def issue(self, wanted: Wanted) -> Issued:
        await trio.sleep(self.takes_s)
        if self.down:
            raise IssueError(self.down)
        at = self._true_now() + self.ahead_s
        self.made.append(self._signer.issue(self.authority, wanted, at, self._settings().skew_s))
        return self.made[-1]


class Node:
    """Identities, and what workers would know by now."""

    def __init__(self, **settings: object) -> None:
        self.ahead_s = 0.0
        self.credentials: dict[int, Credentials] = {}
        self.said: list[Credentials] = []
        self.trusted = Trusted("")
        given = replace(Identity(trust_domain="td", directory=""), **settings)
        self.identities = Identities(given, self._hear, self.wall_now)
        self.clerk = Clerk(lambda: self.identities.settings, self.true_now)
        self._began: float | None = None

    def true_now(self) -> float:
        """Look at a clock that is right: NOW at the first look, for trio's own begins anywhere."""
        if self._began is None:
            self._began = trio.current_time()
        return NOW + trio.current_time() - self._began

    def wall_now(self) -> float:
        return self.true_now() + self.ahead_s

    def _hear(self, subject: tuple[object, ...], message: Credentials | Trusted) -> None:
        if isinstance(message, Trusted):
            self.trusted = message
        else:
            assert subject == ("identity", message.workload)
            self.credentials[message.workload] = message
            self.said.append(message)

    async def enter(self, number: int = 1, name: str = "web") -> None:
        await self.identities.enter(number, name, namespace="shop", service_account=name)

    def serves(self, number: int = 1) -> bool:
        return bool(self.credentials[number].chain)

    def proves(self, number: int = 1) -> SpiffeId:
        """Verify what a workload would show, now."""
        assert self.identities.trusting is not None
        shown, trust = self.credentials[number].chain, self.identities.trusting.trust
        return verify(
            shown, trust, self.wall_now(), expected=parse(self.credentials[number].spiffe_id)
        ).spiffe_id


@contextlib.asynccontextmanager
async def living(node: Node) -> AsyncIterator[Node]:
    """Let its tasks run until the block ends."""
    async with trio.open_nursery() as nursery:
        await nursery.start(node.identities.run, lambda settings, wall_now: node.clerk)
        yield node
        nursery.cancel_scope.cancel()
