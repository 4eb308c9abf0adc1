"""Shell. What the agent can say of itself: for the admin port, the CLI and the tests. Changes nothing."""

import os
import time

import msgspec
import trio

from meshtrio import __version__, balance_sums, discovery_answers, identity_answers
from meshtrio.accelerating import Accelerating
from meshtrio.breaker_answers import BreakerAnswers
from meshtrio.breaker_board import BreakerBoard
from meshtrio.config.schema import Config
from meshtrio.directing import Directing
from meshtrio.fleet import Fleet
from meshtrio.identities import Identities
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.registry import Registry
from meshtrio.intercept.workload import Workload
from meshtrio.naming import Naming
from meshtrio.observe.process import usage
from meshtrio.observe.sums import Gauge, Sums
from meshtrio.publisher import Publisher
from meshtrio.sources import Sources
from meshtrio.workload_answers import described


class Parts(msgspec.Struct):
    """The pieces of an agent that the answers are made from."""

    config: Config
    fleet: Fleet
    breakers: BreakerBoard
    publisher: Publisher
    sources: Sources
    naming: Naming
    identities: Identities
    registry: Registry
    direct: Directing
    sums: Sums
    accelerating: Accelerating
    kernel: Kernel | None
    why_no_ebpf: str = ""
    began: float = 0.0
    config_path: str = ""
    config_fault: str = ""
    catching: bool = False
    """Whether what was adopted and what is configured is caught."""
    draining: bool = False
    pinning_fault: str = ""


def readiness(parts: Parts) -> list[str]:
    """Say what is still missing for being ready; empty when nothing is."""
    missing = []
    if parts.draining:
        missing.append("draining")
    if not parts.sources.settled:
        missing.append("the catalog was not read yet")
    if not parts.catching:
        # Orphaned workers close their doors when a successor is ready: not before its own are in use.
        missing.append("the workloads are not caught yet")
    missing += [f"worker {seat.number} is not ready" for seat in parts.fleet.seats if not seat.ready.is_set()]
    return missing


def status(parts: Parts) -> dict[str, object]:
    """Return everything that `meshtrio status` shows."""
    snapshot = parts.publisher.snapshot
    agent = usage()
    return {
        "version": __version__,
        "node": parts.config.node,
        "pid": os.getpid(),
        "uptime_s": round(time.monotonic() - parts.began, 1),
        "ready": not readiness(parts),
        "missing": readiness(parts),
        "rung": rung(parts),
        "acceleration": {"rung_max": parts.config.rung_max, **parts.accelerating.node()._asdict()},
        "config": {"path": parts.config_path, "fault": parts.config_fault},
        "catalog": {
            "file": parts.config.catalog.file,
            "version": snapshot.version,
            "services": len(snapshot),
            "endpoints": sum(len(port.endpoints) for one in snapshot.unordered() for port in one.every_port),
            "fault": parts.sources.file_fault,
            "not_in_kernel_map": parts.publisher.unmapped,
        },
        "discovery": discovery_answers.summary(parts.sources.hub),
        "state": {
            "path": parts.config.discovery.registration.state,
            "fault": parts.sources.registering.fault,
        },
        "identity": identity_answers.section(parts.identities),
        "dns": {
            "capture": parts.config.dns.capture,
            "doors": parts.naming.doors,
            "queries": _queries(parts),
        },
        **parts.direct.summaries(),
        "balance": balance_sums.summary(parts.sums, parts.publisher.unheeded.of),
        "agent": {"rss_bytes": agent.rss_bytes, "cpu_s": agent.cpu_s, "descriptors": agent.descriptors},
        "workers": [_worker(parts, number) for number in range(len(parts.fleet.seats))],
        "workloads": [workload(parts, one) for one in parts.registry],
        "outcomes": parts.sums.by_outcome(),
        "hooks": _reasons(parts),
    }


def rung(parts: Parts) -> dict[str, object]:
    """Say on which rung new workloads stand, and why."""
    on_ebpf = parts.kernel is not None and parts.config.rung != "nft"
    return {
        "configured": parts.config.rung,
        "in_use": "ebpf" if on_ebpf else "nft",
        "why": parts.why_no_ebpf,
        "pinned": bool(parts.kernel and parts.kernel.pins),
        "pinning_fault": parts.pinning_fault,
        "adopted": bool(parts.kernel and parts.kernel.adopted),
    }


