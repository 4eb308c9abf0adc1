"""Shell. `meshtrio breaker`: which endpoints are cut off by circuit breakers; force them open or closed."""

from typing import Any
from urllib.parse import urlencode

import click

from meshtrio.cli.columns import Column, Line, Row, and_more, lay_out
from meshtrio.cli.control_client import Control
from meshtrio.cli.options import control_option, control_path, json_option
from meshtrio.cli.pages import suggested_services
from meshtrio.cli.screen import show_json
from meshtrio.cli.watch import View, Watchable, show, watch_option
from meshtrio.cli.words import lasting

HELP = """Look at circuit breakers, and force them.

An endpoint whose connections fail is cut off (open) for a while, then proved by a few connections
(half_open), and serves again (closed) once enough of them succeeded.

What is forced holds until `auto`, or until the agent starts anew: it is kept in the agent's memory alone.
Workers that an agent left behind keep to it as long as they live.

\b
Examples:
  meshtrio breaker list
  meshtrio breaker open shop/orders 10.0.0.7:8080   # no new connections to this endpoint
  meshtrio breaker close orders                     # try all of them, whatever fails
  meshtrio breaker auto orders                      # let the breakers decide again
"""

LIST_HELP = """List the endpoints that have a breaker: of one service, or of all. Those without never failed.

PORT STATE is closed, degraded (some endpoints are cut off) or open (all are). RETRY IN is how long an
endpoint stays cut off, OPENINGS how often in a row it was, which doubles the time.

\b
Examples:
  meshtrio breaker list orders --watch
  meshtrio breaker list --json | jq -r '.[] | select(.state == "open") | .address'
    [{"namespace": "shop", "service": "orders", "port": "http", "port_state": "degraded",
      "endpoint": "orders-5d8", "address": "10.0.0.7:8080", "known": true, "state": "open",
      "forced": false, "since_s": 4.1, "retry_in_s": 25.9, "streak": 1}]
"""

FORCE_HELP = """{what}

SERVICE is a name, or namespace/name where several namespaces have it. ENDPOINT is an address or an id, as
`meshtrio endpoints` shows them; without it, it is about the service as a whole. {more}

\b
Examples:
  meshtrio breaker {word} shop/orders 10.0.0.7:8080
  meshtrio breaker {word} orders --port http --json
    {{"breakers": [{{"namespace": "shop", "service": "orders", "port": "http", ...}}], "omitted": 0}}
"""

WORDS = {
    "open": ("Send no new connections there, whatever succeeds.", "Connections that are there go on."),
    "close": ("Send connections there, whatever fails.", "Health checks still decide, too."),
    "auto": (
        "Let breakers decide for themselves again.",
        "They begin closed. For a service as a whole, all of its endpoints are let go.",
    ),
}


@click.group("breaker", help=HELP, short_help="List circuit breakers, and force them.")
def breaker() -> None:
    """See HELP."""


@breaker.command("list", cls=Watchable, help=LIST_HELP, short_help="List breakers.")
@click.argument("service", default="", shell_complete=suggested_services)
@watch_option
@control_option
@json_option
def list_(control: str | None, service: str, **shown: Any) -> None:
    """See LIST_HELP."""
    agent = Control(control_path(control))
    path = f"/v1/breakers?{urlencode({'service': service})}"
    view = View(
        title=" ".join(filter(None, ("breakers", service))),
        ask=lambda most: agent.get(path),
        lines=table_of,
        plain=lambda told: told["breakers"],
        settled=settled,
    )
    show(view, **shown)


def _forcing(word: str) -> None:
    what, more = WORDS[word]

    @breaker.command(word, help=FORCE_HELP.format(what=what, more=more, word=word), short_help=what)
    @click.argument("service", shell_complete=suggested_services)
    @click.argument("endpoint", default="")
    @click.option("--port", default="", metavar="NAME|NUMBER", help="Only at this port of the service.")
    @control_option
    @json_option
    def force(control: str | None, as_json: bool, **wish: str) -> None:
        told = Control(control_path(control)).ask("POST", "/v1/breakers", {**wish, "state": word})
        if as_json:
            show_json(told)
            return
        for line in table_of(told, None):
            click.secho(line.text, bold=line.bold, fg=line.colour or None)


for _word in WORDS:
    _forcing(_word)


def settled(told: dict[str, Any]) -> object:
    """Leave out what is another with each look, and says nothing new."""
    return [{**one, "since_s": 0, "retry_in_s": 0} for one in told["breakers"]]


def table_of(told: dict[str, Any], width: int | None) -> list[Line]:
    """Make an answer into lines."""
    listed = told["breakers"]
    if not listed:
        return [Line("no endpoint has a breaker")]
    columns = (
        Column("SERVICE", lambda one: f"{one['namespace']}/{one['service']}"),
        Column("PORT", lambda one: one["port"] or "-", rank=1),
        Column("PORT STATE", lambda one: one["port_state"], rank=3),
        Column("ENDPOINT", _endpoint),
        Column("STATE", lambda one: one["state"]),
        Column("RETRY IN", lambda one: _lasting(one["retry_in_s"])),
        Column("SINCE", lambda one: _lasting(one["since_s"]), rank=2),
        Column("OPENINGS", lambda one: one["streak"] or "", rank=4),
    )
    return lay_out(columns, listed, width=width, colour=_colour) + and_more(told["omitted"])


def _endpoint(one: Row) -> str:
    if not one["endpoint"]:
        return "(all)"
    return str(one["address"] or f"{one['endpoint']} (gone)")


def _lasting(seconds: float | None) -> str:
    return "" if seconds is None else lasting(max(0.0, seconds))


def _colour(one: Row) -> str:
    return {"open": "red", "forced_open": "red", "half_open": "yellow"}.get(one["state"], "")
