"""Shell. `meshtrio endpoints`: where connections to a service go, and why not elsewhere. Changes nothing."""

import functools
import time
from typing import Any

import click

from meshtrio.cli.columns import Column, Line, Row, ago, and_more, lay_out
from meshtrio.cli.complaint import Code, Complaint
from meshtrio.cli.control_client import Control
from meshtrio.cli.options import control_option, control_path, json_option
from meshtrio.cli.pages import fetched
from meshtrio.cli.watch import View, Watchable, show, watch_option

HELP = """List the endpoints of a service, or of all services.

SERVICE is a name, or namespace/name where several namespaces have it. HEALTH is what holds, WHY whose word
that is: the source's, our probe's, or both. Unhealthy and draining endpoints get no new connections while
others are there. STATE names what is not ordinary: draining, stale (its source is lost). AGE is how long it
has been as it is. A narrow terminal shows fewer columns; --wide shows all.

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
      "identity": "", "labels": {"tier": "web"}}]
  meshtrio endpoints orders --watch --json  # a line of that whenever something changed
"""

MOST_SUGGESTED = 50
MOST_MET = 10
"""How many unhealthy endpoints are said to be so in words, below the table."""


def _suggested(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """Complete the name of a service, as shells ask for it. Says nothing where the agent says nothing."""
    namespace, slash, name = begun.rpartition("/")
    asked = {"name": f"{name}*", **({"namespace": namespace} if slash else {})}
    try:
        path = control_path(ctx.params.get("control"))
        listed = fetched(Control(path, answer_s=1.0), "/v1/services", asked, most=MOST_SUGGESTED)["services"]
    except Complaint:
        return []
    names = [one["name"] for one in listed]
    return [
        f"{one['namespace']}/{one['name']}" if slash or names.count(one["name"]) > 1 else one["name"]
        for one in listed
    ]


@click.command("endpoints", cls=Watchable, help=HELP, short_help="List the endpoints of services.")
@click.argument("service", default="", shell_complete=_suggested)
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
    """Leave out what is another with each probe, and says nothing new."""
    return [
        {**one, "probe": one["probe"] and {**one["probe"], "last": 0, "latency_s": 0}}
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
        Column("WEIGHT", lambda one: one["weight"], rank=5),
        Column("ZONE", lambda one: one["zone"], rank=6),
        Column("NODE", lambda one: one["node"], rank=8),
        Column("VERSION", lambda one: one["version"], rank=7),
        Column("SOURCE", lambda one: one["source"], rank=5),
        Column("AGE", functools.partial(_age, now=now), rank=4),
        Column("MESHED", lambda one: "yes" if one["meshed"] else "no", rank=9),
    )
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
    return lines + and_more(told["total"] - len(listed)) + met[:MOST_MET]


def _state(one: Row) -> str:
    return ",".join(name for name in ("draining", "stale") if one[name])


def _age(one: Row, *, now: float) -> str:
    return ago(one["since"], now)


def _colour(one: Row) -> str:
    if one["health"] == "unhealthy":
        return "red"
    return "" if one["ready"] and not one["stale"] else "yellow"