def workload(parts: Parts, one: Workload) -> dict[str, object]:
    """Return what is shown of one workload."""
    return described(one, parts.accelerating)


async def connections(parts: Parts) -> dict[str, object]:
    """Return live connections of all workers, and the last that ended."""
    live, omitted = await parts.direct.live()
    answered = 0
    for _, report in await parts.fleet.live():
        live += report.connections
        omitted += report.omitted
        answered += 1
    silent = len(parts.fleet.seats) - answered
    recent = list(reversed(parts.sums.recent()))
    return {"live": live, "ended": recent, "omitted": omitted, "silent_workers": silent}


async def metrics(parts: Parts) -> bytes:
    """Return all metrics in Prometheus's text format.

    They are written in a thread: 10,000 kinds of connections take 0.3 s, for which nobody else should wait.
    """
    from meshtrio.observe.exposition import exposition

    # What the thread gets is its own: the loop goes on counting.
    sums = Sums()
    sums.kinds = {kind: [*counts] for kind, counts in parts.sums.kinds.items()}
    return await trio.to_thread.run_sync(exposition, sums, gauges(parts), _reasons(parts))


def gauges(parts: Parts) -> list[Gauge]:
    """Return all numbers that are not sums over connections."""
    found = [
        Gauge("meshtrio_ready", "Whether the agent is ready", float(not readiness(parts))),
        Gauge("meshtrio_workloads", "Workloads that are caught", len(parts.registry)),
        Gauge("meshtrio_services", "Services in the catalog", len(parts.publisher.snapshot)),
        Gauge(
            "meshtrio_catalog_version", "Version of the catalog snapshot", parts.publisher.snapshot.version
        ),
        _memory("agent", "self"),
    ]
    found += discovery_answers.gauges(parts.sources.hub, time.time())
    found += identity_answers.gauges(parts.identities)
    found += BreakerAnswers(parts.breakers, lambda: parts.publisher.snapshot).gauges()
    found += parts.direct.gauges() + balance_sums.gauges(parts.sums, parts.publisher.unheeded.of)
    queries = "Captured DNS queries by how they ended"
    found += [
        Gauge("meshtrio_dns_queries_total", queries, count, {"end": end}, grows=True)
        for end, count in _queries(parts).items()
    ]
    secured = "Connections secured (full, resumed, kernel), or why not"
    found += [
        Gauge(
            "meshtrio_handshakes_total",
            secured,
            count,
            {"direction": direction, "result": result},
            grows=True,
        )
        for (direction, result), count in sorted(parts.sums.handshakes.items())
    ]
    for seat in parts.fleet.seats:
        name = str(seat.number)
        restarts = "How often this worker was started again"
        found.append(Gauge("meshtrio_worker_restarts", restarts, seat.restarts, {"worker": name}))
        if seat.pid and not parts.fleet.inside:
            found.append(_memory(f"worker-{name}", seat.pid))
    return found


def _memory(process: str, pid: int | str) -> Gauge:
    what = "Resident memory of each process"
    return Gauge("meshtrio_resident_memory_bytes", what, usage(pid).rss_bytes, {"process": process})


def _worker(parts: Parts, number: int) -> dict[str, object]:
    seat = parts.fleet.seats[number]
    used = usage(seat.pid) if seat.pid else usage(0)
    return {
        "number": number,
        "pid": seat.pid,
        "inside_agent": parts.fleet.inside,
        "ready": seat.ready.is_set(),
        "restarts": seat.restarts,
        "rss_bytes": used.rss_bytes,
        "cpu_s": used.cpu_s,
        "descriptors": used.descriptors,
    }


def _queries(parts: Parts) -> dict[str, int]:
    counts = parts.naming.resolver.counts
    return {
        "answered": counts.answered,
        "remembered": counts.remembered,
        "forwarded": counts.forwarded,
        "failed": counts.failed,
        "unsent": counts.unsent,
        "dropped": sum(counts.dropped.values()),
    }


def _reasons(parts: Parts) -> dict[str, int]:
    if parts.kernel is None:
        return {}
    return {reason.name.lower(): count for reason, count in parts.kernel.reasons().items() if count}
