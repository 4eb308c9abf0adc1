"""Shell. `meshtrio discovery`: how the sources of the catalog are, stream by stream. Changes nothing."""

import functools
import time
from typing import Any

import click

from meshtrio.cli.columns import Column, Line, Row, ago, and_more, lay_out
from meshtrio.cli.control_client import Control
from meshtrio.cli.options import control_option, control_path, json_option
from meshtrio.cli.watch import View, Watchable, show, watch_option
from meshtrio.cli.words import written

HELP = """Show where services become known: each source, and below each stream of its news.

A source is lost when one of its streams has failed for five seconds. What it said last holds, and is
believed less than our probes. SINCE is how long a stream has been well, or not; POSITION the index or
resourceVersion that was reached; SKIPPED counts objects that could not be understood.

\b
Examples:
  meshtrio discovery
  meshtrio discovery --watch 5
  meshtrio discovery --json | jq '.sources[] | select(.lost)'
    {"sources": [{"source": "kubernetes", "lost": false, "state": "live", "stale_since": 0.0,
                  "streams": 4, "live": 4, "services": 12, "endpoints": 31}],
     "streams": [{"source": "kubernetes", "name": "endpointslices", "since": 1700000000.1,
                  "state": "live", "position": "48211", "last_event": 1700000060.1, "events": 310,
                  "errors": 0, "last_error": "", "skipped": 0, "last_skipped": ""}],
     "omitted": 0, "levels": {"live": 12, "last_known": 0, "dns": 0, "static": 0}}
"""


@click.command("discovery", cls=Watchable, help=HELP, short_help="Show how the sources of services are.")
@click.option("--wide", is_flag=True, help="All columns, however narrow the terminal is.")
@watch_option
@control_option
@json_option
def discovery(control: str | None, every_s: float | None, wide: bool, as_json: bool) -> None:
    """See HELP."""
    agent = Control(control_path(control))
    view = View(
        title="discovery",
        ask=lambda most: agent.get("/v1/discovery"),
        lines=lambda told, width: tables_of(told, time.time(), None if wide else width),
        plain=lambda told: told,
    )
    show(view, every_s=every_s, as_json=as_json)


def tables_of(told: dict[str, Any], now: float, width: int | None) -> list[Line]:
    """Make an answer into lines: the sources, the levels, the streams, and what was wrong last."""
    if not told["sources"]:
        return [Line("no sources are configured")]
    levels = ", ".join(f"{name} {count}" for name, count in told["levels"].items() if count)
    since = functools.partial(_since, now=now)
    lines = [
        *lay_out(_sources(now), told["sources"], width=width, colour=_colour),
        Line(f"services by level: {levels or 'none'}"),
    ]
    if told["streams"]:
        columns = (
            Column("STREAM", lambda one: f"{one['source']}/{one['name']}"),
            Column("STATE", lambda one: one["state"]),
            Column("SINCE", since, rank=2),
            Column("POSITION", lambda one: one["position"], rank=5),
            Column("LAST EVENT", functools.partial(_last_event, now=now), rank=1),
            Column("EVENTS", lambda one: one["events"], rank=4),
            Column("ERRORS", lambda one: one["errors"], rank=3),
            Column("SKIPPED", lambda one: one["skipped"], rank=3),
        )
        lines += [Line(""), *lay_out(columns, told["streams"], width=width, colour=_colour)]
        lines += and_more(told["omitted"])
    return lines + [line for one in told["streams"] for line in _wrong(one)]


def _sources(now: float) -> tuple[Column, ...]:
    return (
        Column("SOURCE", lambda one: one["source"]),
        Column("STATE", lambda one: one["state"]),
        Column("STALE FOR", lambda one: ago(one["stale_since"], now), rank=1),
        Column("STREAMS LIVE", lambda one: f"{one['live']}/{one['streams']}", rank=2),
        Column("SERVICES", lambda one: one["services"], rank=3),
        Column("ENDPOINTS", lambda one: one["endpoints"], rank=3),
    )


def _since(one: Row, *, now: float) -> str:
    return ago(one["since"], now)


def _last_event(one: Row, *, now: float) -> str:
    return ago(one["last_event"], now) or "never"


def _wrong(one: Row) -> list[Line]:
    stream = f"{one['source']}/{one['name']}"
    # An error that is over stands in --json; here it would look as if it still held.
    failing = one["state"] != "live" and one["last_error"]
    error = [Line(f"{stream}: {written(one['last_error'])}", "red")] if failing else []
    skipped = written(one["last_skipped"])
    return error + ([Line(f"{stream} skipped {skipped}", "yellow")] if one["last_skipped"] else [])


def _colour(one: Row) -> str:
    if one["state"] in ("lost", "refused", "retrying"):
        return "red"
    return "" if one["state"] == "live" else "yellow"
