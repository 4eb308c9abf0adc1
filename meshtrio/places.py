"""Shell. The files beside a control socket, named after it: two agents in one folder share none."""

from pathlib import PurePath
from typing import TypeVar

P = TypeVar("P", bound=PurePath)


def lock_path(control: P) -> P:
    """Return the file whose lock says that an agent lives at this control socket."""
    return control.with_name(f"{control.name}.lock")


def list_path(control: P) -> P:
    """Return the file in which that agent keeps the list of its workloads."""
    return control.with_name(f"{control.name}.workloads")
