"""Core. Which services wish something wrong for their traffic: what is not heeded, kept up to date by change.
Does not know who is told.
"""

from collections.abc import Iterable

from meshtrio.catalog.snapshot import Snapshot


class Unheeded:
    """What is wrong in the wishes of services, by service key. Bounded by the services that there are."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[str, ...]] = {}

    def follow(self, snapshot: Snapshot, changed: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Look at the services that have changed. Return what is another than before of those that there are.

        Empty there: nothing is wrong any more.
        """
        news = {}
        for key in changed:
            service, before = snapshot.service(key), self.of.get(key, ())
            now = service.unheeded if service else ()
            if now:
                self.of[key] = now
            else:
                self.of.pop(key, None)
            if service and now != before:
                news[key] = now
        return news
