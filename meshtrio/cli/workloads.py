"""Shell. `meshtrio workloads`: which are caught; add one, remove one. The agent does it, not we."""

from typing import Any, get_args
from urllib.parse import quote

import click

from meshtrio.cli.complaint import Code, Complaint
from meshtrio.cli.control_client import Control
from meshtrio.cli.name import wrong_name
from meshtrio.cli.options import ACCELERATION, PORT, absolute, control_option, control_path, json_option
from meshtrio.cli.screen import show_json, show_table
from meshtrio.cli.words import octets
from meshtrio.cli.workload_rows import note_unmet, show_workloads
from meshtrio.config.kinds import Acceleration

PIDS = (1 << 22) - 1
"""The highest process id that Linux gives."""

HELP = """List the workloads of this machine's agent; add or remove one.

\b
Examples:
  meshtrio workloads
  meshtrio workloads --json
    [{"name": "shop", "namespace": "default", "service_account": "default", "id": 1,
      "rung": "ebpf", "why": "", "lost": "", "acceleration": "auto", "accelerated": "r2",
      "why_no_faster": "", "dns_port": 15053, "why_no_dns": "",
      "cgroup": "/sys/fs/cgroup/meshtrio/shop", "netns": "own", "netns_id": 3,
      "outbound_port": 15002, "inbound_port": 15001, "on_agent_loss": "open",
      "source_address": "fixed", "pid": 0}]
  meshtrio workloads add db --cgroup /sys/fs/cgroup/system.slice/postgresql.service --port 5432
  meshtrio workloads add pod-1 --netns /run/netns/pod-1
  meshtrio workloads rules db             # on nf_tables: what each rule has counted
  meshtrio workloads remove db
"""

ADD_HELP = """Catch a workload from now on: a cgroup, a network namespace, or both.

A network namespace alone is caught by nf_tables, with everything in it. Neither: a new cgroup is made, and
its path printed; move processes there before they connect. Without --port, the ports on which the
workload listens are caught inbound. A workload that is added here is gone when the agent stops; list it
in the configuration to keep it.

It is namespace default, service account default, or what identity.exec_identities of the agent's
configuration allows.

\b
Examples:
  meshtrio workloads add db --cgroup system.slice/postgresql.service
  meshtrio workloads add cart --netns /run/netns/cart --namespace shop --service-account cart
  meshtrio workloads add job --json
"""

RULES_HELP = """Show the rules of a workload on nf_tables, and what each has counted.

A rule that redirects counts the first packet of each connection.

\b
Examples:
  meshtrio workloads rules pod-1
  meshtrio workloads rules pod-1 --json
    {"rung": "nft", "rules": [{"rule": "outbound_workload: redirected", "packets": 2, "octets": 120}]}
"""


@click.group("workloads", help=HELP, short_help="List, add, remove workloads.", invoke_without_command=True)
@control_option
@json_option
@click.pass_context
def workloads(ctx: click.Context, control: str | None, as_json: bool) -> None:
    """See HELP."""
    if ctx.invoked_subcommand is None:
        _list(control, as_json=as_json)
    else:
        ctx.obj = control


@workloads.command("list")
@control_option
@json_option
@click.pass_obj
def list_(above: str | None, control: str | None, as_json: bool) -> None:
    """List the workloads, as `meshtrio workloads` does."""
    _list(control or above, as_json=as_json)


@workloads.command(help=ADD_HELP)
@click.argument("name")
@click.option("--cgroup", default="", metavar="PATH", help="A cgroup v2, absolute or from its mount.")
@click.option("--netns", default="", metavar="PATH", help="/run/netns/NAME or /proc/PID/ns/net.")
@click.option("--namespace", default="", metavar="NS", help="Whose services have short names for it.")
@click.option("--service-account", default="", metavar="SA", help="Its SPIFFE ID is made of both.")
@click.option("--port", "ports", type=PORT, multiple=True, help="Catch this port inbound.")
@click.option("--on-agent-loss", type=click.Choice(["open", "closed"]), help="Default: as configured.")
@click.option("--acceleration", type=click.Choice(get_args(Acceleration)), default=None, help=ACCELERATION)
@click.option("--pid", type=click.IntRange(1, PIDS), default=None, help="Remove it when this process ends.")
@control_option
@json_option
@click.pass_obj
def add(above: str | None, /, name: str, control: str | None, as_json: bool, **wanted: Any) -> None:
    """See ADD_HELP."""
    wrong = wrong_name(name)
    if wrong:
        raise Complaint(wrong, Code.USAGE)
    _refuse_wrong(wanted["namespace"], wanted["service_account"])
    if wanted["netns"]:
        wanted["netns"] = absolute(wanted["netns"])
    fields = {key: value for key, value in wanted.items() if value not in (None, "", ())}
    added = Control(control_path(control or above)).add_workload(name, fields)
    if as_json:
        show_json(added)
    else:
        click.echo(f"{name} is caught by {added['rung']}{_why(added)}; cgroup {added['cgroup'] or '-'}")
        note_unmet(added)


@workloads.command()
@click.argument("name")
@control_option
@json_option
@click.pass_obj
def remove(above: str | None, name: str, control: str | None, as_json: bool) -> None:
    """Catch a workload no more. Its connections end by themselves, or at timeouts.drain_s."""
    removed = Control(control_path(control or above)).remove_workload(name)
    if as_json:
        show_json(removed)
    else:
        click.echo(f"{name} is caught no more")


@workloads.command(help=RULES_HELP)
@click.argument("name")
@control_option
@json_option
@click.pass_obj
def rules(above: str | None, name: str, control: str | None, as_json: bool) -> None:
    """See RULES_HELP."""
    told = Control(control_path(control or above)).get(f"/v1/workloads/{quote(name, safe='')}/rules")
    if as_json:
        show_json(told)
    elif told["rung"] != "nft":
        click.echo(f"{name} is caught by {told['rung']}; `meshtrio status` shows what its hooks have decided")
    else:
        rows = [(one["rule"], one["packets"], octets(one["octets"])) for one in told["rules"]]
        show_table(("RULE", "PACKETS", "BYTES"), rows)


def _refuse_wrong(*labels: str) -> None:
    for label in filter(None, labels):
        if wrong_name(label):
            raise Complaint(
                f"{label!r} is no namespace or service account (want a DNS label: shop-2)", Code.USAGE
            )


def _list(control: str | None, *, as_json: bool) -> None:
    listed = Control(control_path(control)).get("/v1/status")["workloads"]
    if as_json:
        show_json(listed)
    else:
        show_workloads(listed)


def _why(added: dict[str, Any]) -> str:
    return f" ({' '.join(added['why'].split())})" if added["why"] else ""
