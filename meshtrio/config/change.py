"""Core. What differs between two configurations, and what of it needs a restart. Does not apply anything."""

from typing import Any, TypeVar

import msgspec

from meshtrio.config.schema import Config

NEEDS_RESTART = frozenset(
    {
        "node",
        "workers",
        "rung",
        "source_address",
        "workloads",
        "paths.control",
        "paths.pins",
        "paths.cache",
        "ports.inbound",
        "ports.outbound",
        "ports.admin",
        "ports.dns",
        "dns.capture",
        "discovery.registration.state",
        "discovery.registration.token_file",
        "discovery.registration.endpoints",
        "admin.bind",
        "identity.source",
        "identity.trust_domain",
        "identity.template",
        "identity.directory",
        "identity.root_certificate",
        "identity.root_key",
        "identity.remote.address",
        "identity.remote.ca_file",
        "identity.remote.token_file",
        "identity.spire_socket",
    }
)
"""The settings that are read once, at start: processes, listening sockets, what the kernel has loaded, and
who workloads are.

All others hold for new connections as soon as the file is read again.
"""


class Change(msgspec.Struct, frozen=True):
    """One setting that differs."""

    path: str
    old: Any
    new: Any

    @property
    def needs_restart(self) -> bool:
        """Say whether this waits for the next start."""
        return self.path in NEEDS_RESTART


def diff(old: Config, new: Config) -> tuple[Change, ...]:
    """List what differs, in the order of the schema. A list differs as a whole."""
    return tuple(_differing(old, new, ""))


def held_back(old: Config, new: Config) -> Config:
    """Make the configuration that can hold now: the new one, with the old values of what needs a restart."""
    made = new
    for change in diff(old, new):
        if change.needs_restart:
            made = _with(made, change.path.split("."), change.old)
    return made


S = TypeVar("S", bound=msgspec.Struct)


def _with(struct: S, path: list[str], value: Any) -> S:
    name, *rest = path
    return msgspec.structs.replace(
        struct, **{name: _with(getattr(struct, name), rest, value) if rest else value}
    )


def _differing(old: msgspec.Struct, new: msgspec.Struct, above: str) -> list[Change]:
    changes: list[Change] = []
    for name in old.__struct_fields__:
        was, is_now, path = getattr(old, name), getattr(new, name), f"{above}{name}"
        if isinstance(was, msgspec.Struct):
            changes += _differing(was, is_now, f"{path}.")
        elif was != is_now:
            changes.append(Change(path, was, is_now))
    return changes
