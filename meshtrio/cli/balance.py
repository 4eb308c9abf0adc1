"""Shell. `meshtrio balance explain`: whom each worker would pick next, and why. Changes nothing."""

from typing import Any
from urllib.parse import quote, urlencode

import click

from meshtrio.cli.columns import Column, Line, Row, and_more, lay_out
from meshtrio.cli.complaint import Code, Complaint
from meshtrio.cli.control_client import Control
from meshtrio.cli.options import control_option, control_path, json_option
from meshtrio.cli.pages import suggested_services
from meshtrio.cli.watch import View, Watchable, show, watch_option
from meshtrio.cli.words import lasting

HELP = """Look into balancing.

\b
Examples:
  meshtrio balance explain shop/orders
  meshtrio balance explain orders --key alice
"""

EXPLAIN_HELP = """Say whom each worker would pick for the next call to a service, and why. Nothing is picked.

SERVICE is a name, or namespace/name where several namespaces have it. KEY is what the call would be
recognised by (traffic.hash_key), for algorithms that hash: the caller's address, its SPIFFE ID, or what
stands in the request. Workers balance by themselves, so those that take turns need not agree.

GROUP is first (among those that are chosen from), far (gets what spills over from this zone), rest (only if
those were tried) or never (its breaker is open). TRIED is the order in which endpoints would be tried if
each one before failed. LATENCY is a peak EWMA of how long first bytes took. Below are the settings that hold,
and who says so: traffic, a rule of it, or the service itself.

\b
Examples:
  meshtrio balance explain orders --watch
  meshtrio balance explain shop/orders --port http --key 10.0.0.7
  meshtrio balance explain orders --json | jq -r '.workers[].picked_address'
    {"namespace": "shop", "service": "orders", "port": "http", "key": "", "zone": "a", "path": "relay",
     "why": "traffic.direct is off", "settings": [{"name": "algorithm", "value": "maglev",
     "by": "traffic.rules[0]"}, ...], "unheeded": [], "silent_workers": 0,
     "workers": [{"worker": 0, "pid": 613, "dialled": true, "picked": "orders-5d8",
                  "picked_address": "10.0.0.7:8080", "full": "", "active": 2, "pending": 0,
                  "retries": {"allowed": 1, "denied": 0, "hedges": 0, "hedges_won": 0},
                  "algorithm": "maglev", "hash_key": "source_ip",
                  "has_key": true, "tier": "zone", "share": 1.0, "remarks": {}, "omitted": 0,
                  "endpoints": [{"id": "orders-5d8", "address": "10.0.0.7:8080", "group": "first",
                                 "why_not": "", "weight": 1.0, "zone": "a", "active": 2,
                                 "latency_s": 0.004, "position": 1}, ...]}]}
"""

_AMONG = {
    "all": "among all usable endpoints",
    "zone": "among the usable endpoints of this zone",
    "panic": "among all that do not drain, for too few are usable (panic_percent)",
    "last": "among those that are least bad, for none is usable",
    "none": "for there is none that may be called",
}
_DEFAULT = "default"


@click.group("balance", help=HELP, short_help="Explain whom workers would pick.")
def balance() -> None:
    """See HELP."""


@balance.command("explain", cls=Watchable, help=EXPLAIN_HELP, short_help="Say who would be picked, and why.")
@click.argument("service", shell_complete=suggested_services)
@click.option(
    "--port", default="", metavar="NAME|NUMBER", help="The service's port; needed if it has several."
)
@click.option("--key", default=None, metavar="TEXT", help="What the call would be recognised by.")
@watch_option
@control_option
@json_option
def explain(control: str | None, service: str, port: str, key: str | None, **shown: Any) -> None:
    """See EXPLAIN_HELP."""
    if key == "":
        raise Complaint(
            "--key is empty (want what a call says, or no --key for one that says nothing)", Code.USAGE
        )
    namespace, slash, name = service.rpartition("/")
    if not name or (slash and not namespace) or "/" in namespace:
        raise Complaint(f"{service!r} is no service (want a name, or namespace/name)", Code.USAGE)
    agent = Control(control_path(control))
    asked = urlencode({word: text for word, text in (("port", port), ("key", key)) if text})
    path = "/".join(quote(part, safe="") for part in filter(None, (namespace, name)))
    view = View(
        title=f"balance of {service}",
        ask=lambda most: agent.get(f"/v1/balance/{path}?{asked}"),
        lines=lines_of,
        plain=lambda told: told,
        settled=settled,
    )
    show(view, **shown)


