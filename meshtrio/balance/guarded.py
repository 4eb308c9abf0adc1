"""Core. The configured algorithm, and what stands in when it cannot choose. Does not know who is eligible.

A call is never lost for a fault in an algorithm: its place is taken by round robin, then by luck, then by
the first member that was not tried. What happened is counted. An algorithm that failed is left alone until
the members change, and then made anew. (One that never returns cannot be helped here: the worker's own
watchdog ends it.)

Calls without a key are no fault of an algorithm that hashes, but all of them would go to one member: they
take turns, and that is counted too, for a `hash_key` that no call ever has is a mistake.

Round robin knows no weights. While some of its members have not their whole weight (a warning, slow start),
smooth weighted turns stand in for it, and later its own go on where they were.
"""

from collections import Counter
from collections.abc import Collection, Sequence

from meshtrio.balance.algorithm import HASHING, Algorithm, make
from meshtrio.balance.member import Member
from meshtrio.balance.random_choice import Luck
from meshtrio.config.traffic import Settings

FAILED = "algorithm_failed"
NO_KEY = "no_key"


class Guarded:
    """Chooses among the members it was given last, whatever the algorithm does."""

    __slots__ = (
        "_algorithm",
        "_hashes",
        "_known",
        "_luck",
        "_members",
        "_remarks",
        "_settings",
        "_start",
        "_turns",
    )

    def __init__(self, settings: Settings, start: int, luck: Luck, remarks: Counter[str]) -> None:
        """`remarks` is where is counted: FAILED, NO_KEY. `start` is where turns begin."""
        self._settings, self._start, self._luck, self._remarks = settings, start, luck, remarks
        self._hashes = settings.algorithm in HASHING
        self._known: dict[str, Algorithm] = {}
        self._algorithm: Algorithm | None = None
        """None: it has failed, or there are no members yet."""
        self._turns: Algorithm | None = None
        """What stands in; made when it is needed for the first time."""
        self._members: Sequence[Member] = ()

    @property
    def members(self) -> Sequence[Member]:
        """Who may be chosen."""
        return self._members

    def replace(self, members: Sequence[Member]) -> None:
        """Choose among exactly these from now on; what the algorithm knows of those that stay is kept."""
        self._members = members
        name = self._settings.algorithm
        if name == "round_robin" and any(one.weight != members[0].weight for one in members):
            name = "weighted"
        try:
            algorithm = self._known.get(name) or self._make(name)
            algorithm.replace(members)
        except Exception:  # noqa: BLE001 - whatever it is, calls go on
            self._failed()
        else:
            self._algorithm = self._known[name] = algorithm
        if self._turns is not None:
            self._turns.replace(members)

    def pick(self, now: float, key: int | None, tried: Collection[str]) -> Member | None:
        """Give a member whose id is not in `tried`; None if there is none."""
        if key is None and self._hashes:
            self._remarks[NO_KEY] += 1
        elif self._algorithm is not None:
            try:
                return self._algorithm.pick(now, key, tried)
            except Exception:  # noqa: BLE001 - as above
                self._failed()
        return self._in_turn(now, tried)

    def _in_turn(self, now: float, tried: Collection[str]) -> Member | None:
        try:
            if self._turns is None:
                turns = self._make("round_robin")
                turns.replace(self._members)
                self._turns = turns
            return self._turns.pick(now, None, tried)
        except Exception:  # noqa: BLE001 - as above
            self._remarks[FAILED] += 1
            self._turns = None
        left = [one for one in self._members if one.id not in tried]
        return left[int(self._luck.random() * len(left))] if left else None

    def _failed(self) -> None:
        self._remarks[FAILED] += 1
        self._algorithm = None
        self._known.clear()

    def _make(self, name: str) -> Algorithm:
        return make(name, start=self._start, luck=self._luck, bounded_load=self._settings.bounded_load)
