"""Shell. `meshtrio endpoints`: where connections to a service go, and why not elsewhere. Changes nothing."""

import functools
import time
from typing import Any

import click

from meshtrio.cli.balance import silent
from meshtrio.cli.columns import Column, Line, Row, ago, and_more, lay_out
from meshtrio.cli.complaint import Code, Complaint
from meshtrio.cli.control_client import Control
from meshtrio.cli.options import control_option, control_path, json_option
from meshtrio.cli.pages import fetched, suggested_services
from meshtrio.cli.watch import View, Watchable, show, watch_option
from meshtrio.cli.words import lasting

HELP = """List the endpoints of a service, or of all services.

SERVICE is a name, or namespace/name where several namespaces have it. HEALTH is what holds, WHY whose word
that is: the source's, our probe's, or both. Unhealthy and draining endpoints get no new connections while
others are there. STATE names what is not ordinary: draining, stale (its source is lost), ejected (its
breaker keeps new connections away). AGE is how long it has been as it is. BREAKER is closed, open (until
when), half_open, or forced. ACTIVE counts the connections through all workers, LATENCY is how long first
bytes took lately (peak EWMA). FLOWS counts the sockets that sent to a UDP service and came to it. A
narrow terminal shows fewer columns; --wide shows all.

\b
Examples:
  meshtrio endpoints orders
  meshtrio endpoints shop/orders --watch
  meshtrio endpoints --json | jq -r '.[] | select(.ready | not) | .address'
    [{"namespace": "shop", "service": "orders", "port": "http", "address": "10.0.0.7:8080",
      "id": "orders-5d8", "health": "unhealthy", "why": "probe", "said": "healthy",
      "probe": {"health": "unhealthy", "since": 1700000000.1, "last": 1700000060.1,
                "text": "connection refused", "latency_s": 0.001},
      "ready": false, "draining": false, "weight": 1, "zone": "a", "node": "n1", "version": "v2",
      "source": "kubernetes", "since": 1700000000.1, "stale": false, "meshed": true,
      "identity": "", "labels": {"tier": "web"}, "breaker": "open", "retry_in_s": 25.9,
      "active": 2, "latency_s": 0.004, "ejected": true, "flows": null}]
  meshtrio endpoints orders --watch --json  # a line of that whenever something changed
"""

MOST_MET = 10
"""How many unhealthy endpoints are said to be so in words, below the table."""


@click.command("endpoints", cls=Watchable, help=HELP, short_help="List the endpoints of services.")
@click.argument("service", default="", shell_complete=suggested_services)
@click.option("--namespace", "-n", default="", metavar="NAME", help="Only those of this namespace.")
@click.option("--wide", is_flag=True, help="All columns, also identity and id, however narrow the terminal.")
@watch_option
@control_option
@json_option
def endpoints(control: str | None, service: str, namespace: str, wide: bool, **shown: Any) -> None:
    """See HELP."""
    if namespace and "/" in service and not service.startswith(f"{namespace}/"):
        raise Complaint(
            f"--namespace is {namespace}, and {service} is in another (want one of them)", Code.USAGE
        )
    agent = Control(control_path(control))
    asked = {"service": service, "namespace": namespace}
    view = View(
        title=" ".join(filter(None, ("endpoints", service, namespace and f"of namespace {namespace}"))),
        ask=lambda most: fetched(agent, "/v1/endpoints", asked, most=most),
        lines=lambda told, width: table_of(told, time.time(), width, wide=wide),
        plain=lambda told: told["endpoints"],
        settled=settled,
    )
    show(view, **shown)


def settled(told: dict[str, Any]) -> object:
    """Leave out what is another with each probe or with time, and says nothing new."""
    passing = {"retry_in_s": 0, "latency_s": 0}
    return [
        {**one, **passing, "probe": one["probe"] and {**one["probe"], "last": 0, "latency_s": 0}}
        for one in told["endpoints"]
    ]


def table_of(told: dict[str, Any], now: float, width: int | None, *, wide: bool) -> list[Line]:
    """Make an answer into lines, and below the table what probes met."""
    listed = told["endpoints"]
    if not listed:
        return [Line("no endpoints")]
    columns: tuple[Column, ...] = (
        Column("SERVICE", lambda one: f"{one['namespace']}/{one['service']}"),
        Column("PORT", lambda one: one["port"], rank=2),
        Column("ADDRESS", lambda one: one["address"]),
        Column("HEALTH", lambda one: one["health"]),
        Column("WHY", lambda one: one["why"], rank=3),
        Column("STATE", _state, rank=1),
        Column("BREAKER", _breaker, rank=2),
        Column("ACTIVE", lambda one: _known(one["active"]), rank=4),
        Column("LATENCY", _latency, rank=5),
        Column("WEIGHT", lambda one: one["weight"], rank=5),
        Column("ZONE", lambda one: one["zone"], rank=6),
        Column("NODE", lambda one: one["node"], rank=8),
        Column("VERSION", lambda one: one["version"], rank=7),
        Column("SOURCE", lambda one: one["source"], rank=5),
        Column("AGE", functools.partial(_age, now=now), rank=4),
        Column("MESHED", lambda one: "yes" if one["meshed"] else "no", rank=9),
    )
    if any(one["flows"] is not None for one in listed):
        columns += (Column("FLOWS", lambda one: _known(one["flows"]), rank=4),)
    if wide:
        columns += (
            Column("ID", lambda one: one["id"]),
            Column("IDENTITY", lambda one: one["identity"]),
            Column("LABELS", lambda one: ",".join(f"{key}={word}" for key, word in one["labels"].items())),
        )
    lines = lay_out(columns, listed, width=None if wide else width, colour=_colour)
    met = [
        Line(f"{one['address']}: {' '.join(one['probe']['text'].split())}", "red")
        for one in listed
        if one["probe"] and one["probe"]["text"] and one["probe"]["health"] == "unhealthy"
    ]
    lines += and_more(told["total"] - len(listed)) + met[:MOST_MET]
    return lines + ([silent(told["silent_workers"])] if told["silent_workers"] else [])


def _state(one: Row) -> str:
    return ",".join(name for name in ("draining", "stale", "ejected") if one[name])


def _breaker(one: Row) -> str:
    left_s = one["retry_in_s"]
    return str(one["breaker"]) if left_s is None else f"{one['breaker']} {lasting(max(0.0, left_s))}"


def _latency(one: Row) -> object:
    return lasting(one["latency_s"]) if one["latency_s"] else ""


def _known(count: int | None) -> object:
    return "" if count is None else count


def _age(one: Row, *, now: float) -> str:
    return ago(one["since"], now)


def _colour(one: Row) -> str:
    if one["health"] == "unhealthy" or one["ejected"]:
        return "red"
    return "" if one["ready"] and not one["stale"] else "yellow"