def settled(told: dict[str, Any]) -> object:
    """Leave out latencies: without news they fade, which says nothing new."""
    return {
        **told,
        "workers": [
            {**one, "endpoints": [{**each, "latency_s": 0} for each in one["endpoints"]]}
            for one in told["workers"]
        ],
    }


def lines_of(told: dict[str, Any], width: int | None) -> list[Line]:
    """Make an answer into lines: what is balanced, the pick of each worker, and the settings."""
    lines = [Line(_head(told), bold=True)]
    if told["path"] != "relay":
        some = "some calls" if told["path"] in ("both", "granted") else "the kernel picks for calls"
        lines.append(
            Line(f"direct: {some} of workloads, and this is what workers would do (path {told['path']})")
        )
    for one in told["workers"]:
        lines += [Line(""), *_worker(one, width)]
    if told["silent_workers"]:
        lines += [Line(""), silent(told["silent_workers"])]
    held = [one for one in told["settings"] if one["by"] != _DEFAULT]
    if held:
        columns = (
            Column("SETTING", lambda one: one["name"]),
            Column("VALUE", lambda one: _value(one["value"])),
            Column("SAID BY", lambda one: one["by"]),
        )
        lines += [Line(""), *lay_out(columns, held, width=width)]
        lines.append(Line("all other settings are defaults"))
    else:
        lines += [Line(""), Line("all settings are defaults")]
    return lines + [Line(f"not heeded: {wrong}", "yellow") for wrong in told["unheeded"]]


def silent(count: int) -> Line:
    """Say that workers did not answer."""
    return Line(f"{count} worker{'s' * (count != 1)} did not answer within a second", "red")


def _head(told: dict[str, Any]) -> str:
    held = {one["name"]: one["value"] for one in told["settings"]}
    text = f"{told['namespace']}/{told['service']}:{told['port'] or '-'} is balanced by {held['algorithm']}"
    if told["workers"] and told["workers"][0]["hash_key"]:
        key = f"the key {told['key']!r}" if told["key"] else "no key given (--key), so calls take turns"
        text += f" over {held['hash_key']}; {key}"
    return text


def _worker(one: dict[str, Any], width: int | None) -> list[Line]:
    picks = f"picks {one['picked_address']}" if one["picked"] else "picks nobody"
    among = _AMONG.get(one["tier"], "")
    if one["tier"] == "spill":
        among = f"for {one['share']:.0%} of the calls stay in this zone, and the others spill over"
    lines = [Line(f"worker {one['worker']} {picks}, {among}", "" if one["picked"] else "red", bold=True)]
    if not one["dialled"]:
        lines.append(Line("nobody has dialled it through this worker yet; this would be its first call"))
    if one["full"]:
        lines.append(Line(f"no more connections are taken: {one['full']} is reached", "red"))
    if any(one["retries"].values()):
        allowed, denied, hedges, won = one["retries"].values()
        hedged = f" ({hedges} as hedges, of which {won} won)" if hedges else ""
        lines.append(Line(f"retries: {allowed} allowed{hedged}, {denied} denied by the budget"))
    if one["remarks"]:
        counts = ", ".join(f"{word} {count}" for word, count in sorted(one["remarks"].items()))
        lines.append(Line(f"remarks: {counts}", "yellow"))
    if one["endpoints"]:
        columns = (
            Column("ENDPOINT", lambda row: row["address"]),
            Column("GROUP", lambda row: row["group"]),
            Column("TRIED", lambda row: row["position"] or ""),
            Column("WHY NOT", lambda row: row["why_not"], rank=1),
            Column("WEIGHT", lambda row: f"{row['weight']:.4g}", rank=2),
            Column("ACTIVE", lambda row: row["active"], rank=3),
            Column("LATENCY", _latency, rank=4),
            Column("ZONE", lambda row: row["zone"], rank=5),
        )
        lines += lay_out(columns, one["endpoints"], width=width, colour=_colour)
    return lines + and_more(one["omitted"])


def _latency(row: Row) -> str:
    return lasting(row["latency_s"]) if row["latency_s"] else ""


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _colour(row: Row) -> str:
    if row["group"] == "never":
        return "red"
    return "yellow" if row["why_not"] else ""
