"""Shell. `meshtrio config`: is the configuration good, what does it come to, what can it say?

Does not know the settings; it walks over them.
"""

import operator
from typing import Any

import click

from meshtrio.cli.complaint import Code, Complaint
from meshtrio.cli.options import config_option, json_option, set_option
from meshtrio.cli.screen import show_json, show_table

VALIDATE_HELP = """Say everything that is wrong with a configuration, and with the catalog that it names.

Looked at is what an agent would read: FILE (default: as --config of `meshtrio agent`), with the
MESHTRIO_ variables above it. Ends with 0 if all is good, 2 if not.

\b
Examples:
  meshtrio config validate meshtrio.yaml
  meshtrio config validate --json
    {"ok": false, "file": "/etc/meshtrio/meshtrio.yaml", "catalog": "", "faults":
      [{"path": "timeouts.drain_s", "says": "is -1 (want seconds, 0 to 600)", "origin": "line 3"}]}
"""

SHOW_HELP = """Show every setting, its value, and where that came from: a line of the file, a variable, a
flag, or the default. What a running agent has is in `meshtrio status`.

\b
Examples:
  meshtrio config show --set workers=1
  meshtrio config show --json
    {"file": "/etc/meshtrio/meshtrio.yaml", "settings":
      {"timeouts.drain_s": {"value": 10.0, "origin": "line 4"}, ...}}
"""


@click.group("config", short_help="Look at the configuration: validate, show, default.")
def config() -> None:
    """Look at the configuration. All of it can be set in a file, by MESHTRIO_SECTION__KEY, and by --set."""


@config.command(help=VALIDATE_HELP)
@click.argument("file", required=False)
@json_option
def validate(file: str | None, as_json: bool) -> int:
    """See VALIDATE_HELP."""
    path, catalog, faults = _examine(file)
    if as_json:
        listed = [{"path": fault.path, "says": fault.says, "origin": fault.origin} for _, fault in faults]
        show_json({"ok": not faults, "file": path or "", "catalog": catalog, "faults": listed})
    elif faults:
        raise Complaint("\n".join(f"{subject}: {fault}" for subject, fault in faults), Code.USAGE)
    else:
        click.echo(f"{path or 'no file, so every setting has its default'}: ok")
        if catalog:
            click.echo(f"{catalog}: ok")
    return Code.USAGE if faults else Code.OK


@config.command(help=SHOW_HELP)
@config_option
@set_option
@json_option
def show(config_file: str | None, settings: tuple[tuple[str, str], ...], as_json: bool) -> None:
    """See SHOW_HELP."""
    from meshtrio.cli.options import configured

    effective, path = configured(config_file, dict(settings))
    rows = list(_with_origin(effective, path, dict(settings)))
    if as_json:
        made = {name: {"value": value, "origin": origin} for name, value, origin in rows}
        show_json({"file": path or "", "settings": made})
        return
    shown = [(name, _short(value), origin) for name, value, origin in rows]
    show_table(("SETTING", "VALUE", f"FROM {path or '(no file)'}"), shown)


@config.command()
def default() -> None:
    """Print a configuration file with every setting at its default, to begin from."""
    from meshtrio.config.load import dump
    from meshtrio.config.schema import Config

    click.echo(dump(Config()), nl=False)


def _examine(file: str | None) -> tuple[str | None, str, list[tuple[str, Any]]]:
    """Read as an agent would; return the file, the catalog, and all faults with what they are about."""
    from meshtrio.catalog.document import DOCUMENT_BYTES, read_services
    from meshtrio.config import environ
    from meshtrio.config.fault import Faults

    path = environ.config_path(file)
    catalog, subject = "", "config"
    try:
        catalog = environ.configured(path, {}).catalog.file
        subject = "catalog"
        if catalog:
            read_services(environ.read_text(catalog, DOCUMENT_BYTES))
    except Faults as faults:
        return path, catalog, [(subject, fault) for fault in faults.faults]
    return path, catalog, []


def _with_origin(effective: Any, path: str | None, flags: dict[str, object]) -> Any:
    """Walk over (setting, value, origin), in the order of the schema."""
    import msgspec

    from meshtrio.config import environ
    from meshtrio.config.load import ENV_PREFIX, setting_paths
    from meshtrio.config.tree import read_tree

    lines = read_tree(environ.read_text(path)).lines if path else {}
    variables = environ.environment()
    for name in setting_paths():
        value = operator.attrgetter(name)(effective)
        variable = ENV_PREFIX + name.upper().replace(".", "__")
        origin = "default"
        if name in flags:
            origin = "flag"
        elif variable in variables:
            origin = variable
        elif name in lines:
            origin = f"line {lines[name]}"
        yield name, msgspec.to_builtins(value), origin


def _short(value: object) -> str:
    """Write a value in little room. Of a mapping only its name: the rest is long, and may be secret."""
    if isinstance(value, dict):
        return str(value.get("name") or value.get("service") or "...")
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value)) or "(none)"
    return str(value) if value != "" else "(empty)"
