"""Core. One service port in one worker: who is picked for the next connection, and who holds how many. Does
not know what becomes of a connection, and does not keep breakers: it asks them who is blocked.

A pick is constant time beside the algorithm's own as long as nothing has changed: the tuple of endpoints is
the very same, the breakers say the same version, and no second of a slow start has passed. Else everybody is
sorted out anew (eligible.py), in time by the number of endpoints.

Weights: the endpoint's own (round robin: all alike), halved while its registry warns of it, and lower while
it starts (ramp.py). Algorithms that hash know no slow start: each second of it would move keys.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from meshtrio.balance import ewma
from meshtrio.balance.algorithm import HASHING
from meshtrio.balance.eligible import Eligible, Endpoints, Tier, is_usable, sorted_out
from meshtrio.balance.guarded import Guarded
from meshtrio.balance.member import Member
from meshtrio.balance.ramp import Ramps
from meshtrio.catalog.service import Health
from meshtrio.config.traffic import Settings

WEIGHTLESS = "weights_zero"
UNDERFLOW = "released_twice"
_MIX = 0x9E37_79B9_7F4A_7C15
_SPACE = 1 << 64


class Luck(Protocol):
    """The part of `random.Random` that is asked for."""

    def random(self) -> float:
        """Give a number from 0 up to but not including 1."""

    def getstate(self) -> tuple[Any, ...]:
        """Give what `setstate` goes back to."""

    def setstate(self, state: tuple[Any, ...]) -> None:
        """Go back, so that the same numbers come again."""


class Blocking(Protocol):
    """The part of breakers.PortBreakers that is asked."""

    def current(self, now: float) -> int:
        """Say a number that is the same as long as the same endpoints are blocked."""

    def blocked(self, now: float) -> frozenset[str]:
        """Name the endpoints that must not be picked."""

    def retain(self, endpoints: Collection[str]) -> None:
        """Know that these are all endpoints."""


class Balancer:
    """Picks, and counts what is reserved. `remarks` counts what an operator should know of, by a word.

    Bounded by the endpoints that it was given last and by those that still hold connections.
    """

    __slots__ = (
        "_alias", "_blocked", "_chosen", "_due", "_eligible", "_endpoints", "_far", "_members", "_owed",
        "_ramps", "_rest", "_start", "_version", "active", "breakers", "luck", "remarks", "settings", "zone",
    )  # fmt: skip

    def __init__(self, settings: Settings, breakers: Blocking, *, zone: str, start: int, luck: Luck) -> None:
        """`zone` is this node's; empty: it has none. `start` differs by worker: where turns begin."""
        self.breakers = breakers
        self.active = 0
        """Connections to all endpoints now."""
        self.remarks: Counter[str] = Counter()
        self._start, self.luck = start, luck
        self._members: dict[str, Member] = {}
        self._ramps = Ramps()
        self._owed = 0.0
        self._endpoints: Endpoints | None = None
        self._alias: Endpoints | None = None
        """A tuple that equals the known one: a service that is dialled at two addresses comes in two."""
        self._blocked: frozenset[str] = frozenset()
        self._eligible = Eligible(Tier.NONE)
        self._rest: list[Guarded] = []
        self.settings, self.zone = settings, zone
        self._chosen, self._far = self._guarded(settings), self._guarded(settings)
        self._version, self._due = -1, -math.inf

    def settle(self, settings: Settings, zone: str) -> None:
        """Let these settings hold from the next pick on.

        Members keep what they hold and how long they take. Only an algorithm that is another now begins anew.
        """
        before = self.settings
        self.settings, self.zone = settings, zone
        if (settings.algorithm, settings.bounded_load) != (before.algorithm, before.bounded_load):
            self._chosen, self._far = self._guarded(settings), self._guarded(settings)
        self._version, self._due = -1, -math.inf

    def pick(
        self, endpoints: Endpoints, now: float, key: int | None, tried: Collection[str] = ()
    ) -> Member | None:
        """Choose an endpoint that was not tried; None if there is none that may be called.

        `now` is monotonic seconds, `key` the hash of what the call is to be recognised by (None: it has
        none). To be reserved by `reserve` before anything else is picked.
        """
        if (
            (endpoints is not self._endpoints and endpoints is not self._alias)
            or now >= self._due
            or self.breakers.current(now) != self._version
        ):
            self._know(endpoints, now)
        picked = self._pick(now, key, tried)
        bound = self.settings.limits.per_endpoint
        if bound and picked is not None and picked.active >= bound:
            full = {name for name, member in self._members.items() if member.active >= bound}
            return self._pick(now, key, full.union(tried))
        return picked

    def _pick(self, now: float, key: int | None, tried: Collection[str]) -> Member | None:
        if self._eligible.share < 1:
            first, second = self._chosen, self._far
            if not self._is_home(key, tried):
                first, second = second, first
            picked = first.pick(now, key, tried) or second.pick(now, key, tried)
        else:
            picked = self._chosen.pick(now, key, tried)
        return picked if picked is not None or not self._eligible.rest else self._of_rest(now, tried)

    def reserve(self, member: Member) -> None:
        """Count a connection to this member; to be given back by `release`, once."""
        member.active += 1
        self.active += 1

    def release(self, member: Member) -> None:
        """Count a connection to this member no more. One too many changes nothing but `remarks`."""
        if member.active <= 0:
            self.remarks[UNDERFLOW] += 1
            return
        member.active -= 1
        self.active -= 1
        if not member.active and member.weight <= 0 and self._members.get(member.id) is member:
            del self._members[member.id]

    def measured(self, member: Member, took_s: float, now: float) -> None:
        """Learn how long this member took."""
        ewma.measured(member, took_s, now)

    @property
    def eligible(self) -> Eligible:
        """Who could be picked when something was picked last."""
        return self._eligible

    @property
    def members(self) -> Mapping[str, Member]:
        """All members by id: those of the endpoints that there are, and those that still hold connections."""
        return self._members

    def _know(self, endpoints: Endpoints, now: float) -> None:
        """Sort out who may be picked now, unless that is as it was."""
        is_known = endpoints is self._endpoints or endpoints == self._endpoints
        if not is_known:
            self.breakers.retain([one.id for one in endpoints])
            self._endpoints = endpoints
        self._alias = endpoints
        self._version, blocked = self.breakers.current(now), self.breakers.blocked(now)
        if is_known and blocked == self._blocked and now < self._due:
            return
        self._blocked = blocked
        ramp_s = 0.0 if self.settings.algorithm in HASHING else self.settings.slow_start_s
        self._ramps.see([one.id for one in endpoints if is_usable(one, blocked)], now, ramp_s)
        self._due = self._ramps.until(now)
        self._eligible = sorted_out(endpoints, self.settings, zone=self.zone, blocked=blocked)
        if self._eligible.weightless:
            self.remarks[WEIGHTLESS] += 1
        self._weigh(endpoints, now, ramp_s)
        self._chosen.replace([self._members[one.id] for one in self._eligible.chosen])
        self._far.replace([self._members[one.id] for one in self._eligible.far])
        for lot in self._rest:
            lot.replace(())

    def _weigh(self, endpoints: Endpoints, now: float, ramp_s: float) -> None:
        """Give everybody the weight of now, and forget who has gone and holds nothing."""
        kept = {name: member for name, member in self._members.items() if member.active}
        for member in kept.values():
            member.weight = 0.0  # gone, unless it is among the endpoints
        even = self.settings.algorithm == "round_robin" or self._eligible.weightless
        for one in endpoints:
            member = kept.get(one.id) or self._members.get(one.id) or Member(one)
            member.endpoint = one
            own = 1.0 if even else float(one.weight or 1)
            half = 0.5 if one.health is Health.WARNING else 1.0
            member.weight = own * half * self._ramps.share(one.id, now, ramp_s)
            kept[one.id] = member
        self._members = kept

    def _is_home(self, key: int | None, tried: Collection[str]) -> bool:
        """Say whether this pick is for the first choice, or one of those that spill over."""
        share = self._eligible.share
        if key is not None and self.settings.algorithm in HASHING:
            return key * _MIX % _SPACE < share * _SPACE
        if tried:
            # Further tries by luck: if they took turns with the first ones, those could fall into step.
            return self.luck.random() < share
        self._owed += share
        if self._owed < 1:
            return False
        self._owed -= 1
        return True

    def _of_rest(self, now: float, tried: Collection[str]) -> Member | None:
        for rank, group in enumerate(self._eligible.rest):
            if len(self._rest) <= rank:
                self._rest.append(self._guarded(Settings()))
            lot = self._rest[rank]
            if not lot.members:
                lot.replace([self._members[one.id] for one in group])
            picked = lot.pick(now, None, tried)
            if picked is not None:
                return picked
        return None

    def _guarded(self, settings: Settings) -> Guarded:
        return Guarded(settings, self._start, self.luck, self.remarks)
