"""Core. An endpoint as one worker sees it while it balances: what it weighs, and how it does just now.

Members change in place: a pick is too frequent for values that are replaced. Each belongs to one service port
of one worker, and whoever balances that port is the only one to write it.
"""

from collections.abc import Iterable
from math import inf

from meshtrio.catalog.service import Endpoint


class Member:
    """One endpoint that may be picked, and what this worker knows of it beyond the catalog."""

    __slots__ = ("active", "endpoint", "ewma_at", "ewma_s", "id", "weight")

    def __init__(self, endpoint: Endpoint, weight: float = 1.0) -> None:
        self.endpoint = endpoint
        self.id = endpoint.id
        """The endpoint's, here once more because every pick reads it."""
        self.weight = weight
        """What counts now, above 0: halved for a warning, ramped up by slow start."""
        self.active = 0
        """Connections of this worker to it: reserved at the pick, given back at the end."""
        self.ewma_s = 0.0
        """Its latency as `ewma.measured` keeps it; 0: never measured."""
        self.ewma_at = 0.0
        """When that was brought up to date, monotonic seconds."""


def ordered(members: Iterable[Member]) -> list[Member]:
    """Sort by id, so that it does not matter who lists them how. ValueError names a weight that is none."""
    by_id = sorted(members, key=_id)
    for member in by_id:
        if not 0 < member.weight < inf:
            raise ValueError(f"{member.id} weighs {member.weight} (want a number above 0)")
    return by_id


def _id(member: Member) -> str:
    return member.id
