"""Shell. Flags that several commands have, and what they come to. Does not know the commands."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from meshtrio.cli.complaint import Code, Complaint

PORT = click.IntRange(1, 65535)
ACCELERATION = (
    "auto: as rung_max has it. off: its bytes are copied. r4: also sk_msg at its own sockets. r5: also past"
    " us to workloads of this node that it may call."
)

F = TypeVar("F", bound=Callable[..., Any])


class Setting(click.ParamType[tuple[str, str]]):
    """`section.key=value`, as in the configuration."""

    name = "setting"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split it; the configuration says whether path and value are good."""
        if isinstance(value, tuple):
            return value
        path, equals, given = value.partition("=")
        if not equals or not path.strip():
            self.fail(f"{value!r} is not section.key=value, as in timeouts.drain_s=10", param, ctx)
        return path.strip(), given


class Span(click.ParamType[float]):
    """A time span: 90s, 10m, 1h, 7d."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Give it in seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]{1,6})(s|m|h|d)", str(value))
        seconds = int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]] if found else 0
        if not 1 <= seconds <= 365 * 86_400:
            self.fail(f"{value!r} is no time span from 1s to 365d, as in 90s, 10m, 1h, 7d", param, ctx)
        return float(seconds)


def config_option(command: F) -> F:
    """Add --config."""
    return click.option(
        "--config",
        "config_file",
        metavar="FILE",
        help="Read this configuration. Default: MESHTRIO_CONFIG, else /etc/meshtrio/meshtrio.yaml.",
    )(command)


def control_option(command: F) -> F:
    """Add --control."""
    return click.option(
        "--control",
        metavar="PATH",
        help="The agent's control socket. Default: paths.control of the configuration.",
    )(command)


def json_option(command: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def set_option(command: F) -> F:
    """Add --set."""
    return click.option(
        "--set",
        "settings",
        type=Setting(),
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Set one setting, above file and environment; as often as wanted.",
    )(command)


def configured(config_file: str | None, flags: dict[str, object]) -> Any:
    """Read the whole configuration, and the path it came from (None: no file). Complaint with all faults."""
    # Imported late, so that `meshtrio --help` need not read YAML's parser.
    from meshtrio.config import environ
    from meshtrio.config.load import ConfigFaults

    path = environ.config_path(config_file)
    try:
        return environ.configured(path, flags), path
    except ConfigFaults as faults:
        first, *others = faults.faults
        where = f" ({path}, environment and flags)" if path else ""
        if others:
            sentence = f"the configuration has {len(faults.faults)} faults{where}:\n{faults}"
        else:
            sentence = f"{faults} ({path})" if path and first.origin.startswith("line") else str(faults)
        raise Complaint(sentence, Code.USAGE) from None


def absolute(path: str) -> str:
    """Make a path absolute, symbolic links as they are: a ConfigMap's files are links that change."""
    try:
        return str(Path(path).absolute())
    except FileNotFoundError:
        raise Complaint(f"{path}: the current folder has gone; name the file from /", Code.USAGE) from None


def control_path(control: str | None, config_file: str | None = None) -> str:
    """Return where the control socket is: the one named, else the configured one."""
    if control:
        return absolute(control)
    config, _ = configured(config_file, {})
    return str(config.paths.control)
