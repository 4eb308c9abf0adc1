"""Shell. Probes: the connections by which we look ourselves whether endpoints live. Does not know what for.

One loop follows the catalog and the configuration, and starts what is due. Its own lateness is its measure
of the agent's: who was stopped or starved in the meantime must not blame the endpoints for the silence.
"""

import math
import random
import time
from collections.abc import Callable, Collection, Mapping

import trio

from meshtrio.address import Address
from meshtrio.catalog import probing
from meshtrio.catalog.agenda import Agenda
from meshtrio.catalog.attention import Attention, Circumstances
from meshtrio.catalog.merge import SOURCES
from meshtrio.catalog.probing import Answer, Result, Standing, Target
from meshtrio.catalog.roster import Roster
from meshtrio.catalog.service import Health
from meshtrio.config.discovery import HealthCheck
from meshtrio.discover.hub import Hub
from meshtrio.discover.probe import ask
from meshtrio.observe import log

AT_ONCE = 64
"""How many probes run at once. Full: those that are due wait, and the delay is counted."""
LOOK_S = 0.25
"""How often changes are looked for."""
FEW = 256
"""So many new targets are probed within a second; more at once are spread over their interval."""
LATE_S = 0.1
"""Below this, waking up late is the ordinary business of a busy machine."""
STALL_S = 2.0
"""After this much lateness, what is overdue is spread anew instead of asked all at once."""
BETWEEN = 64
"""How many services are followed before others have their turn."""


class _Watch:
    """What is known of one target."""

    __slots__ = ("last", "latency_s", "scope", "since", "standing", "target", "text")

    def __init__(self, target: Target, since: float) -> None:
        self.target = target
        self.standing = Standing()
        self.since = since
        self.last = 0.0
        self.text = ""
        self.latency_s = 0.0
        self.scope: trio.CancelScope | None = None
        """There while it is being probed."""

    def inherit(self, old: "_Watch") -> None:
        self.standing = Standing(old.standing.health)
        self.since, self.last, self.text = old.since, old.last, old.text


