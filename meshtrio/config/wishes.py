"""Core. What can be said of the traffic to one service: any part of the settings, and nothing of the rest.
Does not know the rest: what is left out here holds as it is said for all.

A rule of the configuration says it, a file of services, or, in a few words of its own, the registry that
knows the service. The full settings and their defaults are in traffic.py.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from meshtrio.config.shape import Means, Shaping

Algorithm = Literal[
    "round_robin", "least_connections", "weighted", "consistent_hash", "maglev", "peak_ewma", "random"
]
Direct = Literal["off", "auto"]


def _bounded_load(value: float) -> None:
    if value and value < 1.05:
        raise ValueError


HashKey = Annotated[
    str,
    Meta(
        pattern=r"^(source_ip|spiffe_id|sni|path|(header|cookie):[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128})\Z",
        description="source_ip, spiffe_id, sni, path, header:NAME or cookie:NAME",
    ),
]
BoundedLoad = Annotated[float, Meta(ge=0, le=10, description="0 (off), or 1.05 to 10"), Means(_bounded_load)]
RampSeconds = Annotated[float, Meta(ge=0, le=3600, description="seconds, 0 (off) to 3600")]
Percent = Annotated[int, Meta(ge=0, le=100, description="a percentage, 0 to 100")]
Bound = Annotated[int, Meta(ge=0, le=1_000_000, description="a count, 0 (no limit) to 1000000")]
Threshold = Annotated[int, Meta(ge=1, le=1000, description="a count, 1 to 1000")]
Failures = Annotated[int, Meta(ge=0, le=1000, description="a count, 0 (off) to 1000")]
Rate = Annotated[int, Meta(ge=0, le=100, description="a percentage, 0 (off) to 100")]
OpenSeconds = Annotated[float, Meta(ge=0.1, le=3600, description="seconds, 0.1 to 3600")]
WindowSeconds = Annotated[float, Meta(ge=1, le=600, description="seconds, 1 to 600")]
SlowSeconds = Annotated[float, Meta(ge=0, le=300, description="seconds, 0 (off) to 300")]
Attempts = Annotated[int, Meta(ge=0, le=10, description="a count, 0 to 10")]
BackoffSeconds = Annotated[float, Meta(ge=0, le=60, description="seconds, 0 to 60")]
BudgetRate = Annotated[float, Meta(ge=0, le=10_000, description="a number a second, 0 to 10000")]
HedgeSeconds = Annotated[float, Meta(ge=0, le=60, description="seconds, 0 (off) to 60")]


class LimitWishes(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Some of traffic.Limits."""

    connections: Bound | UnsetType = UNSET
    pending: Bound | UnsetType = UNSET
    per_endpoint: Bound | UnsetType = UNSET


class BreakerWishes(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Some of traffic.Breaker."""

    enabled: bool | UnsetType = UNSET
    consecutive: Failures | UnsetType = UNSET
    rate_percent: Rate | UnsetType = UNSET
    minimum: Threshold | UnsetType = UNSET
    window_s: WindowSeconds | UnsetType = UNSET
    slow_s: SlowSeconds | UnsetType = UNSET
    slow_percent: Rate | UnsetType = UNSET
    open_s: OpenSeconds | UnsetType = UNSET
    open_max_s: OpenSeconds | UnsetType = UNSET
    half_open: Threshold | UnsetType = UNSET
    successes: Threshold | UnsetType = UNSET
    ejected_percent: Percent | UnsetType = UNSET


class RetryWishes(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Some of traffic.Retries."""

    attempts: Attempts | UnsetType = UNSET
    base_s: BackoffSeconds | UnsetType = UNSET
    max_s: BackoffSeconds | UnsetType = UNSET
    budget_percent: Percent | UnsetType = UNSET
    budget_per_s: BudgetRate | UnsetType = UNSET
    hedge_after_s: HedgeSeconds | UnsetType = UNSET


class Wishes(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Some of traffic.Settings. What is unset holds as it is said elsewhere."""

    algorithm: Algorithm | UnsetType = UNSET
    hash_key: HashKey | UnsetType = UNSET
    bounded_load: BoundedLoad | UnsetType = UNSET
    zone_aware: bool | UnsetType = UNSET
    slow_start_s: RampSeconds | UnsetType = UNSET
    panic_percent: Percent | UnsetType = UNSET
    direct: Direct | UnsetType = UNSET
    limits: LimitWishes = LimitWishes()
    breaker: BreakerWishes = BreakerWishes()
    retries: RetryWishes = RetryWishes()


NO_WISHES = Wishes()

WORDS: Mapping[str, str] = {
    "balancing": "algorithm",
    "hash-key": "hash_key",
    "slow-start": "slow_start_s",
    "direct": "direct",
    "breaker": "breaker.enabled",
    "retries": "retries.attempts",
    "hedge-after": "retries.hedge_after_s",
}
"""What a registry can say of a service, behind a prefix (Kubernetes: meshtrio.io/, Consul: meshtrio-), and
which setting it means."""

_SWITCH = {"on": "true", "off": "false"}

S = TypeVar("S", bound=Struct)


def laid_over(settings: S, wishes: Struct) -> S:
    """Give the settings with all that is set in the wishes. The same object comes back if nothing differs."""
    changes: dict[str, Any] = {}
    for name in wishes.__struct_fields__:
        value = getattr(wishes, name)
        if value is UNSET or not hasattr(settings, name):
            continue
        before = getattr(settings, name)
        value = laid_over(before, value) if isinstance(value, Struct) else value
        if value != before:
            changes[name] = value
    return msgspec.structs.replace(settings, **changes) if changes else settings


def idle_hedges(after_s: float | UnsetType, attempts: int | UnsetType) -> str:
    """Say what is wrong with hedges that are asked for where nothing is tried again; empty: nothing."""
    if not after_s or attempts != 0:
        return ""
    return f"has hedge_after_s {after_s:g} and attempts 0 (want 1 at least, for a hedge is a retry)"


def read_wishes(said: Mapping[str, str], prefix: str) -> tuple[Wishes, tuple[str, ...]]:
    """Read what stands at WORDS behind the prefix, and say in words what in it is wrong.

    What is wrong is as if it had not been said.
    """
    tree: dict[str, Any] = {}
    words: dict[str, str] = {}
    for word, path in WORDS.items():
        text = said.get(f"{prefix}{word}")
        if text is None:
            continue
        words[path] = word
        section, _, name = path.rpartition(".")
        held = tree.setdefault(section, {}) if section else tree
        held[name] = _SWITCH.get(text, text) if path == "breaker.enabled" else text
    if not tree:
        return NO_WISHES, ()
    shaping = Shaping({}, loose=frozenset(words))
    wishes = shaping.struct(Wishes, tree)
    assert wishes is not None, "each may be left out"
    wrong = [f"{prefix}{words[fault.path]} {fault.says}" for fault in shaping.faults]
    if idle_hedges(wishes.retries.hedge_after_s, wishes.retries.attempts):
        hedge = f'{prefix}hedge-after is "{said[f"{prefix}hedge-after"]}"'
        wrong.append(f"{hedge}, and {prefix}retries is 0 (want 1 at least, for a hedge is a retry)")
        wishes = msgspec.structs.replace(wishes, retries=RetryWishes(attempts=0))
    return wishes, tuple(wrong)
