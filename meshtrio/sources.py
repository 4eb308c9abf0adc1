"""Shell. The sources of the catalog: which are configured, started, ended and started anew as that changes.

Knows every source by name; each knows its own business. Libraries that only one source needs are imported
with it: an agent without a registry does not carry their 45 MB.
"""

import random
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import trio
from msgspec.structs import replace

from meshtrio.catalog.document import DOCUMENT_BYTES, NoCatalog, read_services
from meshtrio.catalog.merge import Merge
from meshtrio.catalog.service import Service
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.catalog.stream import State, Stream
from meshtrio.catalog.vips import Vips
from meshtrio.config.discovery import Consul, DnsService, Kubernetes
from meshtrio.config.schema import Config
from meshtrio.discover.file import Followed, Fresh, Spoilt, follow
from meshtrio.discover.hub import Hub, Sink
from meshtrio.discover.probes import Probes
from meshtrio.identity.spiffe import namer
from meshtrio.observe import log
from meshtrio.offering import Offered
from meshtrio.publisher import Publisher
from meshtrio.registering import Registering

FIRST_WORD_S = 10.0
"""How long readiness waits for the first words of a registry. A mesh without one is better than no mesh."""
RESTART_S = 5.0
"""How soon a source begins anew that ended, which it does only by a bug."""

Wanted = Callable[[Config], Any]
"""Finds a source's settings in the configuration; nothing: it is off."""
Start = Callable[[Any, Sink], Awaitable[None]]


