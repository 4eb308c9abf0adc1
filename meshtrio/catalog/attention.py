"""Core. Which services need another look, because something that decides on their probes has changed.

The cost follows the change: a catalog of which nothing is probed costs a look nothing. Does not know who
probes.
"""

from collections.abc import Iterable
from typing import NamedTuple

from meshtrio.catalog.probing import Target, by_service, targets
from meshtrio.catalog.service import Service
from meshtrio.catalog.snapshot import Snapshot, changed_services
from meshtrio.config.discovery import HealthCheck


class Circumstances(NamedTuple):
    """All that decides on what is probed."""

    snapshot: Snapshot = Snapshot()
    checks: tuple[HealthCheck, ...] = ()
    lost: frozenset[str] = frozenset()
    """The sources that are lost."""
    dialled: frozenset[str] = frozenset()
    """The keys of services that somebody here uses. Needed only while a source is lost."""


class Attention:
    """The circumstances as they were seen last."""

    def __init__(self) -> None:
        """Begin with an empty catalog, and nothing to be probed."""
        self._now = Circumstances()
        self._checks: dict[str, tuple[HealthCheck, ...]] = {}

    def turn(self, now: Circumstances) -> set[str]:
        """Take these circumstances for true, and return the keys whose targets may have changed by it."""
        before, self._now = self._now, now
        touched: set[str] = set()
        if now.checks is not before.checks:
            old, self._checks = self._checks, by_service(now.checks)
            both = old.keys() | self._checks.keys()
            touched |= {key for key in both if old.get(key) != self._checks.get(key)}
        if now.lost != before.lost:
            touched |= self._checks.keys() | now.dialled | before.dialled
        else:
            touched |= now.dialled ^ before.dialled
        if now.snapshot is not before.snapshot and (self._checks or now.dialled):
            changed = changed_services(before.snapshot, now.snapshot)
            touched |= {key for key in changed if key in self._checks or key in now.dialled}
        return touched

    def targets(self, key: str, lost_words: Iterable[Service]) -> tuple[Target, ...]:
        """List what to probe of this service; `lost_words`: what lost sources said of it last."""
        service = self._now.snapshot.service(key)
        said = [*lost_words] if service is None else [service, *lost_words]
        lost = self._now.lost if key in self._now.dialled else frozenset()
        return targets(said, self._checks.get(key, ()), lost)
