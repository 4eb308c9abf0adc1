"""Shell. A catalog with probes whose answers the test gives. Does not connect to anything."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from meshtrio.address import Address
from meshtrio.catalog.merge import Merge
from meshtrio.catalog.probing import Answer, Finding, Target
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.catalog.vips import Vips
from meshtrio.config.discovery import HealthCheck
from meshtrio.discover.hub import Hub
from meshtrio.discover.probes import Probes

KEY = "default/web"
CHECK = HealthCheck("web", port="http", type="http")


def at(host: int) -> Address:
    return Address.of(f"10.0.{host >> 8}.{host & 255}", 80)


def service(name: str, *hosts: int) -> Service:
    ends = tuple(Endpoint(str(host), at(host)) for host in hosts)
    return Service(name, vips=(bytes(16),), ports=(ServicePort("http", 80, ends),))


class World:
    """A catalog, a configuration, and endpoints that answer as the test says."""

    def __init__(self) -> None:
        self.hub = Hub(Merge(Vips()), lambda snapshot: None)
        self.checks: tuple[HealthCheck, ...] = (CHECK,)
        self.wanted: set[str] = set()
        self.probes = Probes(self.hub, lambda: self.checks, lambda: self.wanted)
        self.asked: list[tuple[float, Target]] = []
        self.cancelled: list[Target] = []
        self.ill: set[int] = set()
        self.answer: Callable[[Target], Awaitable[Answer]] | None = None

    async def ask(self, target: Target) -> Answer:
        self.asked.append((round(trio.current_time(), 3), target))
        if self.answer is not None:
            try:
                return await self.answer(target)
            except trio.Cancelled:
                self.cancelled.append(target)
                raise
        await trio.lowlevel.checkpoint()
        ill = target.address in map(at, self.ill)
        return Answer(Finding.FAILED if ill else Finding.PASSED, "no" if ill else "yes", 0.001)

    def say(self, source: str, *services: Service) -> None:
        self.hub.sink(source).say({one.key: one for one in services}, complete=True)
        self.hub.publish_now()

    def times(self, host: int) -> list[float]:
        return [when for when, target in self.asked if target.address == at(host)]

    def health(self, host: int, key: str = KEY) -> Health:
        self.hub.publish_now()
        found = self.hub.snapshot.service(key)
        assert found is not None
        return next(one.health for one in found.endpoints if one.address == at(host))

    def found(self, host: int, key: str = KEY) -> Health:
        return self.probes.results()[key, at(host)].health

    @asynccontextmanager
    async def probing(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.probes.keep_probing)
            yield
            nursery.cancel_scope.cancel()

    def lose(self, source: str, lost: bool = True) -> None:
        self.hub._unpublished.add(self.hub.merge.lose(source, lost=lost))
