"""Shell. The subcommands by name, each imported when somebody asks for it. Does not know what they do.

To import them all takes longer than most of them run (100 ms and more, measured); only `--help` needs that.
"""

import importlib
from collections.abc import Iterator, MutableMapping

import click

NAMES = (
    *("agent", "exec", "status", "connections", "services", "endpoints", "balance", "breaker", "discovery"),
    *("certs", "workloads", "policy", "check", "config", "ca", "cleanup", "demo", "bench"),
)
"""Each is in a module of its name, where it is called by its name, or `exec_`, for `exec` is a builtin."""


class Subcommands(MutableMapping[str, click.Command]):
    """What `click.Group` takes for a dictionary of commands. One can add to it, too."""

    def __init__(self) -> None:
        self._added: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name in self._added or name not in NAMES:
            return self._added[name]
        module = importlib.import_module(f"meshtrio.cli.{name}")
        command: click.Command = getattr(module, "exec_" if name == "exec" else name)
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._added[name] = command

    def __delitem__(self, name: str) -> None:
        del self._added[name]

    def __contains__(self, name: object) -> bool:
        return name in NAMES or name in self._added

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*NAMES, *self._added)))

    def __len__(self) -> int:
        return len(set(self))
