"""Shell. `meshtrio services`: what the catalog knows, and how well. Changes nothing."""

import functools
import time
from typing import Any

import click

from meshtrio.cli.columns import Column, Line, Row, ago, and_more, lay_out
from meshtrio.cli.control_client import Control
from meshtrio.cli.options import control_option, control_path, json_option
from meshtrio.cli.pages import fetched
from meshtrio.cli.watch import View, Watchable, show, watch_option
from meshtrio.route.directness import Relayed

OFF = Relayed.OFF.value
LEFT = ("relay", "pass")
"""How traffic goes for which the kernel picks nobody."""
MOST_WRONG = 10
"""How many wishes that are wrong are said below the table."""
LEVELS = ("live", "last_known", "dns", "static")

HELP = """List the services of the catalog.

LEVEL says how good what we know is: live; last_known (the source is lost, and this is what it said last;
STALE FOR how long); dns or static (a registry is configured, and DNS or the file has to do). READY counts
the endpoints that get new connections, of all. PATH is for services that may be direct (traffic.direct):
`direct` is past us, straight to the endpoint that the kernel picks; `granted` is so for those workloads
that ask for r5 and may call all of its endpoints; `relay` is through a worker, and WHY says why. No worker
carries UDP: its ports are `direct`, or `refuse` (the caller gets EPERM), or `pass` (datagrams go where they
are sent). Below are wishes for traffic (annotations, meta) that are wrong, and so are not heeded. A narrow
terminal shows fewer columns; --wide shows all.

\b
Examples:
  meshtrio services
  meshtrio services --namespace shop --name 'order*'
  meshtrio services --level last_known --watch
  meshtrio services --json | jq -r '.[] | select(.ready == 0) | .name'
    [{"namespace": "shop", "name": "orders", "source": "kubernetes", "level": "live",
      "vips": ["10.96.0.10"], "ports": [{"name": "http", "port": 80, "protocol": "http2",
                  "path": "relay", "why": "traffic.direct is off"}],
      "ready": 2, "endpoints": 3, "stale_since": 0.0, "headless": false, "external": "",
      "unheeded": []}]
  meshtrio services --watch --json          # a line of that whenever something changed
"""


@click.command("services", cls=Watchable, help=HELP, short_help="List the services that are known.")
@click.option("--namespace", "-n", default="", metavar="NAME", help="Only those of this namespace.")
@click.option("--source", default="", metavar="NAME", help="Only what this source speaks of.")
@click.option("--name", default="", metavar="PATTERN", help="Only names like this: 'order*'.")
@click.option("--level", type=click.Choice(LEVELS), default=None, help="Only those as well known as this.")
@click.option("--wide", is_flag=True, help="All columns, however narrow the terminal is.")
@watch_option
@control_option
@json_option
def services(control: str | None, every_s: float | None, wide: bool, as_json: bool, **asked: Any) -> None:
    """See HELP."""
    agent = Control(control_path(control))
    asked = {key: word for key, word in asked.items() if word}
    view = View(
        title=" ".join(("services", *asked.values())),
        ask=lambda most: fetched(agent, "/v1/services", asked, most=most),
        lines=lambda told, width: table_of(told, time.time(), None if wide else width),
        plain=lambda told: told["services"],
    )
    show(view, every_s=every_s, as_json=as_json)


def table_of(told: dict[str, Any], now: float, width: int | None) -> list[Line]:
    """Make an answer into lines."""
    listed = told["services"]
    if not listed:
        return [Line("no services")]
    columns = [
        Column("NAMESPACE", lambda one: one["namespace"]),
        Column("NAME", lambda one: one["name"]),
        Column("SOURCE", lambda one: one["source"], rank=1),
        Column("LEVEL", lambda one: one["level"]),
        Column("READY", lambda one: f"{one['ready']}/{one['endpoints']}"),
        Column("PORTS", _ports, rank=4),
        Column("ADDRESSES", _addresses, rank=3),
        Column("STALE FOR", functools.partial(_stale, now=now), rank=2),
    ]
    if any(map(_path, listed)):
        columns += [Column("PATH", _path, rank=5), Column("WHY", _why, rank=6)]
    lines = lay_out(columns, listed, width=width, colour=_colour)
    wrong = [f"{one['namespace']}/{one['name']}: {said}" for one in listed for said in one["unheeded"]]
    lines += and_more(told["total"] - len(listed))
    lines += [Line(f"not heeded of {' '.join(said.split())}", "yellow") for said in wrong[:MOST_WRONG]]
    return lines + ([Line(f"and {len(wrong) - MOST_WRONG} more wishes")] if wrong[MOST_WRONG:] else [])


def _ports(one: Row) -> str:
    return ",".join(
        f"{port['name']:s}:{port['port']}".lstrip(":") + f"/{port['protocol']}".rstrip("/")
        for port in one["ports"]
    )


def _path(one: Row) -> str:
    """Say how its connections go, if any of them might go directly."""
    if not any(port["path"] not in LEFT or port["why"] not in ("", OFF) for port in one["ports"]):
        return ""
    paths = {port["path"] for port in one["ports"]}
    return paths.pop() if len(paths) == 1 else "both"


def _why(one: Row) -> str:
    whys = {port["why"]: None for port in one["ports"] if port["why"] not in ("", OFF)}
    return "; ".join(whys)


def _addresses(one: Row) -> str:
    if one["external"]:
        return f"= {one['external']}"
    return ",".join(one["vips"]) or ("headless" if one["headless"] else "")


def _stale(one: Row, *, now: float) -> str:
    return ago(one["stale_since"], now)


def _colour(one: Row) -> str:
    if one["endpoints"] and not one["ready"]:
        return "red"
    return "yellow" if one["level"] == "last_known" else ""
