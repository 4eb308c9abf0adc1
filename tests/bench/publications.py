"""Core. How many publications a burst of changes became, by when the kernel's map knew of each change."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

APART_S = 0.035
"""Changes seen closer together are one publication. The agent publishes no sooner than 40 ms after the last
time (meshtrio/discover/gathering.py), and looking at all addresses once takes less than 20, if the machine
lets us."""
GOAL = 1


class Publication(NamedTuple):
    """Changes that became known together."""

    first_s: float
    last_s: float
    changes: int


def publications(seen_at_s: Iterable[float]) -> Sequence[Publication]:
    """Group the moments at which changes were seen, in order."""
    found: list[Publication] = []
    for moment in sorted(seen_at_s):
        if found and moment - found[-1].last_s < APART_S:
            found[-1] = found[-1]._replace(last_s=moment, changes=found[-1].changes + 1)
        else:
            found.append(Publication(moment, moment, 1))
    return found
