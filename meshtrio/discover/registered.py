"""Shell. The source of registered endpoints: holds them, lets them expire, tells the catalog. Does not know
HTTP, nor how they are kept over a restart.

Time is the monotonic clock, so nobody who sets the wall clock makes anything expire. A put or a delete is
answered once it is on the disk.
"""

import time

import trio

from meshtrio.catalog.registered import Answer, Full, Held, NotOpen, Registrations, Verdict
from meshtrio.catalog.registrant import Name, Registrant
from meshtrio.config.discovery import Registration
from meshtrio.discover.archive import Archive
from meshtrio.discover.hub import Sink
from meshtrio.discover.state import Store
from meshtrio.observe import log

GROUP_S = 0.02
"""How long two words to the catalog are apart at least."""
LOOK_S = 0.25
"""How often it is looked what is due."""
START_S = 10.0
"""How long the first reading may hold the start. It goes on later."""
STOP_S = 2.0
"""How long the last writing may take when we are stopped."""


class Registrar:
    """Everything that is registered."""

    def __init__(self, settings: Registration, sink: Sink, store: Store | None) -> None:
        """Begin with nothing. `store` is where it is kept, or None: nowhere. Whoever gives it closes it."""
        self._held = Registrations(settings.endpoints)
        self._sink = sink
        self._stream = sink.stream("registrations")
        self._archive = Archive(self._held, store, self._stream)
        self._open = False
        self._touched: set[str] = set()
        """Services that the catalog must be told of. As many as there are registrations at most, and as were
        deleted within GROUP_S."""
        self._news = trio.Event()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the catalog and the disk true until cancelled; started when what was kept is in the catalog.

        A disk that cannot be read holds the start for START_S at most, and is read when it can be.
        When this returns, all that was registered is on the disk, unless the disk does not want it.
        """
        with trio.move_on_after(START_S):
            await self._archive.flush()
        self._sink.say({key: self._held.service(key) for key in self._held.keys}, complete=True)
        self._stream.lives(f"{len(self._held)} held", time.time())
        self._open = True
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell)
                nursery.start_soon(self._archive.keep)
        finally:
            self._open = False
            with trio.move_on_after(STOP_S, shield=True):
                # A clean stop loses nothing, and a dead disk does not stop the stopping.
                await self._archive.flush()

    async def put(self, one: Registrant) -> Answer:
        """Register an endpoint, or renew it. Full: it is new, and there is no room."""
        self._must_be_open()
        verdict = self._held.put(one, trio.current_time())
        if verdict is Verdict.FULL:
            raise Full(f"{self._held.bound} endpoints are registered, and there may be no more")
        held = self._held.held(one.name)
        assert held is not None
        if verdict is Verdict.RENEWED:
            self._archive.renewed(held)
        else:
            self._changed(one.name)
        return _answer(held, durable=await self._archive.durable(one.name))._replace(
            created=verdict is Verdict.CREATED
        )

    async def renew(self, name: Name) -> Answer | None:
        """Let a registration's time begin anew; None if there is none."""
        self._must_be_open()
        held = self._held.renew(name, trio.current_time())
        if held is None:
            return None
        self._archive.renewed(held)
        return _answer(held, durable=await self._archive.durable(name))

    async def delete(self, name: Name) -> bool:
        """Drop a registration; False if there is none."""
        self._must_be_open()
        there = self._held.delete(name)
        if there:
            self._changed(name)
        await self._archive.durable(name)
        return there

    def find(self, name: Name) -> Answer | None:
        """Find a registration."""
        self._must_be_open()
        held = self._held.held(name)
        return held and _answer(held, durable=self._archive.current)

    def _must_be_open(self) -> None:
        if not self._open:
            raise NotOpen("the agent is starting or stopping, and registers nothing now")

    def _changed(self, name: Name) -> None:
        self._archive.changed(name)
        self._touched.add(name.key)
        self._news.set()

    async def _tell(self) -> None:
        while True:
            with trio.move_on_after(LOOK_S):
                await self._news.wait()
            self._news = trio.Event()
            expired = self._held.expire(trio.current_time())
            for name in expired:
                self._changed(name)
            if expired:
                log.info("registrations expired", count=len(expired), first=" ".join(expired[0]))
            if self._touched:
                touched, self._touched = self._touched, set()
                self._sink.say({key: self._held.service(key) for key in touched})
                self._stream.heard(len(touched), time.time())
                self._stream.lives(f"{len(self._held)} held", time.time())
            await trio.sleep(GROUP_S)


def _answer(held: Held, *, durable: bool) -> Answer:
    return Answer(held.registrant, max(held.deadline - trio.current_time(), 0.0), durable)
