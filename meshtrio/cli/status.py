"""Shell. `meshtrio status`: how the agent is. Does not know how the agent knows."""

import time
from typing import Any

import click

from meshtrio.cli.control_client import Control
from meshtrio.cli.options import control_option, control_path, json_option
from meshtrio.cli.screen import bad, good, of, show_json, show_table
from meshtrio.cli.words import lasting, octets
from meshtrio.cli.workload_rows import show_workloads

HELP = """Show how the agent of this machine is: rung, catalog, sources, workers, workloads, outcomes, hooks.

Ends with 0 if the agent is ready, 1 if it is not, 3 if there is none.

\b
Examples:
  meshtrio status
  meshtrio status --json | jq .rung.in_use
    {"version": "0.1.0", "node": "n1", "pid": 612, "uptime_s": 12.5, "ready": true, "missing": [],
     "rung": {"configured": "auto", "in_use": "ebpf", "why": "", "pinned": true, ...},
     "acceleration": {"rung_max": "r5", "rung": "r2", "why": "r3 is not in this version; ..."},
     "config": {"path": ..., "fault": ""}, "catalog": {"file": ..., "services": 3, ...},
     "discovery": {"sources": [{"source": "file", "lost": false, ...}], "levels": {"live": 3, ...}},
     "state": {"path": "/var/lib/meshtrio/state.db", "fault": ""},
     "identity": {"source": "embedded", "trust_domain": "cluster.local", "fault": "", "workloads": 1,
                  "without_certificate": 0, "states": {"fresh": 1}, "roots": {"cluster.local": 1}, ...},
     "dns": {"capture": true, "doors": 1, "queries": {"answered": 12, "forwarded": 3, ...}},
     "balance": {"retries": {"allowed": 3, "denied": 0}, "remarks": {"shop/orders:http": {"no_key": 9}},
                 "unheeded": {"shop/web": ["meshtrio.io/balancing is ..."]}, ...},
     "agent": {"rss_bytes": 38000000, "cpu_s": 0.9, "descriptors": 31},
     "workers": [{"number": 0, "pid": 613, "ready": true, "rss_bytes": ..., ...}],
     "workloads": [{"name": "shop", "id": 1, "rung": "ebpf", "cgroup": ..., ...}],
     "outcomes": {"carried": 12}, "hooks": {"redirected": 12}}
"""


@click.command("status", help=HELP, short_help="Show how the agent is.")
@control_option
@json_option
def status(control: str | None, as_json: bool) -> int:
    """See HELP."""
    told = Control(control_path(control)).get("/v1/status")
    if as_json:
        show_json(told)
    else:
        _show(told)
    return 0 if of(told, "ready") else 1


def _show(told: dict[str, Any]) -> None:
    ready = good("ready") if told["ready"] else bad(f"not ready: {'; '.join(told['missing'])}")
    click.echo(
        f"meshtrio {told['version']} on {told['node']}, pid {told['pid']},"
        f" up {lasting(told['uptime_s'])}: {ready}"
    )
    for name, text, fault in (
        ("rung", _rung(told), of(told, "rung", "pinning_fault")),
        ("fast", _fast(told), ""),
        ("config", of(told, "config", "path") or "no file", of(told, "config", "fault")),
        ("catalog", _catalog(told), of(told, "catalog", "fault")),
        ("identity", *identity(told)),
        ("direct", direct(told), ""),
        ("udp", _udp(told), ""),
        ("balance", *balance(told)),
        ("agent", _process(told["agent"]), ""),
    ):
        _show_line(name, text, str(fault))
        if name == "catalog":
            show_discovery(told, time.time())
            if of(told, "state", "fault"):
                _show_line("state", of(told, "state", "path"), f"cannot be used: {told['state']['fault']}")
    _show_workers(told["workers"])
    show_workloads(told["workloads"])
    for name, counts in (("outcomes", told["outcomes"]), ("hooks", told["hooks"])):
        if counts:
            click.echo(f"\n{name}: " + ", ".join(f"{key} {count}" for key, count in counts.items()))


def identity(told: dict[str, Any]) -> tuple[str, str]:
    """Write who says who workloads are, and below it what is wrong there."""
    source = of(told, "identity", "source")
    if source in ("", "off"):
        return "off", ""
    own, count = of(told, "identity", "trust_domain"), of(told, "identity", "workloads")
    without = of(told, "identity", "without_certificate")
    faults = [str(of(told, "identity", "fault"))] if of(told, "identity", "fault") else []
    faults += [f"{what}: {why}" for what, why in (of(told, "identity", "faults") or {}).items()]
    if of(told, "identity", "audit", "fault"):
        faults.append(f"the audit log cannot be written: {told['identity']['audit']['fault']}")
    text = f"{source} of {own}: {count} workloads" + (f", {without} without certificate" if without else "")
    return text, "\n".join(faults)


