"""Shell. `meshtrio connections`: which there are, were, and how they ended. Closes direct ones."""

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import click

from meshtrio.cli.complaint import Code, Complaint
from meshtrio.cli.control_client import Control
from meshtrio.cli.options import control_option, control_path, json_option
from meshtrio.cli.screen import note, show_json, show_table
from meshtrio.cli.words import lasting, octets

HELP = """Show connections: those that live, and the last thousand that ended (within a second).

DIALLED is what the program dialled, ENDPOINT where it went. OUTCOME is how it ended, "live" if it has not.
PEER is who the other side proved to be, TLS by what ("kernel": the same node, not encrypted); both are shown
if anybody has proved anything. What policy would deny in its dry run is told below. PATH is shown if any
went directly, which is without us: the bytes of such a connection are known when it has ended.

\b
Examples:
  meshtrio connections --workload shop --limit 10
  meshtrio connections --live --watch
  meshtrio connections --close shop/orders  # its direct ones, by RST; also: --close 10.1.0.7:8080
  meshtrio connections --json
    {"live": [], "ended": [{"id": 1, "direction": "outbound", "workload": "shop",
       "source": "127.0.0.1:58200", "destination": "10.96.0.10:80", "service": "default/web",
       "endpoint": "127.0.0.1:8081", "protocol": "http1", "sni": "",
       "peer": "spiffe://cluster.local/ns/shop/sa/web", "tls": "TLSv1.3",
       "cipher": "TLS_AES_256_GCM_SHA384", "resumed": true, "policy": "", "sent_bytes": 74,
       "received_bytes": 190, "began": 1700000000.1, "lasted_s": 0.009, "outcome": "carried",
       "detail": "", "rung": "ebpf", "path": "relay"}], "omitted": 0, "silent_workers": 0}
  meshtrio connections --watch --json       # one line of that a second
"""

HEAD = (
    *("WORKLOAD", "DIRECTION", "DIALLED", "SERVICE", "ENDPOINT"),
    *("PROTOCOL", "SENT", "RECEIVED", "TIME", "OUTCOME"),
)

SECURED = ("PEER", "TLS")
PATH = ("PATH",)


@click.command("connections", help=HELP, short_help="Show connections, live and ended.")
@click.option("--live", "which", flag_value="live", help="Only those that live.")
@click.option("--ended", "which", flag_value="ended", help="Only those that ended.")
@click.option("--workload", metavar="NAME", help="Only those of this workload.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@click.option("--watch", is_flag=True, help="Again every second, until ^C.")
@click.option("--close", metavar="SERVICE|IP:PORT", help="End the direct connections there, by RST.")
@control_option
@json_option
def connections(control: str | None, **wanted: Any) -> None:
    """See HELP."""
    agent = Control(control_path(control))
    if wanted["close"] == "":
        raise Complaint("--close is empty (want a service or ip:port, as in shop/orders)", Code.USAGE)
    if wanted["close"]:
        told = agent.ask("DELETE", f"/v1/connections?to={quote(wanted['close'], safe='')}")
        show_json(told) if wanted["as_json"] else click.echo(f"{told['closed']} closed")
        return

    def ask() -> dict[str, Any]:
        told = agent.get("/v1/connections")
        return chosen(told, wanted["which"], wanted["workload"], limit=wanted["limit"])

    if wanted["watch"]:
        _watch(ask, as_json=wanted["as_json"])
    elif wanted["as_json"]:
        show_json(ask())
    else:
        show(ask())


def chosen(told: dict[str, Any], which: str | None, workload: str | None, *, limit: int) -> dict[str, Any]:
    """Return only what is wanted of an answer. Cut off is counted as omitted."""
    made = dict(told)
    for kind in ("live", "ended"):
        listed = told[kind] if which in (None, kind) else []
        listed = [one for one in listed if workload in (None, one["workload"])]
        made[kind] = listed[:limit]
        made["omitted"] += len(listed[limit:])
    return made


def show(told: dict[str, Any], *, err: bool = False) -> None:
    """Print connections as a table, live ones first."""
    listed = [*told["live"], *told["ended"]]
    secured = any(one.get("peer") for one in listed)
    direct = any(one.get("path") == "direct" for one in listed)
    if listed:
        head = HEAD + SECURED * secured + PATH * direct
        cells = [row(one) + (_proved(one) if secured else ()) + _path(one) * direct for one in listed]
        show_table(head, cells, err=err)
    else:
        click.echo("no connections", err=err)
    for one in listed:
        for words in {one.get("policy"), one["detail"]} - {"", None}:
            click.echo(f"{one['source']} to {one['destination']}: {words}", err=err)
    if told["omitted"]:
        click.echo(f"and {told['omitted']} more", err=err)
    if told["silent_workers"]:
        note(f"{told['silent_workers']} workers did not answer; their live connections are missing")


def row(one: dict[str, Any]) -> tuple[object, ...]:
    """Return the cells of one connection, in the order of HEAD."""
    return (
        one["workload"],
        one["direction"],
        one["destination"],
        one["service"],
        one["endpoint"],
        one["protocol"],
        octets(one["sent_bytes"]),
        octets(one["received_bytes"]),
        lasting(one["lasted_s"]),
        one["outcome"] or "live",
    )


def _path(one: dict[str, Any]) -> tuple[str, ...]:
    return (one.get("path", ""),)


def _proved(one: dict[str, Any]) -> tuple[str, str]:
    return one["peer"].removeprefix("spiffe://"), one["tls"]


def _watch(ask: Callable[[], dict[str, Any]], *, as_json: bool) -> None:
    try:
        while True:
            told = ask()
            if as_json:
                click.echo(json.dumps(told))
            else:
                click.clear()
                show(told)
            time.sleep(1)
    except KeyboardInterrupt:
        return
