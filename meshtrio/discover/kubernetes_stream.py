"""Shell. One stream of a Kubernetes API server, kept true: a list, then watches, and a list now and then.

    list -> watch -> watch -> ... -> list        the watches are short, each goes on where the last one ended
      ^       |
      +-- version forgotten (410), or time to resync; what is known stays until the new list says otherwise

What goes wrong is answered by waiting and trying again, never by ending. What is blocking runs in a thread,
which reads on only while what it read is being folded: that is the back-pressure. Does not know what the
objects mean.
"""

import random
import time
from collections.abc import Iterator

import trio

from meshtrio.catalog.kubernetes import Listing
from meshtrio.catalog.kubernetes_answer import (
    AnswerError,
    Batch,
    Change,
    Deleted,
    GoneError,
    Page,
    Put,
    Skipped,
)
from meshtrio.catalog.kubernetes_store import is_older
from meshtrio.catalog.kubernetes_topic import Api, Topic
from meshtrio.catalog.stream import Stream
from meshtrio.discover.kubernetes_call import REFUSALS, CallError, Fault
from meshtrio.discover.kubernetes_calls import Calls, TooLargeError, WatchWish
from meshtrio.discover.kubernetes_handover import Handover
from meshtrio.discover.kubernetes_patience import Patience
from meshtrio.discover.kubernetes_reach import Reach
from meshtrio.discover.kubernetes_voice import Voice

PAGE_OBJECTS = 500


