"""Shell. What the Kubernetes streams learn becomes what their source says. Does not know where it comes from.

Folding and saying take turns with the rest of the agent: after some milliseconds others run. A key that
changes a hundred times before it is said is said once.
"""

import time
from collections.abc import Iterable, Iterator

import trio

from meshtrio.catalog.kubernetes import Reducer
from meshtrio.catalog.kubernetes_objects import Kind
from meshtrio.catalog.kubernetes_topic import Topic
from meshtrio.catalog.service import Service
from meshtrio.discover.hub import Sink

AT_ONCE_S = 0.003
"""How long one of us runs before others have their turn."""
A_LITTLE_S = 0.0003
"""What need not be followed by a turn of others."""


class Voice:
    """One cluster, as it is known, and the sink that hears of it."""

    def __init__(self, sink: Sink, reducer: Reducer, topics: Iterable[Topic], begin_s: float) -> None:
        """`begin_s`: how long the first word waits for what only adds to it."""
        self.sink = sink
        self.reducer = reducer
        self._begin_s = begin_s
        self._unheard = set(topics)
        self._unlisted = {topic for topic in self._unheard if topic.essential}
        self._pods = trio.Event()
        self._all_heard = trio.Event()
        self._spoken = trio.Event()
        self._touched: set[str] = set()
        """Services to be said. Bounded by the cluster, as are those parked."""
        self._parked: dict[str, set[str]] = {topic.namespace: set() for topic in self._unlisted}
        """By namespace, or all in one. They wait while their part of the cluster is not known whole: one
        whose endpoints are not listed yet would be said to have none."""
        self._news = trio.Event()
        self._turn = trio.StrictFIFOLock()
        self._note()

    async def fold(self, folding: Iterator[set[str]]) -> None:
        """Let the reducer take news, a bit at a time. Each step gives the keys that it has touched."""
        async with self._turn:
            began = time.perf_counter()
            for touched in folding:
                if touched:
                    self._touch(touched)
                if time.perf_counter() - began > AT_ONCE_S:
                    await trio.lowlevel.checkpoint()
                    began = time.perf_counter()
            if time.perf_counter() - began > A_LITTLE_S:
                # Within the turn: so others run between two streams' folding.
                await trio.lowlevel.checkpoint()

    async def turn_of(self, topic: Topic) -> None:
        """Wait until it is this topic's turn to list: slices come after the pods that they name, which costs
        the reducer less memory."""
        if topic.kind is Kind.SLICE:
            with trio.move_on_after(self._begin_s / 2):
                await self._pods.wait()

    def heard(self, topic: Topic) -> None:
        """Note that the first word of a stream is there, be it that it fails."""
        self._unheard.discard(topic)
        self._note()

    async def listed(self, topic: Topic) -> None:
        """Note that a stream has listed all that there is, and wait, for a while, until that is said."""
        if topic in self._unlisted:
            self._unlisted.discard(topic)
            if not any(one.namespace == topic.namespace for one in self._unlisted):
                self._touched |= self._parked.pop(topic.namespace)
            if not any(one.kind is Kind.SERVICE for one in self._unlisted):
                # What was said under other settings, and is not of these, nobody else would take back.
                self._touched |= self.sink.said() - self.reducer.keys()
            self._news.set()
        self.heard(topic)
        with trio.move_on_after(self._begin_s):
            await self._spoken.wait()

    def _touch(self, keys: set[str]) -> None:
        for key in keys:
            namespace = "" if "" in self._parked else key.partition("/")[0]
            self._parked.get(namespace, self._touched).add(key)
        self._news.set()

    def _note(self) -> None:
        if not any(topic.kind is Kind.POD for topic in self._unheard):
            self._pods.set()
        if not self._unheard:
            self._all_heard.set()

    async def speak(self) -> None:
        """Say what is news, until cancelled."""
        with trio.move_on_after(self._begin_s):
            await self._all_heard.wait()
        while True:
            self._news = trio.Event()
            while self._touched:
                self._say_some()
                await trio.lowlevel.checkpoint()
            self._spoken.set()
            await self._news.wait()

    def _say_some(self) -> None:
        words: dict[str, Service | None] = {}
        until = time.perf_counter() + AT_ONCE_S
        while self._touched and time.perf_counter() < until:
            key = self._touched.pop()
            words[key] = self.reducer.service(key)
        self.sink.say(words)
