"""Core. Names of workloads: which are good, and which a command gets if nobody names it."""

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LONGEST = 40


def wrong_name(name: str) -> str:
    """Say why a workload cannot have this name; empty if it can."""
    if _LABEL.fullmatch(name):
        return ""
    return f"{name!r} is no workload name (want a DNS label of a-z, 0-9, -: shop-2)"


def name_for(command: str, number: int) -> str:
    """Derive a name from a command: /usr/bin/Python3.11 with 612 is python3-11-612."""
    base = re.sub("[^a-z0-9]+", "-", command.rpartition("/")[2].lower()).strip("-")[:_LONGEST].rstrip("-")
    return f"{base}-{number}" if base else f"command-{number}"
