"""Shell. follow_kubernetes against a server of the test's, and what it has said. Does not know the server."""

import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import yaml

from meshtrio.catalog.merge import Merge
from meshtrio.catalog.service import Service
from meshtrio.catalog.stream import State, Stream
from meshtrio.catalog.vips import Vips
from meshtrio.config.discovery import Kubernetes
from meshtrio.discover.hub import Hub, Sink
from meshtrio.discover.kubernetes import follow_kubernetes
from meshtrio.discover.kubernetes_pace import Pace

QUICK = Pace(
    connect_s=1.0,
    list_s=1.0,
    watch_s=(1.0, 1.0),
    grace_s=0.3,
    first_s=0.05,
    most_s=0.5,
    refused_s=0.1,
    patience_s=0.5,
    look_s=0.1,
    lasting_s=0.2,
    least_s=0.05,
    begin_s=2.0,
)
"""A twentieth of the real times."""


class Follow:
    """One follow_kubernetes, its hub, and when it said what."""

    def __init__(self, settings: Kubernetes, pace: Pace, hub: Hub | None = None) -> None:
        self.hub = hub or Hub(Merge(Vips()), lambda _: None)
        self.sink = Sink(self.hub, "kubernetes")
        self.settings = settings
        self.pace = pace
        self.scope = trio.CancelScope()
        self.words = 0

    async def run(self) -> None:
        with self.scope:
            await follow_kubernetes(self.settings, self.sink, self.pace)

    @property
    def services(self) -> dict[str, Service]:
        return dict(self.hub.merge.said("kubernetes"))

    @property
    def streams(self) -> dict[str, Stream]:
        return self.hub.streams.get("kubernetes", {})

    def error(self, name: str = "services") -> str:
        """Say what went wrong last with a stream; empty: nothing, so far."""
        stream = self.streams.get(name)
        return stream.last_error if stream else ""

    def ips(self, key: str = "default/orders") -> set[str]:
        """Say where a service is served, as last said."""
        service = self.services.get(key)
        return {str(one.address).rpartition(":")[0] for one in service.endpoints} if service else set()

    async def until(self, holds: Callable[[], object], within_s: float = 5.0) -> float:
        """Wait for something to become true, and say how long that took."""
        began = time.perf_counter()
        while not holds():
            assert time.perf_counter() - began < within_s, self.story()
            await trio.sleep(0.005)
        return time.perf_counter() - began

    def story(self) -> str:
        """Say how the streams are doing, for the failure of a test."""
        lines = [str(stream.shown()) for stream in self.streams.values()]
        return "\n".join([*lines, str(sorted(self.services)[:20])])


def kubeconfig(path: Path, url: str, user: dict[str, Any] | None = None, ca: Path | None = None) -> Path:
    """Write a kubeconfig of one cluster."""
    cluster = {"certificate-authority": str(ca)} if ca else {}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "test", "user": user or {}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@asynccontextmanager
async def following(
    config: Path | None,
    pace: Pace = QUICK,
    *,
    hub: Hub | None = None,
    hangs_s: float = 1.0,
    **settings: Any,
) -> AsyncIterator[Follow]:
    """Follow while the block lasts, and see that it ends within a second and leaves no thread at work.

    `hangs_s`: how long a thread may be at work after that second.
    """
    known = Kubernetes(enabled=True, kubeconfig=str(config or ""), **settings)
    follow = Follow(known, pace, hub)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow.run)
        yield follow
        began = time.perf_counter()
        follow.scope.cancel()
    # A little more than the second that it gives its threads.
    assert time.perf_counter() - began < 1.2, "it took long to end"
    while busy_threads() and time.perf_counter() - began < hangs_s:
        await trio.sleep(0.005)
    assert busy_threads() == []


def busy_threads() -> list[str]:
    """Name threads that are at work for us. Those that are idle end by themselves after ten seconds."""
    found = []
    for ident, frame in sys._current_frames().items():
        stack = traceback.extract_stack(frame)
        if ident != threading.get_ident() and any("meshtrio/discover" in one.filename for one in stack):
            found.append(str(stack[-1]))
    return found


def live(follow: Follow, names: Iterable[str] = ()) -> bool:
    """Say whether the streams are live, all or those named."""
    chosen = list(names) or list(follow.streams)
    return bool(chosen) and all(
        name in follow.streams and follow.streams[name].state is State.LIVE for name in chosen
    )
