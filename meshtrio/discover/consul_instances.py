"""Shell. Keep true which instances each service has: as many questions as there are places, in turns.

Does not know which services there are, nor how they are found to have changed.
"""

import random
import time
from collections.abc import Callable, Iterable

import msgspec
import trio

from meshtrio.catalog.consul_knowledge import Knowledge, News
from meshtrio.catalog.consul_turns import Turn, Turns, index_after
from meshtrio.catalog.stream import State, Stream
from meshtrio.config.discovery import Consul
from meshtrio.discover.consul_client import Answer, Client, Question
from meshtrio.discover.consul_pulse import Pulse, rest_s
from meshtrio.discover.consul_wire import Failed, Why
from meshtrio.discover.hub import Sink

APART_S = 0.05
"""How long two questions about the same thing are apart, if it changes all the time."""
TURN_S = 10.0
"""How long a question may block while others wait for its place."""
SWEEP_S = 5.0
"""How often all are asked at once because something, nobody says what, has changed, while they take turns."""
RESYNC_S = 300.0
TOLD_S = 0.2
"""How often the lowest and the highest index are looked for."""


class Watch(msgspec.Struct):
    """How far one question has come."""

    index: int = 0
    failures: int = 0
    anew_at: float = 0.0

    def question(self, wait_s: float, now: float) -> Question:
        """Say what to ask: for news, and every five minutes for everything."""
        if now >= self.anew_at:
            self.anew_at = now + RESYNC_S * random.uniform(0.9, 1.1)
            self.index = 0
        return Question(self.index, wait_s * random.uniform(0.9, 1.1))

    def answered(self, asked: Question, answer: Answer) -> bool:
        """Note how far an answer goes, and say whether there may be news in it."""
        self.index = index_after(asked.index, answer.index)
        return not asked.index or answer.index != asked.index

    def begin_anew(self) -> None:
        """Ask for everything next, and forget failures: Consul is back, or has another leader.

        One that has just come back may list nothing yet. That is a first failure, and must not wait for as
        long as after all those while it was gone.
        """
        self.index = self.failures = 0

    def failed(self, failed: Failed) -> float:
        """Note a failure; say how long to rest. The next question is about everything."""
        self.index = 0
        self.failures += 1
        return rest_s(failed.why, self.failures)


class Instances:
    """The questions for all services, and their one record."""

    def __init__(self, client: Client, settings: Consul, sink: Sink, knowledge: Knowledge) -> None:
        """Begin without services."""
        self.record: Stream = sink.stream("health")
        self._client, self._settings = client, settings
        self._sink, self._knowledge = sink, knowledge
        # Two more block: for the list of services, and for the checks.
        self._turns = Turns(settings.queries - 2)
        self._watches: dict[str, Watch] = {}
        self._failing: set[str] = set()
        self.answered: Callable[[str], None] = lambda name: None
        """Called when something may be different of a service."""
        self._news = trio.Event()
        self._complete = False
        self._told_at = 0.0
        self._swept_at, self._to_sweep = 0.0, False

    async def run(self, pulse: Pulse) -> None:
        """Ask, until cancelled."""
        async with trio.open_nursery() as questions:
            while True:
                self._news = trio.Event()
                now = trio.current_time()
                if self._to_sweep and now >= self._swept_at + SWEEP_S:
                    self._swept_at, self._to_sweep = now, False
                    self._turns.hurry(self._watches)
                for turn in self._turns.start(now):
                    questions.start_soon(self._ask, turn, pulse)
                start = self._turns.next_start()
                with trio.move_on_at(now + SWEEP_S if start is None else min(start, now + SWEEP_S)):
                    await self._news.wait()

    def become(self, names: frozenset[str], pulse: Pulse) -> None:
        """Let these be the services that there are, and look again: something is new of one of them."""
        pulse.interrupt(self._turns.become(names, trio.current_time()))
        for name in self._watches.keys() - names:
            del self._watches[name]
            self._failing.discard(name)
        for name in names - self._watches.keys():
            self._watches[name] = Watch()
        self._to_sweep = self._turns.crowded
        self._told()
        if not names:
            self.record.lives("", time.time())
        self._news.set()

    def hurry(self, names: Iterable[str]) -> None:
        """Ask about these now: they have changed."""
        self._turns.hurry(names)
        self._news.set()

    def restart(self) -> None:
        """Ask about all anew, and end their rests."""
        for watch in self._watches.values():
            watch.begin_anew()
        self._turns.wake(trio.current_time())
        self._news.set()

    async def _ask(self, turn: Turn, pulse: Pulse) -> None:
        name = turn.name
        # It is no longer there if the service went before its question began.
        watch = self._watches.get(name, Watch())
        question = Question()
        if turn.blocks:
            wait_s = self._settings.wait_s
            wait_s = min(TURN_S, wait_s) if self._turns.crowded else wait_s
            question = watch.question(wait_s, trio.current_time())
        rest = 0.0
        try:
            answer = await pulse.asked(name, self._client.instances(name, question))
            if answer is None:
                watch.begin_anew()
            else:
                if watch.answered(question, answer):
                    self._take(name, answer)
                watch.failures = 0
                self._well(name)
        except Failed as failed:
            rest = watch.failed(failed)
            self._unwell(name, failed)
        self._turns.done(name, trio.current_time() + APART_S, rest)
        self._news.set()

    def _take(self, name: str, answer: Answer) -> None:
        try:
            news = self._knowledge.answered(name, answer.body)
        except ValueError as wrong:
            raise Failed(Why.GARBLED, str(wrong)) from None
        self.record.heard(1, time.time())
        self.say(news)
        self.answered(name)

    def say(self, news: News) -> None:
        """Pass on what an answer changed; and once, when all have answered, that there are no others."""
        self._sink.say(news.changed)
        for skip in news.skips:
            self.record.skips(skip)
        self._told()

    def _told(self) -> None:
        if not self._complete and self._knowledge.complete:
            self._complete = True
            self._sink.say(self._knowledge.services, complete=True)

    def _well(self, name: str) -> None:
        self._failing.discard(name)
        now = trio.current_time()
        due = self.record.state is not State.LIVE or now >= self._told_at + TOLD_S
        if due and 2 * len(self._failing) < max(1, len(self._watches)):
            self._told_at = now
            indexes = [watch.index for watch in self._watches.values() if watch.index] or [0]
            self.record.lives(f"{min(indexes)}-{max(indexes)}", time.time())

    def _unwell(self, name: str, failed: Failed) -> None:
        """Note a failure. One service of many that fails says nothing against the others."""
        self.note(f"{name}: {failed}")
        if name in self._watches and failed.why not in (Why.GARBLED, Why.TOO_LARGE):
            self._failing.add(name)
        if failed.why in (Why.GARBLED, Why.TOO_LARGE):
            self.record.skips(f"the answer for {name}: {failed}")
        elif 2 * len(self._failing) >= len(self._watches):
            self.record.errors -= 1
            self.record.failed(f"{name}: {failed}", time.time(), refused=failed.why is Why.REFUSED)

    def note(self, says: str) -> None:
        """Note an error that says nothing of the stream as a whole."""
        self.record.errors += 1
        self.record.last_error = says[:500]
