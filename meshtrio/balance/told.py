"""Core. What a worker tells of its balancing, as plain values. Apart from what makes them (load.py,
explained.py), for the agent reads them and has no use for algorithms.
"""

import msgspec


class EndpointLoad(msgspec.Struct, frozen=True):
    """One endpoint, as this worker sees it now."""

    active: int
    latency_s: float
    """Peak EWMA as of now; 0: not measured."""
    weight: float
    """What counts now; 0: it has left, and still holds connections."""
    ejected: bool
    """Its breaker keeps new connections away."""


class PortLoad(msgspec.Struct, frozen=True):
    """One port of a service, as this worker sees it now."""

    algorithm: str
    tier: str
    """As in eligible.Tier, of the last pick."""
    active: int
    pending: int
    full: str
    """The limit that one more connection would break; empty: none."""
    retries_allowed: int
    retries_denied: int
    remarks: dict[str, int]
    endpoints: dict[str, EndpointLoad]
    """By id."""
    omitted: int = 0
    hedges: int = 0
    hedges_won: int = 0


class Balanced(msgspec.Struct, frozen=True):
    """What was counted at one service port ("namespace/name:port") since the worker told last."""

    port: str
    retries_allowed: int = 0
    retries_denied: int = 0
    remarks: dict[str, int] = {}
    hedges: int = 0
    """Tries that began beside another one of the same call; each is one of the retries, too."""
    hedges_won: int = 0


class ExplainedEndpoint(msgspec.Struct, frozen=True):
    """What is known of one endpoint at this moment."""

    id: str
    address: str
    group: str
    """first: among those that are chosen from. far: gets what spills over. rest: only if those were tried.
    never: its breaker is open."""
    why_not: str
    """Why it is not usable; empty: it is."""
    weight: float
    """What counts now."""
    zone: str
    active: int
    latency_s: float
    """Peak EWMA as of now; 0: not measured."""
    position: int
    """When it would be tried, from 1, if each one before it failed; 0: later than the first ORDER."""


class Explanation(msgspec.Struct, frozen=True):
    """What would become of the next call."""

    algorithm: str
    hash_key: str
    """What the algorithm asks for; empty: for nothing."""
    has_key: bool
    tier: str
    share: float
    """The part of the calls that goes to the first group."""
    picked: str
    """The id; empty: nobody may be called."""
    remarks: dict[str, int]
    endpoints: tuple[ExplainedEndpoint, ...]
