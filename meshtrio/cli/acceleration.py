"""Shell. What `meshtrio check` says of acceleration: sk_msg's hazards on this kernel, the rungs that need it,
kTLS, records in C, and what is configured and cannot be had. Nothing of it is ever missing: we relay without.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from meshtrio.accelerate import ladder
from meshtrio.accelerate.hazards import Finding, verdicts
from meshtrio.accelerate.ktls import why_no_ktls
from meshtrio.accelerate.proof import Untried, proved
from meshtrio.cli.features import Feature
from meshtrio.config.kinds import RungMax
from meshtrio.config.schema import Config
from meshtrio.forward.sealed import NOT_IN_C


async def acceleration(config: Config) -> list[Feature]:
    """Hold the trial, or take what the last one found, and say what becomes of the configuration by it."""
    try:
        findings = await proved(Path(config.paths.cache))
        found, refused = [*told(findings)], ladder.refusals(findings)
    except Untried as why:
        found, refused = [Feature("sk_msg", "note", f"not tried: {why}")], ladder.untried(str(why))
    return [*found, ktls(why_no_ktls()), records(NOT_IN_C), *configured(config, refused)]


def told(findings: Iterable[Finding]) -> Iterator[Feature]:
    """Put findings and verdicts into words: what was seen of each hazard, then why a rung is refused."""
    findings = list(findings)
    for finding in findings:
        says = finding.wrong or "as with TCP alone"
        yield Feature(f"sk_msg: {finding.hazard.value}", "note" if finding.wrong else "ok", says)
    for rung, refused_for in verdicts(findings):
        if refused_for:
            names = ", ".join(hazard.value for hazard in refused_for)
            yield Feature(rung.value, "note", f"refused for {names}")
        else:
            yield Feature(rung.value, "ok", "safe on this kernel; this version does not use it")


def ktls(why_not: str) -> Feature:
    """Say whether the kernel could encrypt for us."""
    return Feature("kTLS", "note", why_not or "kernel has the tls ULP; this version does not use it")


def records(why_not: str) -> Feature:
    """Say who reads and writes TLS records: C, or Python where that was not built."""
    if not why_not:
        return Feature("TLS records", "ok", "read and written in C")
    todo = (
        "have gcc and Python's headers (Debian: gcc libc6-dev libpython3.11-dev), and install meshtrio again"
    )
    return Feature("TLS records", "note", f"read and written in Python, for {why_not}", todo)


def configured(config: Config, refused: Mapping[RungMax, str]) -> Iterator[Feature]:
    """Say up to which rung connections will be accelerated, and which workloads ask for more."""
    rung, why = ladder.node(config.rung_max, refused)
    yield Feature("acceleration", "ok", f"{rung} (rung_max: {config.rung_max}): {why}")
    for one in config.workloads:
        if one.acceleration in ladder.OPT_IN:
            ungranted = ladder.why_no_grants(config)
            stands = ladder.workload(
                config.rung_max, one.acceleration, hooks=True, refused=refused, ungranted=ungranted
            )
            says = f"accelerated as {stands.rung}" + (f": {stands.why}" if stands.why else "")
            yield Feature(f"workload {one.name}", "note" if stands.why else "ok", says)