class Probes:
    """All probes of this agent."""

    def __init__(
        self,
        hub: Hub,
        checks: Callable[[], tuple[HealthCheck, ...]],
        wanted: Callable[[], Collection[str]],
    ) -> None:
        """Probe as `checks` says at each moment, and what `wanted` (keys) says while a source is lost."""
        self._hub, self._checks, self._wanted = hub, checks, wanted
        self.roster = Roster()
        self.running = 0
        self.ended = 0
        """How many probes have brought an answer."""
        self.delayed = 0
        """How many probes waited for others to end."""
        self.delay_s = 0.0
        """For how long, in all."""
        self._watches: dict[Target, _Watch] = {}
        self._agenda: Agenda[Target] = Agenda()
        self._said: dict[tuple[str, Address], Health] = {}
        self._attention = Attention()
        self._told_full = False
        self._wake = trio.Event()
        self._wake_at = math.inf
        self._stalled_s = 0.0

    def results(self) -> Mapping[tuple[str, Address], Result]:
        """Tell what is known by probing, by service key and address."""
        known = {}
        for key, address in self.roster.pairs():
            watches = [self._watches[target] for target in self.roster.at(key, address)]
            health = probing.worst(watch.standing.health for watch in watches)
            one = next(watch for watch in watches if watch.standing.health is health)
            known[key, address] = Result(health, one.since, one.last, one.text, one.latency_s)
        return known

    async def keep_probing(self) -> None:
        """Probe until cancelled, and tell the hub each change; then let the hub forget it all."""
        look_at = -math.inf
        try:
            async with trio.open_nursery() as probing_now:
                while True:
                    now = trio.current_time()
                    if now >= look_at:
                        await self._follow()
                        look_at = now + LOOK_S
                    while self.running < AT_ONCE and (watch := self._next_due()):
                        self.running += 1
                        probing_now.start_soon(self._probe, watch)
                    await self._rest(look_at)
        finally:
            for key, address in self._said:
                self._hub.probed(key, address, Health.UNKNOWN)
            self._said.clear()

    # Time

    async def _rest(self, until: float) -> None:
        """Sleep until something is due, and note by how much we overslept."""
        if self.running < AT_ONCE:
            until = min(until, self._agenda.soonest)
        self._wake_at, self._wake = until, trio.Event()
        with trio.move_on_at(until):
            await self._wake.wait()
        now = trio.current_time()
        late_s = self._late_s(now)
        self._stalled_s += late_s
        self._wake_at = math.inf
        if late_s > STALL_S:
            for target in self._agenda.overdue(now):
                self._enter(target, probing.first_due(now, target.manner, random.random(), spread=True))

    def _late_s(self, now: float) -> float:
        late_s = now - self._wake_at
        return late_s if late_s > LATE_S else 0.0

    def _enter(self, target: Target, due: float) -> None:
        self._agenda.enter(target, due)
        if due < self._wake_at:
            self._wake.set()

    def _next_due(self) -> _Watch | None:
        now = trio.current_time()
        taken = self._agenda.take(now)
        if taken is None:
            return None
        target, due = taken
        if now - due > LATE_S:
            self.delayed += 1
            self.delay_s += now - due
        return self._watches[target]

    # Probing

    async def _probe(self, watch: _Watch) -> None:
        began, stalled_s = trio.current_time(), self._stalled_s
        answer: Answer | None = None
        with trio.CancelScope() as watch.scope:
            answer = await ask(watch.target)
        watch.scope = None
        if self.running == AT_ONCE:
            self._wake.set()
        self.running -= 1
        if answer is None or self._watches.get(watch.target) is not watch:
            return  # nobody wants it any more
        self.ended += 1
        now, manner = trio.current_time(), watch.target.manner
        late_s = self._stalled_s - stalled_s + self._late_s(now)
        good = probing.COUNTS[answer.finding, late_s > manner.timeout_s / 4]
        before = watch.standing
        watch.last, watch.text, watch.latency_s = time.time(), answer.text, answer.latency_s
        if good is not None:
            watch.standing = probing.after(before, manner, good=good)
        else:
            watch.text = probing.told(f"not counted: {answer.text}")
        changed = watch.standing.health is not before.health
        self._enter(watch.target, max(now, probing.next_due(began, manner, random.random(), changed=changed)))
        if changed:
            watch.since = watch.last
            for key in self.roster.keys(watch.target):
                self._say(key, watch.target.address, answer.text)

    def _say(self, key: str, address: Address, why: str = "") -> None:
        """Tell the hub how an endpoint is, if that is news."""
        watches = [self._watches[target] for target in self.roster.at(key, address)]
        found = probing.worst(watch.standing.health for watch in watches)
        if found is self._said.get((key, address), Health.UNKNOWN):
            return
        if found is Health.UNKNOWN:
            del self._said[key, address]
        else:
            self._said[key, address] = found
            log.info("an endpoint is probed", service=key, address=str(address), found=found.value, why=why)
        self._hub.probed(key, address, found)

    # Following

    async def _follow(self) -> None:
        """Let what is probed be what catalog, configuration and workers want."""
        lost = frozenset(filter(self._hub.merge.lost, SOURCES))
        dialled = frozenset(self._wanted()) if lost else frozenset()
        circumstances = Circumstances(self._hub.snapshot, self._checks(), lost, dialled)
        fresh: list[Target] = []
        for at, key in enumerate(self._attention.turn(circumstances), 1):
            fresh += self._take(key)
            if at % BETWEEN == 0:
                await self._give_way()
        for key in [*self.roster.refused]:
            if self.roster.is_full:
                break
            fresh += self._take(key)
            await self._give_way()
        now, spread = trio.current_time(), len(fresh) > FEW
        for target in fresh:
            self._enter(target, probing.first_due(now, target.manner, random.random(), spread=spread))
        if self.roster.refused and not self._told_full:
            log.warning("too many endpoints to probe; some are not", most=len(self.roster))
        self._told_full = bool(self.roster.refused)

    def _take(self, key: str) -> tuple[Target, ...]:
        """Let what is probed of one service be what it should. What is new comes back, to be entered."""
        targets = self._attention.targets(key, self._hub.merge.lost_words(key))
        turnover = self.roster.want(key, targets)
        old: dict[Address, _Watch] = {}
        for target in turnover.dropped:
            watch = old[target.address] = self._watches.pop(target)
            self._agenda.strike(target)
            if watch.scope is not None:
                watch.scope.cancel()
        for target in turnover.added:
            watch = self._watches[target] = _Watch(target, time.time())
            if target.address in old:
                # Another check of the same endpoint: it stays as it is held until this one knows better.
                watch.inherit(old[target.address])
        for address in turnover.addresses:
            self._say(key, address, "as its check is now")
        return turnover.added

    async def _give_way(self) -> None:
        """Let others have their turn, as if we slept until now."""
        self._wake_at = trio.current_time()
        await trio.lowlevel.checkpoint()
        self._stalled_s += self._late_s(trio.current_time())
        self._wake_at = math.inf
