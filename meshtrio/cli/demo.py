"""Shell. `meshtrio demo`: play it, and print what happened. Does not know what is played."""

import signal
from collections.abc import AsyncIterator
from typing import Any

import click

from meshtrio.cli.complaint import Code, Complaint, complaint_of
from meshtrio.cli.options import json_option
from meshtrio.cli.process import require_privilege
from meshtrio.cli.screen import bad, good, note, show_json, show_table
from meshtrio.cli.words import octets

HELP = """Show the mesh at work: an agent, three real web servers as the endpoints of one service with a
virtual address (IPv4 and IPv6), and real clients that dial it, unmodified. A second service has no address
and is dialled by name; one of its endpoints fails its health check for a while, and gets no connections. The
endpoints of a third one register themselves. A server is stopped, and the clients do not notice.

Then two workloads in network namespaces of their own talk by mutual TLS, over a cable on which every byte is
captured: none of what they say can be read there. A third workload is denied by policy. All certificates are
replaced several times while requests run, and not one of them fails.

All of it runs on loopback and in those namespaces, from a temporary folder, on ports that are free, for some
seconds; at the end nothing is left. Needs root. Ends with 0 only if every step truly happened. What cannot
be on this machine (no IPv6, names that are not asked for by DNS) is skipped, and says why.

\b
Examples:
  meshtrio demo
  meshtrio demo --rung nft
  meshtrio demo --keep            # leave it running until ^C, to try things yourself
  meshtrio demo --once --json
    {"ok": true, "rung": "ebpf", "why": "",
     "steps": [{"name": "agent", "ok": true, "says": "...", "skipped": false}, ...],
     "connections": [{"workload": "demo-client", "destination": "10.96.0.10:80",
        "endpoint": "127.0.0.1:41001", "sent_bytes": 74, "received_bytes": 240, "outcome": "carried", ...}],
     "endpoints": [{"service": "shop", "address": "127.0.0.1:41002", "health": "unhealthy", ...}],
     "secured": [{"direction": "inbound", "peer": "spiffe://cluster.local/ns/kitchen/sa/cook",
        "tls": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "outcome": "carried", "flag": "-", ...}],
     "capture": {"frames": 1138, "bytes": 288000},
     "processes": [{"name": "agent", "pid": 612, "rss_bytes": 38000000}, ...]}
"""


TRY = "meshtrio exec --config {} -- curl http://shop.mesh/"


@click.command("demo", help=HELP, short_help="Show the mesh at work, on this machine.")
@click.option("--once/--keep", default=True, help="End after the play (default), or go on until ^C.")
@click.option("--rung", type=click.Choice(["auto", "ebpf", "nft"]), default="auto", show_default=True)
@json_option
def demo(once: bool, rung: str, as_json: bool) -> int:
    """See HELP."""
    import trio

    require_privilege("demo")
    try:
        told = trio.run(_play, rung, once, as_json)
    except BaseException as failure:
        complaint = complaint_of(failure, ())
        if complaint is None:
            raise
        raise complaint from failure
    if as_json:
        show_json(told)
    elif told["ok"]:
        click.echo(good("\nall of it happened"))
    else:
        failed = ", ".join(step["name"] for step in told["steps"] if not step["ok"])
        raise Complaint(f"not everything happened: {failed}")
    return Code.OK if told["ok"] else Code.FAILED


async def _play(rung: str, once: bool, as_json: bool) -> dict[str, Any]:
    """Play, until it is over or a signal comes; everything is gone when this returns."""
    import trio

    from meshtrio.cli.scenes import Play, aftermath
    from meshtrio.cli.stage import staged

    def tell(step: Any) -> None:
        mark = "skip" if step.skipped else good("ok  ") if step.ok else bad("FAIL")
        click.echo(f"{mark}  {step.name:28} {step.says}", err=as_json)

    note("setting the stage: three servers, a catalog, an agent, a wire")
    played: list[Play] = []
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_interrupt, signals, nursery.cancel_scope)
            async with staged(rung) as stage:
                play = Play(stage, tell)
                await play.run()
                played.append(play)
                if not as_json:
                    _show(play)
                if not once:
                    note(f"it goes on until ^C; try: {TRY.format(stage.config)}")
                    await trio.sleep_forever()
            nursery.cancel_scope.cancel()
    if not played:
        raise Complaint("interrupted; the demo has been taken down", Code.INTERRUPTED)
    last = aftermath(stage)
    tell(last)
    return _told(played[0], [*played[0].steps, last])


async def _interrupt(signals: AsyncIterator[int], scope: Any) -> None:
    async for _ in signals:
        scope.cancel()


def _told(play: Any, steps: list[Any]) -> dict[str, Any]:
    from meshtrio.cli.wire_scenes import flag

    rung = play.status["rung"]
    processes = [("agent", play.status["pid"], play.status["agent"]["rss_bytes"])]
    processes += [(f"worker {one['number']}", one["pid"], one["rss_bytes"]) for one in play.status["workers"]]
    return {
        "ok": all(step.ok for step in steps),
        "rung": rung["in_use"],
        "why": rung["why"],
        "steps": [step._asdict() for step in steps],
        "connections": play.connections,
        "endpoints": play.endpoints,
        "secured": [{**one, "flag": flag(one)} for one in play.wire.secured],
        "capture": play.wire.capture,
        "processes": [{"name": name, "pid": pid, "rss_bytes": rss} for name, pid, rss in processes],
    }


def _show(play: Any) -> None:
    told = _told(play, [])
    rows = [
        (
            at,
            one["rung"],
            one["destination"],
            one["service"],
            one["endpoint"],
            octets(one["sent_bytes"]),
            octets(one["received_bytes"]),
            one["outcome"],
        )
        for at, one in enumerate(play.connections, 1)
    ]
    click.echo()
    show_table(
        ("CAUGHT", "RUNG", "DIALLED", "SERVICE", "ENDPOINT CHOSEN", "SENT", "RECEIVED", "OUTCOME"), rows
    )
    click.echo()
    secured = [
        (*(one[name] for name in ("workload", "direction", "peer", "tls", "cipher", "outcome")), one["flag"])
        for one in told["secured"]
    ]
    show_table(("WORKLOAD", "DIRECTION", "PEER", "TLS", "CIPHER", "OUTCOME", "FLAG"), secured)
    click.echo(f"\n{play.shown}\n")
    memory = [(one["name"], one["pid"], octets(one["rss_bytes"])) for one in told["processes"]]
    show_table(("PROCESS", "PID", "RSS"), memory)
    click.echo()
