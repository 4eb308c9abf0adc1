"""Shell. One workload that has an identity: its plan of renewal, its certificate, and what was said of it.

Knows what to tell workers, not how certificates are got. Light: it is there also without identities.
"""

import enum
from collections import Counter

import trio
from msgspec.structs import replace

from meshtrio.identity.plan import Now, Plan
from meshtrio.identity.rotation import ASKING, State
from meshtrio.identity.spiffe import SpiffeId
from meshtrio.issuers.issuer import Issued
from meshtrio.messages import Credentials


class Wish(enum.Enum):
    """What somebody wants of a plan, out of its turn."""

    ROTATE = "rotate"
    REVOKED = "revoked"


class Bearer:
    """A workload, and how it stands with its certificate."""

    def __init__(self, number: int, name: str, spiffe_id: SpiffeId) -> None:
        """Begin without certificate."""
        self.id = number
        self.name = name
        self.spiffe_id = spiffe_id
        self.plan = Plan()
        self.issued: Issued | None = None
        """The last one that was taken."""
        self.source = ""
        """Where it came from."""
        self.error = ""
        """Why the last attempt failed; empty: it did not."""
        self.results: Counter[str] = Counter()
        self.attempted = trio.Event()
        """Set when an attempt has ended, and then replaced."""
        self.kept = False
        """A task looks after it."""
        self.gone = False
        self._wish: Wish | None = None
        self._scope = trio.CancelScope()
        self._told: Credentials | None = None

    def wants(self, wish: Wish) -> None:
        """Let something happen at once. A revocation is not undone by a wish for rotation."""
        if self._wish is not Wish.REVOKED:
            self._wish = wish
        self._scope.cancel()

    def tolerate(self, skew_s: float) -> None:
        """Let other clocks differ from ours by so much before its certificate counts as ended."""
        self.plan = replace(self.plan, skew_s=skew_s)

    def wake(self) -> None:
        """Let its task look at the clocks anew."""
        self._scope.cancel()

    def taken_wish(self) -> Wish | None:
        """Take what somebody wants."""
        wish, self._wish = self._wish, None
        return wish

    @property
    def wished(self) -> bool:
        """Whether somebody wants something."""
        return self._wish is not None

    def turn(self) -> trio.CancelScope:
        """Begin a turn of its task, which a wish cuts short."""
        self._scope = trio.CancelScope()
        return self._scope

    def ended_attempt(self, error: str) -> None:
        """Note how an attempt ended, and tell who waits for that."""
        self.error = error
        self.results["failed" if error else "issued"] += 1
        self.attempted.set()
        self.attempted = trio.Event()

    def news(self) -> Credentials | None:
        """Say what workers must be told now; None: they know."""
        serving = self.issued if self.plan.serves else None
        if serving is None:
            told = Credentials(self.id, str(self.spiffe_id), why=self._why())
        else:
            end = serving.validity.not_after
            told = Credentials(self.id, str(self.spiffe_id), serving.chain, serving.key, end)
        if told == self._told:
            return None
        self._told = told
        return told

    def renews_at(self, now: Now) -> float:
        """Say when another is asked for, by the wall clock."""
        if self.plan.state in ASKING:
            return now.wall
        return min(self.plan.due_wall, max(now.wall, now.wall + self.plan.due_running - now.running))

    def _why(self) -> str:
        states = {
            State.EXPIRED: "its certificate has expired, or our clock is wrong",
            State.REVOKED: "its certificate was revoked",
            State.RECOVERING: "its certificate has expired, or our clock is wrong",
            State.REPLACING: "its certificate was revoked",
        }
        what = states.get(self.plan.state, "there is no certificate yet")
        return f"{what}; {self.error}" if self.error else what