class Follower:
    """Keeps one stream. `run` is its life."""

    def __init__(self, topic: Topic, reach: Reach, voice: Voice, resync_s: float) -> None:
        """Begin with nothing known."""
        self._topic = topic
        self._reach = reach
        self._line = reach.line()
        self._calls = Calls(self._line, topic, reach.pace)
        self._voice = voice
        self._resync_s = resync_s
        self._resync_at = 0.0
        self._api = topic.apis[0]
        self._listed: Api | None = None
        """What the last complete list was asked of."""
        self._version = ""
        """How far we are; empty: a list is wanted."""
        self._reached = ""
        """The greatest version that we have seen."""
        self._objects = PAGE_OBJECTS
        self._patience = Patience(reach.pace)
        self._record = self._recorded()

    def _recorded(self) -> Stream:
        record = self._voice.sink.stream(self._topic.named(self._api))
        record.essential = self._topic.essential
        return record

    async def run(self) -> None:
        """Keep what is known true until cancelled. Never raises for what the server does."""
        try:
            while True:
                try:
                    if not self._version or trio.current_time() >= self._resync_at:
                        await self._list()
                    await self._watch()
                except GoneError as gone:
                    await self._forget(gone)
                except (CallError, AnswerError) as error:
                    await self._suffer(error)
        finally:
            self._line.close()

    async def _forget(self, gone: GoneError) -> None:
        self._version = ""
        self._record.failed(f"the server has forgotten where we were: {gone}", time.time())
        await trio.sleep(self._patience.forgotten(random.random()))

    async def _suffer(self, error: CallError | AnswerError) -> None:
        refused = isinstance(error, CallError) and error.fault in REFUSALS
        self._record.failed(str(error), time.time(), refused=refused)
        self._voice.heard(self._topic)
        wait = self._patience.suffered(error, random.random())
        if wait.anew:
            self._version = ""
        if wait.looks_out:
            await self._reach.wait(wait.delay_s, was_out_of_reach=wait.was_out_of_reach)
        else:
            await trio.sleep(wait.delay_s)

    async def _list(self) -> None:
        """Take a complete list, of the best API that there is: it is looked for each time."""
        await self._voice.turn_of(self._topic)
        for api in self._topic.apis:
            try:
                version = await self._list_of(api)
                break
            except CallError as error:
                last = api is self._topic.apis[-1]
                if last or error.fault not in (Fault.MISSING, Fault.FORBIDDEN):
                    raise
        if self._listed is not None and self._listed.kind is not api.kind:
            await self._voice.fold(
                iter([Listing(self._voice.reducer, self._listed.kind, self._topic.namespace).end()])
            )
        self._listed = api
        self._version = self._reached = version
        self._patience.listed()
        self._resync_at = trio.current_time() + self._reach.pace.resync_in(self._resync_s, random.random())
        if api is not self._api:
            self._voice.sink.end_stream(self._topic.named(self._api))
            self._api = api
            self._record = self._recorded()
        await self._voice.listed(self._topic)
        self._record.lives(version, time.time())

    async def _list_of(self, api: Api) -> str:
        """Take all pages. A list whose continuation is forgotten begins again, once."""
        try:
            return await self._pages(api)
        except CallError as error:
            if error.fault is not Fault.GONE:
                raise
        return await self._pages(api)

    async def _pages(self, api: Api) -> str:
        listing = Listing(self._voice.reducer, api.kind, self._topic.namespace)
        more, version = "", ""
        while True:
            page = await self._page(api, more)
            if not version and is_older(page.version, self._reached):
                # etcd was restored from a backup: what is known is newer than what there will be.
                self._voice.reducer.rewind()
            version = page.version
            await self._voice.fold(_listed(listing, page, self._record))
            self._record.heard(len(page.changes), time.time())
            more = page.more
            if not more:
                await self._voice.fold(iter([listing.end(version)]))
                return version

    async def _page(self, api: Api, more: str) -> Page:
        def read() -> tuple[Page, bool]:
            return self._calls.page(api, self._objects, more)

        while True:
            try:
                page, roomy = await self._reach.in_thread(read, self._line.cut)
            except TooLargeError as error:
                if self._objects == 1:
                    raise AnswerError(f"one object makes {error}") from None
                self._objects = max(1, self._objects // 4)
                continue
            if roomy:
                self._objects = min(self._objects * 2, PAGE_OBJECTS)
            return page

    async def _watch(self) -> None:
        """Take what changes, until the server ends it, which it does within a minute."""
        pace, began, heard = self._reach.pace, trio.current_time(), self._record.events
        wish = WatchWish(self._version, pace.watch_for(self._resync_at - began, random.random()))
        handover = Handover[Batch](first_s=pace.soon_s, rest_s=pace.gather_s)
        trouble: Exception | None = None

        def cut() -> None:
            self._line.cut()
            handover.close()

        def watch() -> None:
            self._calls.watch(self._api, wish, handover.put)

        async with trio.open_nursery() as watching:
            watching.start_soon(self._take, handover)
            try:
                await self._reach.in_thread(watch, cut)
            except (CallError, GoneError, AnswerError) as error:
                trouble = error
            finally:
                handover.close()
        lasted_s = trio.current_time() - began
        if lasted_s >= min(pace.lasting_s, wish.for_s / 2):
            self._patience.well()
        if trouble is not None:
            raise trouble
        if lasted_s < pace.least_s and self._record.events == heard:
            raise CallError("the watch ended at once", Fault.FAILED)

    async def _take(self, handover: Handover[Batch]) -> None:
        """Fold what a watch brings, until all is folded."""
        while batches := await handover.take():
            changes = [change for batch in batches for change in batch.changes]
            await self._voice.fold(self._folding(changes))
            for version in (batch.version for batch in batches if batch.version):
                if is_older(version, self._reached):
                    self._resync_at = 0.0  # as in `_pages`
                else:
                    self._reached = version
                self._version = version
                self._patience.well()
            self._record.lives(self._version, time.time())
            if changes:
                self._record.heard(len(changes), time.time())

    def _folding(self, changes: list[Change]) -> Iterator[set[str]]:
        reducer, kind = self._voice.reducer, self._api.kind
        for change in changes:
            match change:
                case Put(one):
                    yield reducer.put(one)
                case Deleted(namespace, name, uid, version):
                    yield reducer.gone(kind, namespace, name, uid=uid, version=version)
                case Skipped(why):
                    self._record.skips(why)


def _listed(listing: Listing, page: Page, record: Stream) -> Iterator[set[str]]:
    for change in page.changes:
        match change:
            case Put(one):
                yield listing.page((one,))
            case Skipped(why, key):
                record.skips(why)
                yield listing.page((), unread=(key,))
