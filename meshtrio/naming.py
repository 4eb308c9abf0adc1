"""Shell. DNS capture of one agent: a resolver behind every door for queries, and its sign of life.

Knows doors and the resolver; neither knows the other. The hooks leave queries alone as soon as the sign of
life is missing, so an agent that dies takes nobody's names along.
"""

import trio

from meshtrio.config.discovery import Dns
from meshtrio.intercept.dns_door import DnsDoor
from meshtrio.intercept.layout import BEAT_OF_RESOLVER
from meshtrio.intercept.tables import Heartbeat
from meshtrio.observe import log
from meshtrio.resolver.resolver import Resolver

BEAT_S = 1.0
RESTART_S = 1.0
"""Those who ask ask again after five seconds."""


class Naming:
    """The doors for queries that are open, each served."""

    def __init__(self, resolver: Resolver) -> None:
        """Begin without a door."""
        self.resolver = resolver
        self._doors: dict[DnsDoor, trio.CancelScope] = {}
        self._waiting: list[DnsDoor] = []
        self._news = trio.Event()
        self._heartbeat: Heartbeat | None = None

    @property
    def doors(self) -> int:
        """How many doors are open."""
        return len(self._doors)

    def use_map(self, heartbeat: int) -> None:
        """Give signs of life in this kernel map from now on."""
        self._heartbeat = Heartbeat(heartbeat, BEAT_OF_RESOLVER)

    def replace(self, settings: Dns, *, datacenter: str) -> None:
        """Let other settings hold for queries from now on."""
        self.resolver.datacenter = datacenter
        self.resolver.settings = settings

    def opened(self, door: DnsDoor) -> None:
        """Serve a door from now on."""
        self._doors[door] = trio.CancelScope()
        self._waiting.append(door)
        self._news.set()

    def closed(self, door: DnsDoor) -> None:
        """Serve a door no more."""
        self._doors.pop(door, trio.CancelScope()).cancel()

    async def run(self) -> None:
        """Serve doors until cancelled; then the hooks know at once that nobody does."""
        try:
            async with trio.open_nursery() as serving:
                serving.start_soon(self._beat)
                while True:
                    self._news = trio.Event()
                    while self._waiting:
                        serving.start_soon(self._serve, self._waiting.pop())
                    await self._news.wait()
        finally:
            if self._heartbeat is not None:
                self._heartbeat.silence()

    async def _serve(self, door: DnsDoor) -> None:
        scope = self._doors.get(door)
        if scope is None:
            return
        with scope:
            while True:
                try:
                    await self.resolver.serve(door)
                except Exception as bug:  # noqa: BLE001  a border: one door's bug must not end the agent
                    log.bug("serving queries failed by a bug of ours; it begins anew", bug)
                await trio.sleep(RESTART_S)

    async def _beat(self) -> None:
        while True:
            if self._heartbeat is not None:
                self._heartbeat.beat()
            await trio.sleep(BEAT_S)
