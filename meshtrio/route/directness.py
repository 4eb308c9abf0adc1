"""Core. May callers of a service go to its endpoints themselves, and if not, why not? Does not know maps.

They may if they lose nothing by it: who connects directly gets one try, plain, to the endpoint that the
kernel picks. What a worker would have done beyond that must not have been asked for.
"""

import enum
from collections.abc import Callable, Collection, Sequence

import msgspec

from meshtrio.balance.slots import MEMBERS_BOUND, PICKS
from meshtrio.catalog.service import Endpoint
from meshtrio.config.schema import Config
from meshtrio.config.traffic import Settings


class Relayed(enum.Enum):
    """Why connections to a service go through the worker. The value is what `meshtrio services` shows."""

    OFF = "traffic.direct is off"
    RUNG_MAX = "rung_max is r1, so everything is relayed"
    NO_HOOKS = "only the eBPF rung has hooks that pick"
    NO_ADDRESS = "it has no virtual address: callers dial its endpoints"
    ALGORITHM = "the kernel has no such algorithm"
    HASH_KEY = "the kernel knows only the caller to choose by (hash_key: source_ip)"
    RETRIES = "retries are asked for (retries.attempts), and the kernel tries once"
    LIMITS = "it has limits of its own, which workers keep"
    SLOW_CALLS = "its breaker looks for slow calls (breaker.slow_s)"
    PROVING = "a breaker of it is half open, and workers try its endpoint"
    TLS = "an endpoint is in the mesh, and is called with mutual TLS"
    UNGRANTED = "no workload may go to its endpoints itself: none that may call them asks for acceleration r5"
    NO_ENDPOINT = "no endpoint may be used, and workers say so better"
    FAMILY = "no endpoint has an address of its family"
    TOO_MANY = f"it has more than {MEMBERS_BOUND} endpoints"
    FULL = "the kernel's maps have no room for it"
    OTHER_OWNER = "its address belongs to another service"


class Way(msgspec.Struct, frozen=True):
    """How connections to one port of a service go, and why: `direct`, `relay`, or `both`, by address.

    `granted`: for workloads that have a grant as for `direct`, and for all others as for `relay`.
    """

    path: str
    why: str = ""


class Asked(msgspec.Struct, frozen=True):
    """What is asked for of the traffic to one port of a service, as far as it matters here."""

    direct: bool = False
    algorithm: str = "round_robin"
    hash_key: str = "source_ip"
    attempts: int = 0
    """Further tries after the first one."""
    limited: bool = False
    """It has limits of its own."""
    slow_s: float = 0.0
    """From when on a call counts as slow."""
    allowed: bool = True
    """Direct services may be (rung_max)."""
    proving: bool = False
    """The breaker of an endpoint is half open, and only few connections may go there to prove it."""


def asked_of(settings: Settings) -> Asked:
    """Return of the settings of a port what matters here."""
    limits = settings.limits
    return Asked(
        direct=settings.direct == "auto",
        algorithm=settings.algorithm,
        hash_key=settings.hash_key,
        attempts=settings.retries.attempts,
        limited=bool(limits.connections or limits.pending or limits.per_endpoint),
        slow_s=settings.breaker.slow_s if settings.breaker.enabled else 0.0,
    )


def wanted_otherwise(asked: Asked) -> Relayed | None:
    """Say which wish needs a worker; None: no wish does."""
    if not asked.direct:
        return Relayed.OFF  # as most are; all the others cost ten times as much
    reasons = (
        (not asked.allowed, Relayed.RUNG_MAX),
        (asked.algorithm not in PICKS, Relayed.ALGORITHM),
        (asked.algorithm == "maglev" and asked.hash_key != "source_ip", Relayed.HASH_KEY),
        (asked.attempts > 0, Relayed.RETRIES),
        (asked.limited, Relayed.LIMITS),
        (asked.slow_s > 0, Relayed.SLOW_CALLS),
        (asked.proving, Relayed.PROVING),
    )
    return next((why for holds, why in reasons if holds), None)


def members(
    usable: Sequence[Endpoint], *, v4: bool, secured: Callable[[Endpoint], bool]
) -> tuple[Endpoint, ...] | Relayed:
    """Return the endpoints that may serve an address of this family directly, or why there are none.

    One that is called with mutual TLS is enough for all to be relayed: whom a caller meets must not decide
    whether it proves who it is.
    """
    if not usable:
        return Relayed.NO_ENDPOINT
    if any(map(secured, usable)):
        return Relayed.TLS
    fitting = tuple(endpoint for endpoint in usable if endpoint.address.is_v4 == v4)
    if not fitting:
        return Relayed.FAMILY
    return fitting if len(fitting) <= MEMBERS_BOUND else Relayed.TOO_MANY


def speaks_tls(config: Config) -> bool:
    """Say whether any workload of ours may call an endpoint in the mesh otherwise than in plain text.

    Without identities permissive is as good as disabled; strict then refuses, which workers do.
    """
    modes = {config.mtls.mode, *(rule.mode for rule in config.mtls.rules)}
    plain = {"disable"} if config.identity.source != "off" else {"disable", "permissive"}
    return bool(modes - plain)


def way_of(judged: Collection[object], *, callers: int = 0) -> Way:
    """Say how connections to a port go, by what was found for each of its addresses: a `Relayed`, or else.

    `callers`: how many workloads have a grant, if that is needed.
    """
    if not judged:
        return Way("relay", Relayed.NO_ADDRESS.value)
    reasons = [one for one in judged if isinstance(one, Relayed)]
    whys = "; ".join(dict.fromkeys(why.value for why in reasons))
    if not reasons and callers:
        whose = "1 workload of this node goes" if callers == 1 else f"{callers} workloads of this node go"
        return Way("granted", f"{whose} there past us; others are relayed")
    if not reasons:
        return Way("direct")
    return Way("relay" if len(reasons) == len(judged) else "both", whys)
