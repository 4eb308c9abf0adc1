"""Shell. The ground of two hops: a place for the load and one for the servers, and a wire between them.

Each is a network namespace and a cgroup, so that either can be a workload of an agent of its own. They are
new for each turn: nothing of the last one is in TIME_WAIT there.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.namespace import Namespace, wire
from tests.support.namespace_door import cgroup

NEAR, FAR = "10.77.0.1", "10.77.0.2"
MANY = 1200
"""Addresses of the far side: more than a proxy remembers sessions for, see `keyring.SESSIONS_BOUND`."""
_MANY_NET = "10.78.0.0/16"


class Spot(NamedTuple):
    """Where something runs."""

    space: Namespace
    group: Path

    @property
    def netns(self) -> str:
        """Give the path by which others find the namespace."""
        return f"/proc/{os.getpid()}/task/{self.space.tid}/ns/net"


class Wire(NamedTuple):
    """Both ends."""

    near: Spot
    """Of the load."""
    far: Spot
    """Of the servers."""


def many_addresses() -> list[str]:
    """List the further addresses that the far side has."""
    return [f"10.78.{number // 250}.{number % 250 + 1}" for number in range(MANY)]


def delay_hindrance() -> str | None:
    """Say why the wire cannot be made slower here, or None."""
    with Namespace() as space:
        try:
            space.command(*delay_words("lo", 1.0))
        except FileNotFoundError:
            return "tc is not installed (Debian: iproute2)"
        except subprocess.CalledProcessError as refused:
            return f"the kernel has no sch_netem (tc: {refused.stderr.strip().splitlines()[0]})"
    return None


def delay_words(device: str, delay_ms: float) -> list[str]:
    """Give the words that let each packet leave later; `limit`: room for what is under way meanwhile."""
    words = f"tc qdisc add dev {device} root netem delay {delay_ms:g}ms limit 100000"
    return words.split()


@contextlib.contextmanager
def wired(delay_ms: float = 0.0) -> Iterator[Wire]:
    """Make both ends and the wire, on which all takes so much longer each way; gone when the block ends."""
    with Namespace() as near, Namespace() as far, cgroup() as near_group, cgroup() as far_group:
        for space in (near, far):
            space.route_everything()
        wire(near, far)
        near.add_address(f"{NEAR}/24", "wire")
        far.add_address(f"{FAR}/24", "wire")
        near.ip("route", "add", _MANY_NET, "via", FAR)
        far.ip("route", "add", "local", _MANY_NET, "dev", "lo")
        if delay_ms:
            for space in (near, far):
                space.command(*delay_words("wire", delay_ms))
        yield Wire(Spot(near, near_group), Spot(far, far_group))
