"""Shell. Registrations and allocated virtual IPs over restarts: the file is opened when it is needed, not
before. Knows the parts; each knows its own business.

An agent to whom nobody registers, and whose services all bring their virtual IPs, so carries no database.
"""

from typing import TYPE_CHECKING

import trio

from meshtrio.catalog.registered import NotOpen
from meshtrio.catalog.vips import Vips
from meshtrio.config.discovery import Registration
from meshtrio.discover.hub import Hub
from meshtrio.observe import log

if TYPE_CHECKING:
    from meshtrio.discover.registered import Registrar
    from meshtrio.discover.state import Store

KEEP_EVERY_S = 1.0
RECALL_S = 5.0
"""How long a dead disk may hold the start. Nearly all numbers follow from names anyway."""
LAST_S = 2.0
"""How long the last numbers may take to be written when we end."""


class Registering:
    """The registrar of one agent, if it needs one."""

    def __init__(self, settings: Registration, hub: Hub, vips: Vips) -> None:
        """Touch nothing yet."""
        self._settings, self._hub, self._vips = settings, hub, vips
        self._store: Store | None = None
        self._registrar: Registrar | None = None
        self._wanted = trio.Event()
        self._ready = trio.Event()

    @property
    def fault(self) -> str:
        """Why nothing would survive a restart; empty: it would."""
        return self._store.fault if self._store else ""

    async def registrar(self) -> "Registrar":
        """Give the registrar, which begins with this. NotOpen when the agent is ending."""
        self._wanted.set()
        await self._ready.wait()
        if self._registrar is None:
            raise NotOpen("the agent is ending, and registers nothing now; try again")
        return self._registrar

    async def recall(self) -> None:
        """Take what was kept, if anything: numbers of virtual IPs, before the first is allocated."""
        if self._settings.state and await trio.Path(self._settings.state).exists():
            self._wanted.set()
            with trio.move_on_after(RECALL_S):
                self._vips.recall(await self._opened().vips())

    async def run(self) -> None:
        """Keep what must survive, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_numbers)
                await self._wanted.wait()
                from meshtrio.discover.registered import Registrar

                store = self._opened() if self._settings.state else None
                registrar = Registrar(self._settings, self._hub.sink("registered"), store)
                await nursery.start(registrar.run)
                self._registrar = registrar
                self._ready.set()
                await trio.sleep_forever()
        finally:
            self._registrar = None
            self._ready.set()
            with trio.move_on_after(LAST_S, shield=True):
                # A restart must find the numbers that callers have learnt.
                await self._keep_fresh()
                if self._store is not None:
                    # Also those whose writing was cut off by our end.
                    await self._store.keep_vips({})
                    await self._store.aclose()

    def _opened(self) -> "Store":
        if self._store is None:
            from meshtrio.discover.state import Store

            self._store = Store(self._settings.state)
        return self._store

    async def _keep_numbers(self) -> None:
        while True:
            await self._keep_fresh()
            await trio.sleep(KEEP_EVERY_S)

    async def _keep_fresh(self) -> None:
        fresh, self._vips.fresh = self._vips.fresh, {}
        if fresh and self._settings.state:
            await self._opened().keep_vips(fresh)
            log.debug("numbers of virtual IPs are kept", count=len(fresh))
