"""Shell. The one place that reads the environment and files of settings. Does not know what they mean."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec

from meshtrio.config.fault import Fault, Faults
from meshtrio.config.load import ENV_PREFIX, ConfigFaults, load
from meshtrio.config.schema import Config

DEFAULT_PATH = "/etc/meshtrio/meshtrio.yaml"
"""Read if it is there. A path that somebody named must be there."""

PATH_VARIABLE = f"{ENV_PREFIX}CONFIG"


def environment() -> dict[str, str]:
    """Give the variables that are meant for us."""
    return {name: value for name, value in os.environ.items() if name.startswith(ENV_PREFIX)}  # noqa: TID251


def config_path(named: str | None = None) -> str | None:
    """Say which file to read: the one named, else that of MESHTRIO_CONFIG, else the default if it exists."""
    chosen = named or environment().get(PATH_VARIABLE)
    if chosen:
        return chosen
    return DEFAULT_PATH if Path(DEFAULT_PATH).exists() else None


def read_text(path: str, bound_bytes: int = 1 << 20) -> str:
    """Read a whole text file. Raises Faults with the one reason why not: missing, too large, not UTF-8."""
    try:
        with open(path, "rb") as file:
            raw = file.read(bound_bytes + 1)
    except OSError as cause:
        raise Faults([Fault(path, f"cannot be read: {cause.strerror}")]) from None
    if len(raw) > bound_bytes:
        raise Faults([Fault(path, f"is larger than {bound_bytes} bytes")])
    try:
        return raw.decode()
    except UnicodeDecodeError as cause:
        line = raw.count(b"\n", 0, cause.start) + 1
        raise Faults([Fault(path, f"is not UTF-8: byte 0x{raw[cause.start]:02x}", f"line {line}")]) from None


def configured(path: str | None, flags: Mapping[str, object]) -> Config:
    """Read the configuration as it is now: the file (None: no file), the environment, and these flags.

    A node without a name gets the host's. Raises ConfigFaults with everything that is wrong.
    """
    try:
        text = None if path is None else read_text(path)
    except Faults as unreadable:
        raise ConfigFaults(unreadable.faults) from None
    return named(load(text, environment(), flags))


def named(config: Config) -> Config:
    """Give the node the host's name if it has none."""
    return config if config.node else msgspec.structs.replace(config, node=socket.gethostname())
