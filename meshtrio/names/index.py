"""Core. Which service a virtual IP belongs to, whatever the port, and which namespaces have services.

Made when the first question needs it, and then kept by what changes: a lookup after a change costs what
changed. Holds three entries a service, and so is bounded by the catalog. It also holds the snapshot that it
has seen last, so it wants to be shown each one (`keep_up`): an old one would stay in memory.
"""

from collections import Counter

from meshtrio.catalog.service import Service
from meshtrio.catalog.snapshot import Snapshot, changes


class Index:
    """Follows the snapshots that it is shown."""

    def __init__(self) -> None:
        """Begin with the empty catalog."""
        self._seen = Snapshot()
        self._owners: dict[bytes, tuple[str, ...]] = {}
        self._namespaces: Counter[str] = Counter()

    def keep_up(self, snapshot: Snapshot) -> None:
        """Follow the catalog, if a question has ever needed the index."""
        if len(self._seen):
            self._follow(snapshot)

    def owner(self, ip: bytes, snapshot: Snapshot) -> Service | None:
        """Find the service of a virtual IP; of several that of the least key, as `Snapshot.lookup` does."""
        self._follow(snapshot)
        keys = self._owners.get(ip)
        return snapshot.service(keys[0]) if keys else None

    def has_namespace(self, namespace: str, snapshot: Snapshot) -> bool:
        """Say whether any service is in this namespace."""
        self._follow(snapshot)
        return namespace in self._namespaces

    def _follow(self, snapshot: Snapshot) -> None:
        if snapshot is self._seen:
            return
        if not len(self._seen):
            # Not by `changes`: that would list every endpoint's address as well.
            for service in snapshot.unordered():
                self._enter(service)
        else:
            for key in changes(self._seen, snapshot).services:
                self._leave(self._seen.service(key))
                self._enter(snapshot.service(key))
        self._seen = snapshot

    def _enter(self, service: Service | None) -> None:
        if service is None:
            return
        self._namespaces[service.namespace] += 1
        for vip in set(service.vips):
            self._owners[vip] = tuple(sorted((*self._owners.get(vip, ()), service.key)))

    def _leave(self, service: Service | None) -> None:
        if service is None:
            return
        self._namespaces[service.namespace] -= 1
        if not self._namespaces[service.namespace]:
            del self._namespaces[service.namespace]
        for vip in set(service.vips):
            left = tuple(key for key in self._owners[vip] if key != service.key)
            if left:
                self._owners[vip] = left
            else:
                del self._owners[vip]
