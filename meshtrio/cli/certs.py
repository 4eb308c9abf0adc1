"""Shell. `meshtrio certs`: who workloads are, and until when they can prove it; rotation; the roots."""

import ssl
import time
from base64 import b64decode
from typing import Any

import click

from meshtrio.cli.columns import Column, Line, Row, lay_out
from meshtrio.cli.complaint import Complaint
from meshtrio.cli.control_client import Control
from meshtrio.cli.options import control_option, control_path, json_option
from meshtrio.cli.screen import show_json
from meshtrio.cli.watch import View, Watchable, show, watch_option
from meshtrio.cli.words import lasting

HELP = """List the certificates of the workloads; replace them; show the roots.

STATE is fresh, renewing, failing (it is good, and renewal fails), or says why there is none: none, asking,
expired, recovering, revoked, replacing. A certificate is renewed at two thirds of its life, some earlier.

\b
Examples:
  meshtrio certs
  meshtrio certs --watch
  meshtrio certs --json | jq -r '.[] | select(.serves | not) | .workload'
    [{"workload": "shop", "workload_id": 1, "spiffe_id": "spiffe://cluster.local/ns/default/sa/shop",
      "state": "fresh", "serves": true, "serial": "5d2c...", "not_before": 1700000000.0,
      "not_after": 1700086400.0, "renews_at": 1700055000.0, "source": "embedded", "rotations": 1,
      "connections": 12, "failures": 0, "error": ""}]
  meshtrio certs rotate                     # all of them, at once
  meshtrio certs root > roots.pem
"""

ROTATE_HELP = """Replace certificates at once: of the workloads named, or of all.

New handshakes use the new ones as they come; connections that are there go on. --root lets another root
sign: the one whose key was put into place (root_key), beside the old one in the file of roots, or else a new
one. What the old root signed is trusted until it has ended. Ends with 1 if one could not be replaced.

\b
Examples:
  meshtrio certs rotate shop cart
  meshtrio certs rotate --root
  meshtrio certs rotate --json | jq -r '.certificates[] | select(.error != "") | .workload'
"""

ROOT_HELP = """Print the roots of our trust domain as PEM, or (--json) as SPIFFE's JSON (a JWK set).

\b
Examples:
  meshtrio certs root > roots.pem; openssl verify -CAfile roots.pem leaf.pem
  meshtrio certs root --json > bundle.json   # for another trust domain's identity.federated
"""


class _Certs(Watchable, click.Group):
    """A group with --watch."""


@click.group(
    "certs", cls=_Certs, help=HELP, short_help="List and replace certificates.", invoke_without_command=True
)
@watch_option
@control_option
@json_option
@click.pass_context
def certs(ctx: click.Context, control: str | None, every_s: float | None, as_json: bool) -> None:
    """See HELP."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = control
        return
    agent = Control(control_path(control))
    view = View(
        title="certs",
        ask=lambda most: agent.get("/v1/certs"),
        lines=lambda told, width: table_of(told["certificates"], time.time(), width),
        plain=lambda told: told["certificates"],
    )
    show(view, every_s=every_s, as_json=as_json)


@certs.command(help=ROTATE_HELP, short_help="Replace certificates at once.")
@click.argument("workloads", nargs=-1)
@click.option("--root", is_flag=True, help="Let another root sign; then all certificates are replaced.")
@control_option
@json_option
@click.pass_obj
def rotate(above: str | None, /, control: str | None, as_json: bool, **wish: Any) -> int:
    """See ROTATE_HELP."""
    told = Control(control_path(control or above)).ask("POST", "/v1/certs/rotate", wish)
    failed = [one for one in told["certificates"] if one["error"] or not one["serves"]]
    if as_json:
        show_json(told)
    else:
        if told["root"]:
            click.echo(f"the root with serial {told['root']} signs")
        replaced = len(told["certificates"]) - len(failed)
        click.echo(f"{replaced} of {len(told['certificates'])} certificates replaced")
        for one in failed:
            click.echo(f"{one['workload']}: {one['error'] or 'not yet'}", err=True)
    return 1 if failed else 0


@certs.command("root", help=ROOT_HELP, short_help="Print the roots of our trust domain.")
@control_option
@json_option
@click.pass_obj
def root_(above: str | None, control: str | None, as_json: bool) -> None:
    """See ROOT_HELP."""
    told = Control(control_path(control or above)).get("/v1/certs/bundle")
    if as_json:
        show_json(told)
        return
    if not told["keys"]:
        raise Complaint("there is no root; `meshtrio status` says why")
    for key in told["keys"]:
        click.echo(ssl.DER_cert_to_PEM_cert(b64decode(key["x5c"][0])), nl=False)


def table_of(rows: list[Row], now: float, width: int | None) -> list[Line]:
    """Lay certificates out, and below them why one cannot be renewed."""
    if not rows:
        return [Line("no workload has an identity")]
    lines = lay_out(_columns(now), rows, width=width, colour=_colour)
    failing = [one for one in rows if one["error"]]
    return [*lines, *(Line(f"{one['workload']}: {' '.join(one['error'].split())}", "red") for one in failing)]


def _columns(now: float) -> list[Column]:
    def until(when: float) -> str:
        return lasting(max(0.0, when - now)) if when else ""

    return [
        Column("WORKLOAD", lambda one: one["workload"]),
        Column("ID", lambda one: one["spiffe_id"], 1),
        Column("STATE", lambda one: one["state"]),
        Column("ENDS IN", lambda one: until(one["not_after"])),
        Column("RENEWS IN", lambda one: until(one["renews_at"]), 2),
        Column("SOURCE", lambda one: one["source"], 4),
        Column("CONNECTIONS", lambda one: one["connections"], 3),
        Column("FAILURES", lambda one: one["failures"], 3),
        Column("SERIAL", lambda one: one["serial"], 5),
    ]


def _colour(one: dict[str, Any]) -> str:
    if not one["serves"]:
        return "red"
    return "yellow" if one["error"] else ""
