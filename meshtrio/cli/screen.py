"""Shell. What is written to the terminal: lines, JSON, colours. Knows no commands.

click leaves colours out where the output is no terminal; NO_COLOR (no-color.org) is honoured in main.py.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

from meshtrio.cli.words import table


def show_json(value: object) -> None:
    """Print a value as JSON, indented, keys in the order in which they were made."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def show_table(head: Sequence[str], rows: Iterable[Sequence[object]], *, err: bool = False) -> None:
    """Print a table, its head in bold."""
    first, *rest = table(head, list(rows))
    click.echo(click.style(first, bold=True), err=err)
    for line in rest:
        click.echo(line, err=err)


def note(text: str) -> None:
    """Say something beside the output: on standard error."""
    click.echo(f"meshtrio: {text}", err=True)


def good(text: str) -> str:
    """Colour what is as it should be."""
    return click.style(text, fg="green")


def bad(text: str) -> str:
    """Colour what is not."""
    return click.style(text, fg="red")


def of(value: Any, *path: str) -> Any:
    """Look into an answer of the agent; empty text where this version of it does not say that."""
    for name in path:
        value = value.get(name, "") if isinstance(value, dict) else ""
    return value
