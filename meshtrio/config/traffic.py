"""Core. What the configuration can say about traffic to services: balancing, breakers, limits, retries.

A part of schema.py, which says the rest. `Settings` is all that holds for one port of a service. The section
has it for all of them, and rules that say some of it otherwise (wishes.py).
"""

from typing import Annotated

from msgspec import Meta, Struct

from meshtrio.config.kinds import ServiceName
from meshtrio.config.wishes import (
    Algorithm,
    Attempts,
    BackoffSeconds,
    Bound,
    BoundedLoad,
    BudgetRate,
    Direct,
    Failures,
    HashKey,
    HedgeSeconds,
    OpenSeconds,
    Percent,
    RampSeconds,
    Rate,
    SlowSeconds,
    Threshold,
    WindowSeconds,
    Wishes,
)

Zone = Annotated[
    str, Meta(pattern=r"^[-._A-Za-z0-9]{0,253}\Z", description="a zone, as in eu-west-1a, or empty")
]


class ServiceLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """How much one worker carries to one port of a service. 0: no limit of its own."""

    connections: Bound = 0
    pending: Bound = 0
    """Not connected to an endpoint yet."""
    per_endpoint: Bound = 0
    """Connections to one endpoint. One that has them is passed over."""


class Breaker(Struct, frozen=True, forbid_unknown_fields=True):
    """When an endpoint is left alone for a while, because connections to it fail or are slow."""

    enabled: bool = True
    consecutive: Failures = 5
    """Failures in a row that open it."""
    rate_percent: Rate = 50
    """The share of failures in `window_s` that opens it, if there were `minimum` connections."""
    minimum: Threshold = 20
    window_s: WindowSeconds = 30.0
    slow_s: SlowSeconds = 0.0
    """What takes longer is slow. 0: nothing is."""
    slow_percent: Rate = 50
    """The share of slow ones that opens it, as with failures."""
    open_s: OpenSeconds = 30.0
    """How long it stays open; doubled each time it opens again, up to `open_max_s`."""
    open_max_s: OpenSeconds = 300.0
    half_open: Threshold = 3
    """How many are let through at once to find out whether it is well again."""
    successes: Threshold = 3
    """Successes in a row that close it again."""
    ejected_percent: Percent = 100
    """No more than this share of the endpoints is left alone at once, but one at least may be. 100: if none
    is well, calls are refused at once, and not sent to one that is known to fail."""


class Retries(Struct, frozen=True, forbid_unknown_fields=True):
    """How often a call that failed is tried again, and what all tries together may cost."""

    attempts: Attempts = 3
    """Tries after the first one."""
    base_s: BackoffSeconds = 0.025
    """The longest wait before the second retry; doubled for each further one, up to `max_s`."""
    max_s: BackoffSeconds = 0.25
    budget_percent: Percent = 20
    """Retries may be this share of the calls of the last 10 s, or `budget_per_s`, whichever is more."""
    budget_per_s: BudgetRate = 3.0
    hedge_after_s: HedgeSeconds = 0.0
    """A call whose try does not stand for so long begins another one beside it, elsewhere, and takes what
    stands first. Such a hedge is a retry: `attempts` and the budget hold for it. 0: there are none."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All that holds for the traffic to one port of a service."""

    algorithm: Algorithm = "round_robin"
    hash_key: HashKey = "source_ip"
    """What consistent_hash and maglev choose by. A call that has none is balanced in turn."""
    bounded_load: BoundedLoad = 0.0
    """For consistent_hash: no endpoint has more than so many times the mean of connections. 0: no bound."""
    zone_aware: bool = True
    """Endpoints of this node's zone first."""
    slow_start_s: RampSeconds = 30.0
    """How long an endpoint that is new or back takes to get its full share."""
    panic_percent: Percent = 0
    """If fewer endpoints are usable, the word of registry and probes is not believed: all get traffic. 0: it
    is always believed."""
    direct: Direct = "off"
    """auto: the kernel may choose the endpoint, where nothing else is asked for (by UDP: whatever is)."""
    limits: ServiceLimits = ServiceLimits()
    breaker: Breaker = Breaker()
    retries: Retries = Retries()


class Rule(Wishes, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What holds otherwise for one service, or for one port of it. Stronger than the service's own wishes."""

    service: ServiceName
    port: Annotated[str, Meta(pattern=r"^[-a-z0-9]{0,63}\Z", description="a short name, as in http")] = ""
    """The name of the port. Empty: all, and a rule that names one is stronger for that one."""

    @property
    def key(self) -> str:
        """The service as the catalog names it: "namespace/name"."""
        return self.service if "/" in self.service else f"default/{self.service}"


class Traffic(Settings, frozen=True, forbid_unknown_fields=True):
    """The settings for all services, and rules for some."""

    rules: tuple[Rule, ...] = ()
