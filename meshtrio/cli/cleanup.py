"""Shell. `meshtrio cleanup`: take away what a killed agent left. Knows the order, not how each is done."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click

from meshtrio.cli.complaint import Complaint
from meshtrio.cli.control_client import Control, NoAgent
from meshtrio.cli.options import config_option, configured, json_option
from meshtrio.cli.process import require_privilege
from meshtrio.cli.screen import note, show_json

HELP = """Remove everything that meshtrio left in this machine's kernel and file system, also with the agent
dead: hooks, pins, nf_tables tables, routing rules, empty cgroups, control socket, list of workloads.

An agent that ends by SIGTERM leaves nothing, and one that is started again takes over what a killed one
left: this is for when neither will happen. What is meant to last stays: the state file with registrations
and virtual IPs, and the cache of compiled programs. It refuses while an agent answers (--force: it goes on
without its hooks). What a running `meshtrio exec` has stays. Established connections live on in
orphaned workers, which end by themselves with the next agent; --workers ends them now, and cuts what they
carry.

Ends with 0 if nothing is left, 1 if something is. Doing it again is harmless.

\b
Examples:
  meshtrio cleanup
  meshtrio cleanup --yes --workers --json
    {"removed": [{"kind": "pin", "name": "/sys/fs/bpf/meshtrio/maps/ports"}],
     "kept": [{"kind": "cgroup", "name": "/sys/fs/cgroup/meshtrio/shop", "why_kept": "..."}],
     "orphans": [612]}
"""

ENDING_S = 5.0


@click.command("cleanup", help=HELP, short_help="Remove what a killed agent left behind.")
@click.option("--yes", is_flag=True, help="Do not ask first. (Nobody is asked where there is no terminal.)")
@click.option("--force", is_flag=True, help="Also while an agent answers.")
@click.option("--workers", is_flag=True, help="End orphaned workers; their connections are cut.")
@config_option
@json_option
def cleanup(config_file: str | None, as_json: bool, **chosen: bool) -> int:
    """See HELP."""
    import trio

    config, _ = configured(config_file, {})
    require_privilege("cleanup")
    if not chosen["force"]:
        _refuse_while_an_agent_runs(config.paths.control, config.paths.pins)
    asks = not chosen["yes"] and not as_json and sys.stdin.isatty()
    if asks and not click.confirm("Remove everything that meshtrio left behind?", default=True):
        raise Complaint("nothing was removed")
    told = trio.run(_clean, config, chosen["workers"])
    if as_json:
        show_json(told)
    else:
        _show(told)
    return 1 if told["kept"] or told["orphans"] else 0


def _refuse_while_an_agent_runs(control: str, pins: str) -> None:
    """Refuse also where its control socket is another one: what it pins shows that it lives."""
    from meshtrio.intercept.bpffs import is_held

    try:
        answers = Control(control).answers()
    except NoAgent as strange:
        raise Complaint(f"{strange}; --force cleans up all the same") from None
    if answers or is_held(Path(pins)):
        where = control if answers else f"it uses {pins}"
        raise Complaint(f"an agent runs ({where}); stop it, which leaves nothing behind, or add --force")


async def _clean(config: Any, end_workers: bool) -> dict[str, Any]:
    from meshtrio.cli import remains

    # Before its cgroup goes: what sends connections to doors. Files last: they say where to look.
    done = list(remains.remove_pins(config))
    for where in remains.namespaces(config):
        done += await remains.remove_rules(where)
    left = remains.orphans()
    if end_workers and left:
        _end(left)
        living = remains.orphans()
        done += [remains.Remain("worker", str(pid)) for pid in left if pid not in living]
        left = living
    done += list(remains.remove_cgroups())
    done += list(remains.remove_files(config))
    return {
        "removed": [{"kind": one.kind, "name": one.name} for one in done if not one.why_kept],
        "kept": [one._asdict() for one in done if one.why_kept],
        "orphans": left,
    }


def _end(pids: list[int]) -> None:
    from meshtrio.observe.process import is_alive

    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + ENDING_S
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)


def _show(told: dict[str, Any]) -> None:
    for one in told["removed"]:
        click.echo(f"removed {one['kind']} {one['name']}")
    for one in told["kept"]:
        note(f"{one['kind']} {one['name']} stays: {one['why_kept']}")
    if told["orphans"]:
        pids = ", ".join(map(str, told["orphans"]))
        note(f"workers without an agent still carry connections: {pids}; --workers ends them")
    if not (told["removed"] or told["kept"] or told["orphans"]):
        click.echo("nothing was left")
