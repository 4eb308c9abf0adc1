"""Core. Which core does what, so that every peer is measured on the same ones. Does not know how to pin."""

from collections.abc import Iterable
from typing import NamedTuple


class Cores(NamedTuple):
    """One core for each part. With two cores client and server share one; with one core all share it."""

    proxy: int
    client: int
    server: int

    def __str__(self) -> str:
        return f"proxy on core {self.proxy}, client on core {self.client}, servers on core {self.server}"


def choose_cores(allowed: Iterable[int]) -> Cores:
    """Give the proxy a core of its own where there are two, and all three one where there are three."""
    cores = sorted(allowed)
    if not cores:
        raise ValueError("no core to run on")
    return Cores(cores[0], cores[1 % len(cores)], cores[min(2, len(cores) - 1)])
