"""Core. All that one worker keeps for one port of a service: who is chosen, left alone, tried again.

A Hold is one connection's claim on one endpoint, from the choice to the end. It is what keeps the books
right: each is ended once, and gives back there what the choice took: a place at the endpoint, a breaker's
permit. Knows no clock.
"""

import math
from collections.abc import Collection

from meshtrio.balance.balancer import Balancer
from meshtrio.balance.breakers import PortBreakers
from meshtrio.balance.budget import RetryBudget
from meshtrio.balance.member import Member
from meshtrio.balance.verdict import Verdict
from meshtrio.catalog.service import Endpoint
from meshtrio.config.traffic import Settings
from meshtrio.outcome import Outcome

_FAULTS = frozenset(
    {
        Outcome.CONNECT_FAILED,
        Outcome.CONNECT_TIMEOUT,
        Outcome.UPSTREAM_TLS,
        Outcome.UPSTREAM_RESET,
        Outcome.UPSTREAM_RESET_EARLY,
    }
)
"""What says of an endpoint that it is not well, unless it has answered before."""


class Port:
    """One port of a service, as one worker balances it."""

    __slots__ = ("_unanswered", "balancer", "breakers", "budget", "hedges", "hedges_won", "name", "pending")

    def __init__(self, name: str, balancer: Balancer, breakers: PortBreakers) -> None:
        self.name = name
        """"namespace/name:port"."""
        self.balancer = balancer
        self.breakers = breakers
        retries = balancer.settings.retries
        self.budget = RetryBudget(retries.budget_percent, retries.budget_per_s)
        self.pending = 0
        """Calls for which no endpoint has answered yet; whoever dials counts them."""
        self.hedges = self.hedges_won = 0
        """How many tries began beside another one, ever, and how many of them won: who dials counts."""
        self._unanswered: dict[Hold, None] = {}
        """Who was asked and is silent, the one asked first in front. Only kept where something is slow."""

    @property
    def settings(self) -> Settings:
        """What holds now."""
        return self.balancer.settings

    def settle(self, settings: Settings, zone: str) -> None:
        """Let these settings hold from now on. What is held, measured and open stays."""
        self.balancer.settle(settings, zone)
        self.budget.settle(settings.retries.budget_percent, settings.retries.budget_per_s)

    def full(self) -> str:
        """Name the limit of the service that one more connection would break; empty: none."""
        limits = self.settings.limits
        if limits.connections and self.balancer.active >= limits.connections:
            return "traffic.limits.connections"
        if limits.pending and self.pending >= limits.pending:
            return "traffic.limits.pending"
        return ""

    def hold(
        self, endpoints: tuple[Endpoint, ...], now: float, key: int | None, tried: Collection[str]
    ) -> "Hold | None":
        """Choose an endpoint whose id is not in `tried`, and hold it; None if none may be called now."""
        if self._unanswered:
            self._notice_silence(now)
        member = self.balancer.pick(endpoints, now, key, tried)
        if member is None:
            return None
        # It is not refused: the balancer gives nobody who is blocked, and who is not blocked may be called.
        return Hold(self, member, self.breakers.begin(member.id, now))

    def hedge(
        self,
        endpoints: tuple[Endpoint, ...],
        now: float,
        key: int | None,
        tried: Collection[str],
        *,
        retried: int,
    ) -> "Hold | None":
        """Hold an endpoint as `hold` does, for a try beside one that is silent; None if that is not to be.

        It counts as a retry. Where no other endpoint may be called nothing is taken from the budget.
        """
        limits, retries = self.settings.limits, self.settings.retries
        is_full = limits.connections and self.balancer.active >= limits.connections
        hold = None if is_full or retried >= retries.attempts else self.hold(endpoints, now, key, tried)
        if hold is None:
            return None
        if not self.budget.take(now):
            hold.ended(Outcome.DRAINED, now)
            return None
        self.hedges += 1
        return hold

    def why_none(self, endpoints: tuple[Endpoint, ...], now: float) -> tuple[Outcome, str]:
        """Say why `hold` found nobody though none was tried."""
        blocked = self.breakers.blocked(now)
        if not all(endpoint.id in blocked for endpoint in endpoints):
            says = "the endpoints have as many connections as traffic.limits.per_endpoint allows"
            return Outcome.LIMIT, f"{self.name}: {says}"
        wait_s = self.breakers.wait_s(now)
        again = f"; one is tried again in {wait_s:.1f} s" if wait_s else ""
        return Outcome.BREAKER_OPEN, f"{self.name}: circuit breakers cut all endpoints off{again}"

    def why_no_retry(self, retried: int, now: float) -> str:
        """Take one retry out of the budget and say nothing; or say why there is none."""
        most = self.settings.retries.attempts
        if retried >= most:
            return f"tried {retried + 1} times, as traffic.retries.attempts allows"
        return "" if self.budget.take(now) else f"the retry budget of {self.name} is spent"

    def _notice_silence(self, now: float) -> None:
        """Count as slow whoever is silent for longer than that.

        A stopped process still accepts, for its kernel does. Whoever waits there may wait for hours, and
        the breaker must not wait for the end of that.
        """
        while self._unanswered:
            hold = next(iter(self._unanswered))
            if not hold.is_slow(now):
                return
            hold.give_up(now)


class Hold:
    """One connection's claim on one endpoint. `ended` must be called, once; the others are optional.

    All times are of the same monotonic clock.
    """

    __slots__ = ("_asked_at", "_member", "_port", "_ticket", "_told")

    def __init__(self, port: Port, member: Member, ticket: int) -> None:
        self._port, self._member, self._ticket = port, member, ticket
        self._asked_at: float | None = None
        self._told = False
        port.balancer.reserve(member)

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that is held."""
        return self._member.endpoint

    def asked(self, now: float) -> None:
        """The client's first bytes go to the endpoint: its time begins."""
        if self._asked_at is None:
            self._asked_at = now
            if not self._told and self._port.breakers.slow_s < math.inf:
                self._port._unanswered[self] = None

    def answered(self, now: float) -> None:
        """The endpoint's first bytes came: it is well. How long it took counts if it was asked before."""
        took_s = self._waited_s(now)
        if self._asked_at is not None:
            self._port.balancer.measured(self._member, took_s, now)
        self._tell(Verdict.SUCCESS, now, took_s)

    def ended(self, outcome: Outcome, now: float) -> None:
        """The connection is over, also if it never stood. Gives back everything that was held."""
        self._port.balancer.release(self._member)
        if outcome in _FAULTS:
            self._tell(Verdict.FAILURE, now)
        elif outcome is Outcome.CARRIED or self.is_slow(now):
            self._tell(Verdict.SUCCESS, now, self._waited_s(now))
        else:
            self._tell(Verdict.NEUTRAL, now)

    def is_slow(self, now: float) -> bool:
        """Say whether the endpoint, if it answered now, would have taken too long."""
        return self._waited_s(now) > self._port.breakers.slow_s

    def give_up(self, now: float) -> None:
        """Count it as slow, whatever it says later."""
        self._tell(Verdict.SUCCESS, now, self._waited_s(now))

    def _waited_s(self, now: float) -> float:
        return 0.0 if self._asked_at is None else now - self._asked_at

    def _tell(self, verdict: Verdict, now: float, took_s: float = 0.0) -> None:
        """Tell the breaker the first thing that is known: a reset after an answer says nothing new."""
        if not self._told:
            self._told = True
            self._port._unanswered.pop(self, None)
            self._port.breakers.record(self._member.id, verdict, now, ticket=self._ticket, took_s=took_s)