class Sources:
    """What feeds the catalog of one agent."""

    def __init__(
        self, config: Config, publisher: Publisher, published: Callable[[], None], *, private: bool = False
    ) -> None:
        """Begin with nothing; `published` is called after each new snapshot. `private`: nothing is kept."""
        self._config = config
        self._changed = trio.Event()
        self._publisher = publisher
        self._published = published
        vips = Vips()
        self.hub = Hub(Merge(vips), self._publish, publisher.is_awaited)
        publisher.asked = self.hub.asked
        registration = config.discovery.registration
        self.registering = Registering(
            replace(registration, state="") if private else registration, self.hub, vips
        )
        self.probes = Probes(self.hub, lambda: self._config.health_checks, publisher.asked_for)
        self.offered: Callable[[], Sequence[Offered]] = tuple
        """What the workloads of this node serve, if somebody wants to tell others."""
        self.file_fault = ""
        self.settled = False
        """Whether every source has said its first word, or had time for it."""
        self._file_read = trio.Event()
        self._refused: NoCatalog | None = None
        """Why the file could not be used when it was read for the first time, at the start."""

    def reconfigure(self, config: Config) -> None:
        """Let another configuration hold: sources whose settings changed begin anew."""
        self._config = config
        self._changed.set()
        self._changed = trio.Event()

    def _publish(self, snapshot: Snapshot) -> None:
        before = self._publisher.snapshot
        self._publisher.replace(snapshot)
        if snapshot is not before:
            self._published()
            log.debug("catalog", version=snapshot.version, services=len(snapshot))

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow every configured source until cancelled.

        Ready when each has said its first word, be it that it fails, or FIRST_WORD_S later; what they said is
        published then. NoCatalog, in a group, if the file cannot be used from the start: somebody named it,
        and there is no last good one. A registry may come later; a mistake stays one.
        """
        await self.registering.recall()
        async with trio.open_nursery() as sources:
            sources.start_soon(self.hub.run)
            sources.start_soon(self.registering.run)
            sources.start_soon(self.probes.keep_probing)
            kept: dict[str, tuple[Wanted, Start]] = {
                "file": (_file, self._follow_file),
                "kubernetes": (_kubernetes, _follow_kubernetes),
                "consul": (_consul, self._follow_consul),
                "dns": (_dns, _follow_dns),
            }
            for source, (wanted, start) in kept.items():
                sources.start_soon(self._keep, source, wanted, start)
            expected = {source for source, (wanted, _) in kept.items() if wanted(self._config)}
            if "file" in expected:
                await self._file_read.wait()
                if self._refused is not None:
                    raise self._refused
            with trio.move_on_after(FIRST_WORD_S):
                while self._silent(expected):
                    await trio.sleep(0.02)
            await self.hub.publish_changed()
            self.settled = True
            task_status.started()

    def _silent(self, expected: set[str]) -> bool:
        return any(_is_silent(self.hub.streams.get(source, {}).values()) for source in expected)

    async def _keep(self, source: str, wanted: Wanted, start: Start) -> None:
        """Let a source run while it is configured, and anew when its settings are others."""
        while True:
            settings = wanted(self._config)
            if not settings:
                self.hub.forget(source)
            async with trio.open_nursery() as life:
                if settings:
                    life.start_soon(self._run, source, settings, start)
                while wanted(self._config) == settings:
                    await self._changed.wait()
                life.cancel_scope.cancel()
            self.hub.streams.pop(source, None)

    async def _run(self, source: str, settings: Any, start: Start) -> None:
        sink = self.hub.sink(source)
        while True:
            try:
                await start(settings, sink)
            except Exception as bug:  # noqa: BLE001  a border: a source's bug must not end what it feeds
                log.bug("a source of the catalog failed by a bug of ours; it begins anew", bug)
                sink.stream(source).failed(f"a bug of ours: {type(bug).__name__}", time.time())
            await trio.sleep(RESTART_S * random.uniform(0.8, 1.2))

    async def _follow_consul(self, settings: Consul, sink: Sink) -> None:
        from meshtrio.discover.consul import follow_consul
        from meshtrio.discover.consul_register import Offer, register_workloads

        def offers() -> list[Offer]:
            # Without an address Consul takes that of its own node.
            return [Offer(one.id, one.name, "", one.port, one.identity) for one in self.offered()]

        async with trio.open_nursery() as both:
            if settings.register:
                both.start_soon(register_workloads, settings, offers)
            both.start_soon(follow_consul, settings, sink)

    async def _follow_file(self, path: str, sink: Sink) -> None:
        stream = sink.stream("file")
        # Full means that we are still busy with the last text; the file keeps the news.
        send, receive = trio.open_memory_channel[Fresh[tuple[Service, ...]] | Spoilt](1)
        try:
            async with trio.open_nursery() as following:
                following.start_soon(follow, Followed(path, read_services, DOCUMENT_BYTES), send)
                async for news in receive:
                    now = time.time()
                    if isinstance(news, Fresh):
                        await sink.say_all({service.key: service for service in news.value})
                        await self.hub.publish_changed()
                        stream.heard(1, now)
                        stream.lives(str(stream.events), now)
                        self.file_fault = ""
                        log.info(
                            "catalog",
                            version=self.hub.snapshot.version,
                            services=len(self.hub.snapshot),
                            file=path,
                        )
                    elif self.settled or self._file_read.is_set():
                        self.file_fault = str(news)
                        stream.failed(self.file_fault, now)
                        log.error(
                            "the catalog file cannot be used; the last good one holds", faults=str(news)
                        )
                    else:
                        self._refused = NoCatalog(path, news.faults)
                    self._file_read.set()
        finally:
            self.file_fault = ""


def _is_silent(streams: Collection[Stream]) -> bool:
    """Say whether a source is still busy with its first words. One stream that fails speaks for all."""
    states = {stream.state for stream in streams}
    return not states or (State.STARTING in states and not states & {State.RETRYING, State.REFUSED})


def _file(config: Config) -> str:
    return config.catalog.file


def _kubernetes(config: Config) -> tuple[Kubernetes, str, str] | None:
    settings, identity = config.discovery.kubernetes, config.identity
    return (settings, identity.template, identity.trust_domain) if settings.enabled else None


def _consul(config: Config) -> Consul | None:
    return config.discovery.consul if config.discovery.consul.address else None


def _dns(config: Config) -> tuple[tuple[DnsService, ...], tuple[str, ...]] | None:
    return (config.discovery.dns, config.dns.servers) if config.discovery.dns else None


async def _follow_kubernetes(settings: tuple[Kubernetes, str, str], sink: Sink) -> None:
    from meshtrio.catalog.kubernetes import Reducer
    from meshtrio.discover.kubernetes import follow_kubernetes

    cluster, template, trust_domain = settings
    await follow_kubernetes(cluster, sink, reducer=Reducer(namer(template, trust_domain)))


async def _follow_dns(settings: tuple[tuple[DnsService, ...], tuple[str, ...]], sink: Sink) -> None:
    from meshtrio.discover.dns_source import follow_dns

    services, servers = settings
    await follow_dns(services, sink, servers)
