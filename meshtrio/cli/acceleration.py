"""Shell. What `meshtrio check` says of sk_msg: each hazard on this kernel, and each rung. Knows no kernel."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from meshtrio.accelerate.hazards import Finding, verdicts
from meshtrio.accelerate.proof import Untried, proved
from meshtrio.cli.features import Feature
from meshtrio.config.schema import Config


async def acceleration(config: Config) -> list[Feature]:
    """Hold the trial, or take what the last one found. Nothing of it is ever missing: without it we relay."""
    try:
        return list(told(await proved(Path(config.paths.cache))))
    except Untried as why:
        return [Feature("sk_msg", "note", f"not tried: {why}")]


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
