"""Core. Whose turn is it? Does not know other algorithms, weights, or what became of the pick.

The ring is ordered by endpoint id, and the only memory is the id that was picked last: the next turn is that
of the least id above it. So when endpoints come and go, nobody who stays is skipped or served twice,
whatever order the source lists them in, and a change never sends the next callers to the same first
endpoint.
"""

from bisect import bisect_right
from collections.abc import Collection

from meshtrio.catalog.service import Endpoint


class RoundRobin:
    """The turns of one service port. `start` is where this one begins, so that many workers do not begin
    alike.

    Any two endpoints that are ready all the while differ by one pick at most.
    """

    __slots__ = ("_again", "_endpoints", "_others", "_ready")

    def __init__(self, start: int = 0) -> None:
        self._endpoints: tuple[Endpoint, ...] | None = None
        self._ready = _Ring(start)
        self._again = _Ring(start)
        """The turns of second and further tries. If these moved the first ring on, then with one dead
        endpoint of two each connection would meet the dead one first, and not every second one."""
        self._others = _Ring(start)

    def pick(self, endpoints: tuple[Endpoint, ...], tried: Collection[str] = ()) -> Endpoint | None:
        """Give the endpoint whose turn it is, or None if all were tried.

        Ids in `tried` are passed over. Those that are unhealthy or draining get a turn only where no other is
        left. Takes constant time as long as the very same tuple is given, and sorts when it is another one.
        """
        if endpoints is not self._endpoints:
            self._know(endpoints)
        ring = self._again if tried else self._ready
        return ring.pick(tried) or self._others.pick(tried)

    def _know(self, endpoints: tuple[Endpoint, ...]) -> None:
        self._endpoints = endpoints
        ready = [endpoint for endpoint in endpoints if endpoint.ready]
        self._ready.replace(ready)
        self._again.replace(ready)
        self._others.replace([endpoint for endpoint in endpoints if not endpoint.ready])


TURNS_BOUND = 16_384
"""How many names a worker keeps turns for. Full: all begin anew, which is fair again at once."""


class Turns:
    """The round robins of all service ports that one worker dials, by a name of the caller's choice.

    Holds one for each name that was asked for, up to TURNS_BOUND.
    """

    def __init__(self, start: int = 0) -> None:
        self._start = start
        self._of: dict[str, RoundRobin] = {}

    def of(self, name: str) -> RoundRobin:
        """Find the round robin of this name, or begin one."""
        known = self._of.get(name)
        if known is None:
            if len(self._of) >= TURNS_BOUND:
                self._of.clear()
            known = self._of[name] = RoundRobin(self._start)
        return known

    def forget(self, name: str) -> None:
        """Drop what is kept for this name; nothing happens if nothing is."""
        self._of.pop(name, None)

    def __len__(self) -> int:
        return len(self._of)


class _Ring:
    __slots__ = ("_at", "_endpoints", "_last", "_start")

    def __init__(self, start: int) -> None:
        self._start = start
        self._endpoints: list[Endpoint] = []
        self._at = 0
        self._last: str | None = None

    def replace(self, endpoints: list[Endpoint]) -> None:
        self._endpoints = sorted(endpoints, key=_id)
        if self._last is not None:
            self._at = bisect_right(self._endpoints, self._last, key=_id)
        elif endpoints:
            self._at = self._start % len(endpoints)

    def pick(self, tried: Collection[str]) -> Endpoint | None:
        endpoints, at = self._endpoints, self._at
        for _ in endpoints:
            if at >= len(endpoints):
                at = 0
            endpoint = endpoints[at]
            at += 1
            if endpoint.id not in tried:
                self._at, self._last = at, endpoint.id
                return endpoint
        return None


def _id(endpoint: Endpoint) -> str:
    return endpoint.id
