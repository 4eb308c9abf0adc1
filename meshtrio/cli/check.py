"""Shell. `meshtrio check`: what this machine can do, which rung will be used, and why not the better one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from meshtrio.cli.control_client import Control, NoAgent
from meshtrio.cli.options import config_option, configured, json_option
from meshtrio.cli.screen import bad, good, show_json
from meshtrio.cli.words import table

HELP = """Try everything that catching connections needs on this machine, and say which rung will be used.

Each rung is proved by real connections, in a cgroup that is thrown away: it takes some seconds, changes
nothing, and needs root. MISSING says why, and what to do; "note" is worth knowing and stops nobody.

Ends with 0 if at least one rung works, 1 if none does.

\b
Examples:
  meshtrio check
  meshtrio check --json
    {"rung": "ebpf", "why": "all of it works", "features":
      [{"name": "kernel", "state": "ok", "says": "Linux 6.1.0-13-amd64 x86_64", "todo": ""}, ...]}
"""

WORKS = "ebpf", "nft"


@click.command("check", help=HELP, short_help="Say what this machine can do, and which rung works.")
@config_option
@json_option
def check(config_file: str | None, as_json: bool) -> int:
    """See HELP."""
    import trio

    from meshtrio.cli.process import uninterrupted

    config, _ = configured(config_file, {"log.level": "error", "log.format": "text"})
    features, proofs = trio.run(uninterrupted, _look, config)
    rung, why = chosen_rung(config.rung, proofs)
    if as_json:
        show_json({"rung": rung, "why": why, "features": [feature._asdict() for feature in features]})
    else:
        _show(features)
        click.echo(f"\nrung: {good(rung) if rung else bad('none')} (configured: {config.rung}), for {why}")
    return 0 if rung else 1


def chosen_rung(configured_rung: str, proofs: dict[str, list[Any]]) -> tuple[str, str]:
    """Say which rung an agent would use, and why; an empty one is none."""
    whynot: dict[str, str] = {}
    for rung in WORKS:
        if configured_rung not in ("auto", rung):
            continue
        failed = [proof for proof in proofs.get(rung, ()) if not proof.worked]
        if proofs.get(rung) and not failed:
            earlier = "; ".join(f"{name} does not work ({says})" for name, says in whynot.items())
            return rung, earlier or "all of it works"
        whynot[rung] = "; ".join(f"{one.what}: {one.says}" for one in failed) or "it was not tried"
    return "", "; ".join(f"{name} does not work ({says})" for name, says in whynot.items())


async def _look(config: Any) -> tuple[list[Any], dict[str, list[Any]]]:
    from meshtrio.cli import features, network_features
    from meshtrio.cli.acceleration import acceleration
    from meshtrio.observe import log

    log.set_up(config.log)
    found = list(features.kernel_and_rights())
    found += list(_agents(config))
    running = found[-1].says.startswith("answers")
    found.append(features.bpffs(config))
    found.append(features.state(config))
    found.append(await features.compiler())
    found += await features.programs(config)
    found += await network_features.nf_tables()
    found += list(network_features.network())
    found.append(await network_features.callers_addresses())
    found.append(features.limits())
    found += list(network_features.ports(config, agent_runs=running))
    found += await acceleration(config)
    proofs, granted = await _prove(config)
    for rung, tried in proofs.items():
        for proof in tried:
            state = "ok" if proof.worked else "missing"
            todo = "" if proof.worked else "what is missing above may be the reason"
            found.append(features.Feature(f"{rung}: {proof.what}", state, proof.says, todo))  # type: ignore[arg-type]
    # Who cannot go past us is relayed, so nothing is missing then.
    found.append(features.Feature(f"r5: {granted.what}", "ok" if granted.worked else "note", granted.says))
    return found, proofs


async def _prove(config: Any) -> tuple[dict[str, list[Any]], Any]:
    """Try both rungs of catching, and meanwhile what goes past us, which waits for this and that."""
    import trio

    from meshtrio.cli.process import missing_capabilities
    from meshtrio.cli.selftest import Proof, prove
    from meshtrio.cli.selftest_granted import WHAT, prove_granted

    if "CAP_NET_ADMIN" in missing_capabilities():
        untried = [Proof(what, worked=False, says="needs root") for what in ("connections are caught", WHAT)]
        return dict.fromkeys(WORKS, untried[:1]), untried[1]
    granted: list[Proof] = []

    async def try_grants() -> None:
        granted.append(await prove_granted(config))

    async with trio.open_nursery() as beside:
        beside.start_soon(try_grants)
        proofs = {rung: await prove(config, rung) for rung in WORKS}
    return proofs, granted[0]


def _agents(config: Any) -> Iterator[Any]:
    from meshtrio.cli.features import Feature, can_write
    from meshtrio.cli.remains import processes_named

    others = processes_named("meshtrio-agent")
    if len(others) > 1:
        yield Feature("agents", "note", f"several run: {', '.join(map(str, others))}")
    try:
        if Control(config.paths.control).answers():
            yield Feature("agent", "ok", f"answers at {config.paths.control}")
        elif can_write(Path(config.paths.control)):
            yield Feature("agent", "ok", f"none answers at {config.paths.control}")
        else:
            says = f"none answers at {config.paths.control}, and none could, for that cannot be written"
            yield Feature("agent", "note", says, "as root: make room there, or set paths.control")
    except NoAgent as strange:
        yield Feature("agent", "note", str(strange))


def _show(features: list[Any]) -> None:
    rows = [
        (one.name, one.state.upper() if one.state == "missing" else one.state, one.says) for one in features
    ]
    head, *lines = table(("FEATURE", "STATE", "WHAT WAS SEEN"), rows)
    click.echo(click.style(head, bold=True))
    for feature, line in zip(features, lines, strict=True):
        click.echo(bad(line) if feature.state == "missing" else line)
        if feature.todo and feature.state != "ok":
            click.echo(f"    {feature.todo}")
