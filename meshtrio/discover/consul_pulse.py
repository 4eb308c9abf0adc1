"""Shell. Whether Consul is there: who leads it, asked every two seconds, and what follows from the answer.

Questions that block say nothing for half a minute, also when nobody is there any more, and those that have
failed rest for up to half a minute. A short question between them tells both at once: when Consul comes
back, or has another leader, or we have another token, all questions under way are given up, all rests end,
and everything is asked anew. It also tells of a Consul that was gone for less than anyone noticed: then its
connection, which is used by nothing else, is another. Does not know what is asked.
"""

import random
import time
from collections.abc import Awaitable, Callable

import trio

from meshtrio.catalog.consul_turns import backoff_s
from meshtrio.catalog.stream import Stream
from meshtrio.discover.consul_client import Answer, Client
from meshtrio.discover.consul_wire import Failed, Why
from meshtrio.observe import log

BEAT_S = 2.0
BEAT_APART_S = 0.5
"""How long two beats are apart at least, whoever raises the alarm."""
BEAT_TIMEOUT_S = 2.0
REFUSED_S = 15.0


def rest_s(why: Why, failures: int) -> float:
    """Say how long to rest after so many failures in a row, the last of this kind."""
    if why is Why.REFUSED:
        return REFUSED_S * random.uniform(0.8, 1.2)
    return backoff_s(failures, random.random())


class Pulse:
    """What all questions have in common: one Consul, there or not."""

    def __init__(self, client: Client, record: Stream, restarted: Callable[[], None]) -> None:
        """Begin in good hope. `restarted` is called when everything is to be asked anew."""
        self._client = client
        self._record = record
        self._restarted = restarted
        self._alarm = trio.Event()
        self._woken = trio.Event()
        self._asking: dict[str, trio.CancelScope] = {}
        self._refused = False

    async def run(self) -> None:
        """Look after Consul until cancelled."""
        well, leader, losses = True, "", 0
        while True:
            if self._refused or self._client.files_changed():
                self._refused = False
                if await self._client.renew():
                    self._restart()
            try:
                with trio.fail_after(BEAT_TIMEOUT_S):
                    found = await self._client.leader()
            except (Failed, trio.TooSlowError) as failed:
                refused = isinstance(failed, Failed) and failed.why is Why.REFUSED
                self._record.failed(str(failed) or "no answer in time", time.time(), refused=refused)
                well = False
            else:
                self._record.lives(found, time.time())
                if not well or leader not in ("", found) or losses != self._client.losses:
                    log.info("consul is back, or has another leader: asking everything anew", leader=found)
                    self._record.heard(1, time.time())
                    self._restart()
                well, leader, losses = True, found, self._client.losses
            self._alarm = trio.Event()
            await trio.sleep(BEAT_APART_S)
            with trio.move_on_after(BEAT_S - BEAT_APART_S):
                await self._alarm.wait()

    async def asked(self, key: str, question: Awaitable[Answer]) -> Answer | None:
        """Await an answer, or None if the question was interrupted. Raises Failed."""
        with trio.CancelScope() as scope:
            self._asking[key] = scope
            try:
                return await question
            except Failed as failed:
                self._refused |= failed.why is Why.REFUSED
                if failed.why in (Why.NETWORK, Why.SERVER):
                    self._alarm.set()
                raise
            finally:
                del self._asking[key]
        return None

    async def rest(self, why: Why, failures: int) -> bool:
        """Wait before the next try, or until there is reason to hope. True: there is, so past failures say
        nothing about the next one."""
        with trio.move_on_after(rest_s(why, failures)):
            await self._woken.wait()
            return True
        return False

    def interrupt(self, keys: set[str]) -> None:
        """Give up questions whose answers nobody wants any more."""
        for key in keys & self._asking.keys():
            self._asking[key].cancel()

    def _restart(self) -> None:
        self.interrupt(set(self._asking))
        self._woken.set()
        self._woken = trio.Event()
        self._restarted()
