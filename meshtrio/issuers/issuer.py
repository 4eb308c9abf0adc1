"""Shell. What every source of certificates can do, and how it says no. Knows none of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import trio

from meshtrio.identity.plan import Validity
from meshtrio.identity.spiffe import SpiffeId

if TYPE_CHECKING:
    # Certificates cost an agent that has no identities 12 MB.
    from meshtrio.identity.bundle import Bundle

News = Callable[["Bundle | Federation | Issued"], None]
"""Hears of bundles, the first one included, and of certificates that come unasked. Never waits."""


class Federation(NamedTuple):
    """All other trust domains that the source wants to be believed, from now on."""

    bundles: "tuple[Bundle, ...]"


class IssueError(Exception):
    """There is no certificate this time. The words say why, and hold no secret."""


class Issued(msgspec.Struct, frozen=True):
    """A certificate with its key. Holds a private key: never logged, written or compared by value."""

    spiffe_id: SpiffeId
    chain: tuple[bytes, ...]
    """DER, the leaf first, without the root."""
    key: bytes
    """PKCS #8, DER."""
    serial: int
    validity: Validity

    def __repr__(self) -> str:
        return f"Issued({self.spiffe_id}, serial {self.serial:x})"


class Wanted(msgspec.Struct, frozen=True):
    """Whose certificate is wanted, and what the kernel and the agent know of that workload."""

    spiffe_id: SpiffeId
    workload: str
    life_s: float


class Issuer(Protocol):
    """A source of certificates for the workloads of this node."""

    name: str
    """As in `identity.source`."""

    async def run(self, news: News, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep what the source needs, and tell of roots, until cancelled. Started when the first roots are
        known, or when it is clear that they will be late. Raises IssueError only for what a restart would
        not mend, such as a root file that is broken."""

    async def issue(self, wanted: Wanted) -> Issued:
        """Get a certificate with a new key. IssueError, or Cancelled by the caller's deadline."""
