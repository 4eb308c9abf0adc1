"""Shell. Workloads as a table on the screen. Does not know how an agent is asked for them."""

from collections.abc import Mapping
from typing import Any

import click

from meshtrio.accelerate.ladder import OPT_IN
from meshtrio.cli.screen import bad, note, of, show_table


def note_unmet(added: Mapping[str, Any]) -> None:
    """Say beside the output why a new workload is not accelerated as it asks to be. Off can always be had."""
    if of(added, "acceleration") in OPT_IN and added["why_no_faster"]:
        note(f"accelerated as {added['accelerated']}: {added['why_no_faster']}")


def show_workloads(workloads: list[dict[str, Any]]) -> None:
    """Print a table of workloads, and below it what one has lost or has to do without, and why."""
    click.echo()
    if not workloads:
        click.echo("no workloads")
        return
    rows = [
        (
            one["name"],
            _account(one),
            one["rung"],
            of(one, "accelerated") or "",
            one["netns"],
            one["cgroup"],
            f"{one['outbound_port']}/{one['inbound_port']}",
            one["on_agent_loss"],
            one["source_address"],
            one["pid"] or "",
        )
        for one in workloads
    ]
    head = (
        "WORKLOAD",
        "NAMESPACE/ACCOUNT",
        "RUNG",
        "FAST",
        "NETNS",
        "CGROUP",
        "DOORS OUT/IN",
        "ON AGENT LOSS",
        "SOURCE SEEN",
        "PID",
    )
    show_table(head, rows)
    for one in workloads:
        if of(one, "lost"):
            click.echo(f"{one['name']} {bad('has lost its place')}: {one['lost']}")
        if one["why"]:
            click.echo(f"{one['name']} is on {one['rung']}: {' '.join(one['why'].split())}")
        if of(one, "acceleration") not in ("", "auto") and one["why_no_faster"]:
            click.echo(f"{one['name']} is accelerated as {one['accelerated']}: {one['why_no_faster']}")
        if of(one, "why_no_dns"):
            click.echo(f"{one['name']} has no DNS capture: {' '.join(one['why_no_dns'].split())}")


def _account(one: dict[str, Any]) -> str:
    return "/".join(filter(None, (of(one, "namespace"), of(one, "service_account"))))
