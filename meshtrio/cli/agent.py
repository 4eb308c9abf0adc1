"""Shell. `meshtrio agent`: run the agent of this machine until SIGTERM. Knows no part of the agent's work."""

from pathlib import Path

import click

from meshtrio.cli.complaint import Code, Complaint
from meshtrio.cli.options import absolute, config_option, configured, control_option, set_option
from meshtrio.cli.process import raise_descriptor_limit, require_privilege

DESCRIPTORS = 1 << 20
"""As many as the unit for systemd gives: ten or so a workload here, two a connection in a worker."""

HELP = """Run the agent of this machine: it catches the connections of its workloads, and carries them
to the services of its catalog.

SIGTERM or ^C lets connections end until timeouts.drain_s, a second one cuts them. Killed instead, its
workers go on with what they know, and the next agent takes over. Configuration and catalog are read again
whenever their files change.

\b
Examples:
  meshtrio agent --config /etc/meshtrio/meshtrio.yaml
  meshtrio agent --catalog services.yaml --set timeouts.drain_s=5 --workers 2
  meshtrio config default > meshtrio.yaml      # every setting, with its default
"""


@click.command("agent", help=HELP)
@config_option
@click.option("--catalog", metavar="FILE", help="Services from this file (catalog.file).")
@set_option
@click.option("--rung", metavar="auto|ebpf|nft", help="How connections are caught (rung).")
@click.option("--rung-max", metavar="r1|r1d|r2|...", help="How far they may be accelerated (rung_max).")
@click.option("--workers", metavar="N|auto", help="Data processes; 0: inside the agent (workers).")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error (log.level).")
@click.option("--log-format", metavar="json|text", help="How the log is written (log.format).")
@control_option
def agent(config_file: str | None, settings: tuple[tuple[str, str], ...], **given: str | None) -> None:
    """See HELP."""
    flags = flags_of(given) | dict(settings)
    _, path = configured(config_file, flags)
    if path and not Path(path).is_file():
        raise Complaint(f"config: {path} is no regular file, which the agent could read again", Code.USAGE)
    require_privilege("agent")
    raise_descriptor_limit(DESCRIPTORS)
    from meshtrio.agent_start import begin

    # The command line's libraries would stay with the agent for life; so it becomes another program.
    begin(absolute(path) if path else "", flags)


PATHS = {
    "catalog": "catalog.file",
    "rung": "rung",
    "rung_max": "rung_max",
    "workers": "workers",
    "log_level": "log.level",
    "log_format": "log.format",
    "control": "paths.control",
    "on_agent_loss": "on_agent_loss",
}
"""Flags that are settings under a shorter name."""


def flags_of(given: dict[str, str | None]) -> dict[str, object]:
    """Turn the short flags that were given into settings by path. File names become absolute."""
    flags: dict[str, object] = {PATHS[name]: value for name, value in given.items() if value is not None}
    for path in ("catalog.file", "paths.control"):
        if flags.get(path):
            flags[path] = absolute(str(flags[path]))
    return flags
