"""Shell. What the agent can say of the identities of its workloads, and do about them when asked.

Holds no secret back, for it is given none: serials, times and words only.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from meshtrio.bearer import Bearer
from meshtrio.identities import Identities
from meshtrio.identity.plan import Now
from meshtrio.messages import Live
from meshtrio.observe import audit
from meshtrio.observe.sums import Gauge

Reports = Callable[[], Awaitable[Iterable[tuple[object, Live]]]]
"""Asks workers what connections live, as `Fleet.live` does."""


async def _nobody() -> list[tuple[object, Live]]:
    return []


class IdentityAnswers:
    """Answers of one agent."""

    def __init__(self, identities: Identities, reports: Reports = _nobody) -> None:
        """Answer about these; `reports` gives the connections that live now."""
        self._identities = identities
        self._reports = reports

    async def certificates(self) -> list[dict[str, object]]:
        """Return a row for each workload that has an identity."""
        bearers = list(self._identities.bearers.values())
        reports = await self._reports() if bearers else ()
        secured = Counter(one.workload for _, report in reports for one in report.connections if one.tls)
        now = self._identities.now()
        return [_row(bearer, now) | {"connections": secured[bearer.name]} for bearer in bearers]

    def bundle(self) -> bytes:
        """Return the roots of our own trust domain, as SPIFFE's JSON. Without identities there are none."""
        trusting = self._identities.trusting
        own = trusting.trust.bundle(trusting.trust.own) if trusting is not None else None
        if own is None:
            return b'{"keys":[]}'
        from meshtrio.identity.bundle import write_bundle

        return write_bundle(own)

    async def rotate(self, names: Sequence[str], *, root: bool) -> dict[str, object]:
        """Replace certificates at once, and the root that signs, if wanted; return how that went.

        UnknownWorkload or IssueError if it cannot be; then nothing was done.
        """
        identities = self._identities
        serial = await identities.rotate_root() if root else ""
        now = identities.now()
        bearers = list(identities.bearers.values()) if root else await identities.rotate(names)
        return {"root": serial, "certificates": [_row(bearer, now) for bearer in bearers]}


def section(identities: Identities) -> dict[str, object]:
    """Return what `meshtrio status` shows."""
    settings, trusting = identities.settings, identities.trusting
    states = [bearer.plan.state.value for bearer in identities.bearers.values()]
    trust = trusting.trust if trusting is not None else None
    return {
        "source": settings.source,
        "trust_domain": settings.trust_domain,
        "fault": identities.fault or str(getattr(identities.issuer, "fault", "")),
        "workloads": len(states),
        "without_certificate": sum(not one.plan.serves for one in identities.bearers.values()),
        "states": {state: states.count(state) for state in sorted(set(states))},
        "roots": {name: len(one.anchors) for name, one in trust.bundles.items()} if trust else {},
        "revoked": len(trust.revocations) if trust else 0,
        "faults": dict(trusting.faults) if trusting is not None else {},
        "audit": {"path": settings.audit, "fault": audit.fault()},
    }


def gauges(identities: Identities) -> list[Gauge]:
    """Return what is counted and measured of each workload's certificate."""
    wall = identities.now().wall
    expiry = "Seconds until the certificate of this workload ends; negative if it has, 0 if there is none"
    rotations = "Attempts to get a certificate by how they ended"
    found: list[Gauge] = []
    for bearer in identities.bearers.values():
        end = bearer.issued.validity.not_after if bearer.issued is not None else wall
        labels = {"workload": bearer.name}
        found.append(Gauge("meshtrio_certificate_expiry_seconds", expiry, end - wall, labels))
        for result, count in sorted(bearer.results.items()):
            labels = {"workload": bearer.name, "result": result}
            found.append(Gauge("meshtrio_certificate_rotations_total", rotations, count, labels, grows=True))
    return found


def _row(bearer: Bearer, now: Now) -> dict[str, Any]:
    issued = bearer.issued
    return {
        "workload": bearer.name,
        "workload_id": bearer.id,
        "spiffe_id": str(bearer.spiffe_id),
        "state": bearer.plan.state.value,
        "serves": bearer.plan.serves,
        "serial": f"{issued.serial:x}" if issued is not None else "",
        "not_before": issued.validity.not_before if issued is not None else 0.0,
        "not_after": issued.validity.not_after if issued is not None else 0.0,
        "renews_at": bearer.renews_at(now),
        "source": bearer.source,
        "rotations": bearer.results["issued"],
        "failures": bearer.plan.failures,
        "error": bearer.error,
    }
