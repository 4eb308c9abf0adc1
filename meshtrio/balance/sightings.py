"""Core. What one worker saw at the endpoints of a port and others must know, until it is told.

Failures, slow ones, and the success that ends a row of failures are news; other successes only go along, so
that others can tell a share. Does not know how words travel.
"""

from collections.abc import Callable

from meshtrio.balance.hearsay import Counts, Stand


class Sightings:
    """What is still to be told of one service port. Bounded by its breakers, told or not."""

    __slots__ = ("_counts", "_news", "_stands", "on_news")

    def __init__(self) -> None:
        self._counts: dict[str, Counts] = {}
        self._news: set[str] = set()
        self._stands: dict[str, Stand] = {}
        self.on_news: Callable[[], object] = bool
        """Called when there is something to tell where there was nothing."""

    def count(self, endpoint: str, seen: Counts, *, is_news: bool) -> None:
        """Note a result."""
        known = self._counts.get(endpoint)
        self._counts[endpoint] = seen if known is None else known.then(seen)
        if is_news:
            quiet = not self
            self._news.add(endpoint)
            if quiet:
                self.on_news()

    def came_to(self, endpoint: str, stand: Stand) -> None:
        """Note what a breaker came to. The results that led there need not be told."""
        quiet = not self
        self.forget(endpoint)
        self._stands[endpoint] = stand
        if quiet:
            self.on_news()

    def forget(self, endpoint: str) -> None:
        """Drop what was to be told of this endpoint."""
        self._counts.pop(endpoint, None)
        self._news.discard(endpoint)
        self._stands.pop(endpoint, None)

    def clear(self) -> None:
        """Drop everything that was to be told."""
        self._counts.clear()
        self._news.clear()
        self._stands.clear()

    def __bool__(self) -> bool:
        return bool(self._news or self._stands)

    def take(self) -> tuple[dict[str, Counts], dict[str, Stand]]:
        """Hand over what is to be told, and begin anew."""
        counts = {endpoint: self._counts.pop(endpoint) for endpoint in self._news}
        stands, self._stands = self._stands, {}
        self._news.clear()
        return counts, stands
