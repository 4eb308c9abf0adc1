"""Core. What an API server keeps: objects by kind, their history, and which of it is still remembered.

One counter counts all changes, as etcd's revision does: each object's resourceVersion is its value at the
object's last change. Does not know HTTP. Calls may come from any thread.
"""

import json
import threading
from typing import Any, NamedTuple

Key = tuple[str, str]
"""Namespace and name."""

NAMESPACED = frozenset({"services", "endpointslices", "endpoints", "pods"})


class Change(NamedTuple):
    version: int
    type: str
    key: Key
    raw: bytes


class Listed(NamedTuple):
    """Part of a list, as it was at one version, and the key that the next part begins after."""

    raws: list[bytes]
    version: int
    last: Key | None
    left: int


class ExpiredError(Exception):
    """That version is forgotten: 410 Gone."""


class Store:
    """All objects, and the changes since the last compaction."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        """Held to read and to change; notified after each change."""
        self.version = 1
        self.compacted = 0
        """Changes up to here are forgotten."""
        self._objects: dict[str, dict[Key, bytes]] = {}
        self._history: dict[str, list[Change]] = {}

    def put(self, resource: str, *objects: dict[str, Any]) -> None:
        """Create or replace objects, as one would by `kubectl apply`."""
        with self.changed:
            for one in objects:
                meta = one["metadata"]
                key = (meta.get("namespace", ""), meta["name"])
                self.version += 1
                meta["resourceVersion"] = str(self.version)
                meta.setdefault("uid", f"uid-{self.version}")
                raw = json.dumps(one, separators=(",", ":")).encode()
                kept = self._objects.setdefault(resource, {})
                self._say(resource, "MODIFIED" if key in kept else "ADDED", key, raw)
                kept[key] = raw
            self.changed.notify_all()

    def put_raw(self, resource: str, key: Key, raw: bytes) -> None:
        """Put what the server says as it is, be it nonsense. VERSION in it becomes the resourceVersion."""
        with self.changed:
            self.version += 1
            raw = raw.replace(b"VERSION", b"%d" % self.version)
            kept = self._objects.setdefault(resource, {})
            self._say(resource, "MODIFIED" if key in kept else "ADDED", key, raw)
            kept[key] = raw
            self.changed.notify_all()

    def delete(self, resource: str, name: str, namespace: str = "default") -> None:
        with self.changed:
            key = (namespace if resource in NAMESPACED else "", name)
            before = self._objects[resource].pop(key)
            self.version += 1
            try:
                gone = json.loads(before)
                gone["metadata"]["resourceVersion"] = str(self.version)
                before = json.dumps(gone, separators=(",", ":")).encode()
            except (ValueError, TypeError, KeyError):
                pass  # it was nonsense, and is deleted as such
            self._say(resource, "DELETED", key, before)
            self.changed.notify_all()

    def _say(self, resource: str, kind: str, key: Key, raw: bytes) -> None:
        self._history.setdefault(resource, []).append(Change(self.version, kind, key, raw))

    def compact(self) -> None:
        """Forget the history: who watches from before now, or goes on with a list from before, gets 410."""
        with self.changed:
            self.version += 1
            self.compacted = self.version
            self._history.clear()
            self.changed.notify_all()

    def restore(self, *objects: dict[str, Any]) -> None:
        """Become what a backup says: versions that are long past, and no history."""
        with self.changed:
            self.version, self.compacted = 1, 0
            self._objects.clear()
            self._history.clear()
        for one in objects:
            self.put({"Service": "services", "EndpointSlice": "endpointslices"}[one["kind"]], one)

    def page(self, resource: str, namespace: str, after: Key | None, limit: int) -> Listed:
        """List some objects in the order of their keys. The lock must be held."""
        kept = self._objects.get(resource, {})
        keys = sorted(
            key for key in kept if (not namespace or key[0] == namespace) and (after is None or key > after)
        )
        chosen = keys[:limit] if limit else keys
        left = len(keys) - len(chosen)
        return Listed([kept[key] for key in chosen], self.version, chosen[-1] if left else None, left)

    def since(self, resource: str, namespace: str, version: int) -> list[Change]:
        """Give the changes after a version. ExpiredError if they are forgotten. The lock must be held."""
        if version < self.compacted:
            raise ExpiredError
        history = self._history.get(resource, [])
        at = len(history)
        while at and history[at - 1].version > version:
            at -= 1
        return [change for change in history[at:] if not namespace or change.key[0] == namespace]
