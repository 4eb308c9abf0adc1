"""Core. Which endpoints we probe, when, and what the answers mean. Does not know how one asks.

An endpoint is probed because its service has a check, or because the source that told of it is lost and
somebody here uses it. It is healthy after `rise` good answers in a row, and unhealthy after `fall` bad ones;
until then nothing is known against it. What only our own lateness can explain counts for nothing.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from meshtrio.address import Address
from meshtrio.catalog.service import Health, Labels, Service
from meshtrio.config.discovery import HealthCheck

JITTER = 0.1
"""How much sooner or later than after the interval a probe comes, so that probes do not gather."""
FRESH_S = 1.0
"""How soon a single new endpoint is probed."""
TEXT_CHARS = 200


class Manner(msgspec.Struct, frozen=True, cache_hash=True):
    """How an address is probed. Equal ones are one probe, whichever services want it."""

    type: str = "tcp"
    path: str = ""
    host: str = ""
    headers: Labels = ()
    status: tuple[int, ...] = ()
    grpc_service: str = ""
    interval_s: float = 10.0
    timeout_s: float = 2.0
    rise: int = 2
    fall: int = 3

    def accepts(self, status: int) -> bool:
        """Say whether this HTTP status counts as healthy."""
        return status in self.status if self.status else 200 <= status < 400


class Target(msgspec.Struct, frozen=True, cache_hash=True):
    """One address, probed in one manner."""

    address: Address
    manner: Manner


class Finding(enum.Enum):
    """What a probe met with."""

    PASSED = "passed"
    FAILED = "failed"
    """The other side said no, or nonsense."""
    SILENT = "silent"
    """No answer in time, or none before the connection was cut."""
    VOID = "void"
    """We could not ask, for reasons of our own."""


class Answer(msgspec.Struct, frozen=True):
    """What came of one probe, and the reason in words."""

    finding: Finding
    text: str
    latency_s: float = 0.0


class Result(msgspec.Struct, frozen=True):
    """What is known by probing of one endpoint of one service."""

    health: Health
    since: float
    """Since when it is so, wall time."""
    last: float
    """When it was asked last, wall time; 0: never."""
    text: str
    latency_s: float


class Turn(enum.Enum):
    """What an answer that counts means after those before it."""

    PASSED = "passed"
    RISEN = "risen"
    """The last of `rise` good answers in a row, or one more."""
    FAILED = "failed"
    FALLEN = "fallen"
    """The last of `fall` bad answers in a row, or one more."""


NEXT: Mapping[tuple[Health, Turn], Health] = {
    (Health.UNKNOWN, Turn.PASSED): Health.UNKNOWN,
    (Health.UNKNOWN, Turn.RISEN): Health.HEALTHY,
    (Health.UNKNOWN, Turn.FAILED): Health.UNKNOWN,
    (Health.UNKNOWN, Turn.FALLEN): Health.UNHEALTHY,
    (Health.HEALTHY, Turn.PASSED): Health.HEALTHY,
    (Health.HEALTHY, Turn.RISEN): Health.HEALTHY,
    (Health.HEALTHY, Turn.FAILED): Health.HEALTHY,
    (Health.HEALTHY, Turn.FALLEN): Health.UNHEALTHY,
    (Health.UNHEALTHY, Turn.PASSED): Health.UNHEALTHY,
    (Health.UNHEALTHY, Turn.RISEN): Health.HEALTHY,
    (Health.UNHEALTHY, Turn.FAILED): Health.UNHEALTHY,
    (Health.UNHEALTHY, Turn.FALLEN): Health.UNHEALTHY,
}
"""A probe never finds WARNING."""

COUNTS: Mapping[tuple[Finding, bool], bool | None] = {
    (Finding.PASSED, False): True,
    (Finding.PASSED, True): True,
    (Finding.FAILED, False): False,
    (Finding.FAILED, True): False,
    (Finding.SILENT, False): False,
    (Finding.SILENT, True): None,
    (Finding.VOID, False): None,
    (Finding.VOID, True): None,
}
"""Whether a finding is good, bad, or (None) counts for nothing; the flag: whether we were late ourselves."""


class Standing(msgspec.Struct, frozen=True):
    """What is held of a target, and how many answers of one kind came last (bad ones are negative)."""

    health: Health = Health.UNKNOWN
    streak: int = 0


def after(standing: Standing, manner: Manner, *, good: bool) -> Standing:
    """Tell how a target stands after one more answer that counts."""
    if good:
        streak = min(max(standing.streak, 0) + 1, manner.rise)
        turn = Turn.RISEN if streak == manner.rise else Turn.PASSED
    else:
        streak = max(min(standing.streak, 0) - 1, -manner.fall)
        turn = Turn.FALLEN if streak == -manner.fall else Turn.FAILED
    return Standing(NEXT[standing.health, turn], streak)


def worst(found: Iterable[Health]) -> Health:
    """Join what several probes of one endpoint found: one that is ill decides, one that is unknown too."""
    all_found = set(found)
    for health in (Health.UNHEALTHY, Health.UNKNOWN, Health.HEALTHY):
        if health in all_found:
            return health
    return Health.UNKNOWN


def first_due(now: float, manner: Manner, luck: float, *, spread: bool) -> float:
    """Tell when a target is probed for the first time; `spread`: it is one of many, so within an interval.

    `luck` is from 0 to 1, here and below.
    """
    return now + luck * (manner.interval_s if spread else min(FRESH_S, manner.interval_s))


def next_due(began: float, manner: Manner, luck: float, *, changed: bool) -> float:
    """Tell when the probe after one that began at `began` is due; after a change of health sooner."""
    interval_s = manner.interval_s / 2 if changed else manner.interval_s
    return began + interval_s * (1 - JITTER + 2 * JITTER * luck)


def by_service(checks: Iterable[HealthCheck]) -> dict[str, tuple[HealthCheck, ...]]:
    """Order checks by the key of their service."""
    ordered: dict[str, tuple[HealthCheck, ...]] = {}
    for check in checks:
        key = check.service if "/" in check.service else f"default/{check.service}"
        ordered[key] = (*ordered.get(key, ()), check)
    return ordered


def manner_of(check: HealthCheck, service: str) -> Manner:
    """Tell how a check probes the endpoints of the service of this name."""
    limits = Manner(
        type=check.type,
        interval_s=check.interval_s,
        timeout_s=check.timeout_s,
        rise=check.rise,
        fall=check.fall,
    )
    if check.type == "tcp":
        return limits
    host, headers = check.host or service, tuple(sorted(check.headers.items()))
    if check.type == "grpc":
        return msgspec.structs.replace(limits, host=host, headers=headers, grpc_service=check.grpc_service)
    return msgspec.structs.replace(
        limits, host=host, headers=headers, path=check.path, status=tuple(sorted(set(check.status)))
    )


UNCHECKED = Manner()
"""How endpoints of a lost source are probed where no check says otherwise."""


def targets(
    said: Iterable[Service], checks: Sequence[HealthCheck], lost: frozenset[str]
) -> tuple[Target, ...]:
    """List what to probe of a service, each target once.

    `said` is what the catalog says of it and what lost sources said last; `lost` are the sources whose
    endpoints are probed even without a check.
    """
    found: dict[Target, None] = {}
    for service in said:
        manners = [(check.port, manner_of(check, service.name)) for check in checks]
        for port in service.ports:
            here = [manner for name, manner in manners if name in ("", port.name)]
            for endpoint in port.endpoints:
                how = here or ([UNCHECKED] if endpoint.source in lost else [])
                found.update((Target(endpoint.address, manner), None) for manner in how)
    return tuple(found)


def told(text: str) -> str:
    """Make a stranger's words fit to be shown: one line, bounded."""
    shown = text[: TEXT_CHARS + 1]
    shown = shown if shown.isprintable() else repr(shown)[1:-1]
    return shown if len(shown) <= TEXT_CHARS else shown[: TEXT_CHARS - 1] + "…"
