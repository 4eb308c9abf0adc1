"""Shell. `meshtrio bench`: measure what the mesh costs on this machine, and show it. Does not know how."""

import contextlib
import re
import shlex
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import click

from meshtrio.cli.complaint import Code, Complaint, complaint_of
from meshtrio.cli.options import json_option
from meshtrio.cli.process import require_privilege
from meshtrio.cli.screen import note, show_json, show_table

HELP = """Measure what the mesh costs on this very machine: the same loads on a server that is dialled
directly, through the mesh on either rung (`ebpf`, `nft`) and past its worker (`direct`: the kernel picks the
endpoint), and through HAProxy behind an nf_tables redirect if both are installed, or any other proxy. One
worker, one thread of HAProxy, on a core of their own where there are two.

\b
  memory     resident memory, at rest and with 1,000 idle connections
  connect    connect, one byte there and back, close
  roundtrip  1 KiB there and back on one connection; roundtrip-1b: 1 byte; roundtrip-64k: 64 KiB
  rate       the same 1,000 times a second, each counted from the time at which it was due
  bulk-up, bulk-down, bulk-both
             one connection, as much as goes

Peers take turns, so that all have the same weather; shown are medians, how far the rounds lay apart, and how
many times the number of `unmeshed` they are. At the end it says whether the machine was too noisy to tell:
what its host took (steal), what other programs used, and rounds that do not agree.

All of it runs in network namespaces and cgroups of its own, from a temporary folder; nothing is left, also
after ^C. Takes five minutes, with --quick two. Needs root.

\b
Examples:
  meshtrio bench
  meshtrio bench --quick --scenario rate --peer ebpf
  meshtrio bench --peer-command 'socat=socat TCP-LISTEN:{port},fork,reuseaddr,backlog=4096 TCP:{server}'
  meshtrio bench --plot bench.svg --json > bench.json
    {"ok": true, "quiet": false, "machine": {"kernel": "6.1.0-13-amd64", ...}, "rounds": 5, "seconds": 1,
     "scenarios": [{"name": "connect", "title": "...", "peers":
       [{"peer": "ebpf", "numbers": {"per_second": {"median": 2011.5, "low": 1902.1, "high": 2080.0,
         "rounds": 5}, ...}, "times_unmeshed": {"per_second": 0.41, ...}, "doubts": []}, ...]}, ...],
     "left_out": [{"peer": "haproxy", "why": "haproxy is not installed"}], "failures": [], "samples": [...]}
"""

NAMES = (
    *("memory", "connect", "roundtrip-1b", "roundtrip", "roundtrip-64k"),
    *("rate", "bulk-up", "bulk-down", "bulk-both"),
)
PEERS = ("unmeshed", "direct", "ebpf", "nft", "haproxy")


def _read_commands(_context: click.Context, _option: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    """Read NAME=COMMAND, and complain about what can be known to be wrong."""
    found: dict[str, str] = {}
    for one in given:
        name, _, command = one.partition("=")
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", name):
            raise click.BadParameter(f"{one!r} (want NAME=COMMAND; a name has a-z, 0-9, -; 20 at most)")
        if name in PEERS or name in found:
            raise click.BadParameter(f"there is a peer {name} already")
        try:
            words = shlex.split(command)
        except ValueError as cause:
            raise click.BadParameter(f"{name}: {cause}") from None
        if not words:
            raise click.BadParameter(f"{name} has no command (want NAME=COMMAND)")
        found[name] = command
    return found


@click.command("bench", help=HELP, short_help="Measure what the mesh costs on this machine.")
@click.option("--quick", is_flag=True, help="Three rounds of 0.3 s: to see that it works.")
@click.option("--rounds", type=click.IntRange(1, 100), help="Rounds of each scenario.  [default: 5]")
@click.option("--seconds", type=click.FloatRange(0.1, 60), help="Of each turn.  [default: 1]")
@click.option(
    "--scenario", "scenarios", type=click.Choice(NAMES), multiple=True, help="Only this one; repeatable."
)
@click.option(
    "--peer",
    "peers",
    type=click.Choice(PEERS),
    multiple=True,
    help="Only this one, and unmeshed; repeatable. It is a failure then if it cannot be had.",
)
@click.option(
    "--peer-command",
    "commands",
    callback=_read_commands,
    multiple=True,
    metavar="NAME=COMMAND",
    help="Measure this proxy as well, behind the same redirect; repeatable. In the command {port} stands for "
    "where it shall listen, and {server} for whom it shall call. It is a failure if it does not.",
)
@click.option("--plot", type=click.Path(dir_okay=False), metavar="FILE", help="Draw it as well, as SVG.")
@json_option
def bench(quick: bool, plot: str | None, as_json: bool, commands: dict[str, str], **given: Any) -> int:
    """See HELP."""
    from meshtrio.benchmark.run import Plan, measure
    from meshtrio.benchmark.scenario import SCENARIOS

    _refuse_unwritable(plot)
    require_privilege("bench")
    asked = (*given["peers"], *commands)
    plan = Plan(
        (*(name for name in PEERS if name in (given["peers"] or PEERS) or name == PEERS[0]), *commands),
        tuple(one for one in SCENARIOS if one.name in (given["scenarios"] or NAMES)),
        given["rounds"] or (3 if quick else 5),
        given["seconds"] or (0.3 if quick else 1.0),
        commands,
    )
    try:
        with _interruptible():
            run = measure(plan, note)
    except KeyboardInterrupt:
        raise Complaint("interrupted; everything has been taken down", Code.INTERRUPTED) from None
    except OSError as failure:
        raise complaint_of(failure, (OSError,)) or failure from failure
    if not run.samples:
        why = [*(f"{one.peer}: {one.why}" for one in run.left_out), *run.failures]
        raise Complaint(f"nothing could be measured: {'; '.join(why)}")
    _show(run, as_json)
    if plot:
        _draw(run, plot)
    failures = [
        *run.failures,
        *(f"{one.peer}: {one.why}" for one in run.left_out if one.peer in asked),
    ]
    if failures:
        raise Complaint("\n".join(f"not measured: {one}" for one in failures))
    return Code.OK


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let the first signal to end be a KeyboardInterrupt, and no further one.

    What is started or made is taken down meanwhile, and that is bounded.
    """

    from meshtrio.benchmark.process import SIGNALS

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for one in SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {one: signal.signal(one, interrupt) for one in SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _refuse_unwritable(plot: str | None) -> None:
    """Complain about a plot that could not be written before anything is measured, not afterwards."""
    if plot and not Path(plot).absolute().parent.is_dir():
        raise Complaint(f"--plot: there is no folder {Path(plot).absolute().parent}", Code.USAGE)


def _show(run: Any, as_json: bool) -> None:
    from meshtrio.benchmark import report

    if as_json:
        show_json(report.as_json(run))
        return
    click.echo(report.about(run))
    for table in report.tables(run):
        click.echo(f"\n{table.title}")
        show_table(table.head, table.rows)
    click.echo()
    for one in run.left_out:
        click.echo(f"left out: {one.peer}: {one.why}")
    for line in report.doubt_lines(run):
        click.echo(f"in doubt: {line}")
    click.echo(report.verdict(run))


def _draw(run: Any, plot: str) -> None:
    from meshtrio.benchmark import report
    from meshtrio.benchmark.plot import svg

    try:
        Path(plot).write_text(svg("meshtrio bench", report.panels(run), report.about(run)))
    except OSError as cause:
        raise Complaint(f"cannot write {plot}: {cause.strerror}") from cause