def direct(told: dict[str, Any]) -> str:
    """Say in a line how many direct services and connections there are."""
    counts = of(told, "direct") or {}
    if not any(counts.values()):
        return "no service"
    text = (
        f"{counts['services']} services, {counts['active']} connections live, {counts['connections']} in all"
    )
    text += f", {counts['failed']} not established" if counts["failed"] else ""
    text += f", {counts['grants']} grants" if counts.get("grants") else ""
    return text + (f", no room for {counts['no_room']} services" if counts["no_room"] else "")


def _udp(told: dict[str, Any]) -> str:
    counts = of(told, "udp") or {}
    if not any(counts.values()):
        return "no service"
    text = f"{counts['services']} services, {counts['flows']} flows"
    return text + (f", no room for {counts['no_room']} addresses" if counts["no_room"] else "")


def balance(told: dict[str, Any]) -> tuple[str, str]:
    """Write how often calls were tried again, and below it what is wrong with how services are balanced."""
    found = of(told, "balance") or {}
    retries = of(found, "retries") or {"allowed": 0, "denied": 0}
    text = f"{retries['allowed']} retries" + (
        f", {retries['denied']} denied by the budget" if retries["denied"] else ""
    )
    faults = [
        f"{port}: " + ", ".join(f"{word} {count}" for word, count in counts.items())
        for port, counts in (of(found, "remarks") or {}).items()
    ]
    faults += [
        f"not heeded of {key}: {said}"
        for key, wrong in (of(found, "unheeded") or {}).items()
        for said in wrong
    ]
    left_out = (of(found, "remarks_omitted") or 0) + (of(found, "unheeded_omitted") or 0)
    return text, "\n".join(faults + ([f"and {left_out} more services"] if left_out else []))


def _show_line(name: str, text: str, fault: str = "") -> None:
    click.echo(f"{name:8} {text}")
    for line in fault.splitlines():
        click.echo(f"{'':8} {bad(line)}")


def show_discovery(told: dict[str, Any], now: float) -> None:
    """Print the lines about sources and DNS, as far as this agent says something of them."""
    sources = of(told, "discovery", "sources") or []
    if sources:
        _show_line("sources", ", ".join(_source(one, now) for one in sources))
        levels = of(told, "discovery", "levels")
        _show_line(
            "levels", ", ".join(f"{name} {count}" for name, count in levels.items() if count) or "none"
        )
    dns = of(told, "dns")
    if dns:
        doors = f"captured at {dns['doors']} doors" if dns["capture"] else "not captured"
        queries = [f"{end} {count}" for end, count in dns["queries"].items() if count]
        _show_line("dns", ", ".join((doors, *queries)))


def _source(one: dict[str, Any], now: float) -> str:
    if one["lost"]:
        for_s = max(0.0, now - one["stale_since"])
        return f"{one['source']} {bad(f'lost for {lasting(for_s)}')}"
    return f"{one['source']} {good('live') if one['state'] == 'live' else one['state']}"


def _rung(told: dict[str, Any]) -> str:
    rung = told["rung"]
    text = f"{rung['in_use']} (configured: {rung['configured']})"
    text += ", pinned" if rung["pinned"] else ""
    text += ", adopted from the last agent" if rung["adopted"] else ""
    return f"{text}, for: {' '.join(rung['why'].split())}" if rung["why"] else text


def _fast(told: dict[str, Any]) -> str:
    found = of(told, "acceleration")
    return f"{found['rung']} (rung_max: {found['rung_max']}): {found['why']}" if found else "unknown"


def _catalog(told: dict[str, Any]) -> str:
    catalog = told["catalog"]
    return (
        f"{catalog['file'] or 'no file'}: {catalog['services']} services, {catalog['endpoints']} endpoints,"
        f" version {catalog['version']}"
    )


def _process(used: dict[str, Any]) -> str:
    return f"{octets(used['rss_bytes'])}, {lasting(used['cpu_s'])} CPU, {used['descriptors']} descriptors"


def _show_workers(workers: list[dict[str, Any]]) -> None:
    rows = [
        (
            one["number"],
            one["pid"],
            "ready" if one["ready"] else "not ready",
            "inside the agent" if one["inside_agent"] else octets(one["rss_bytes"]),
            lasting(one["cpu_s"]),
            one["descriptors"],
            one["restarts"],
        )
        for one in workers
    ]
    click.echo()
    show_table(("WORKER", "PID", "STATE", "RSS", "CPU", "DESCRIPTORS", "RESTARTS"), rows)
