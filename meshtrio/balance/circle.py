"""Core. Places in a circle, each owned by a member: who takes a call that falls on one? Does not hash.

The first member from there on that was not tried. With a bound on load, also one that is not full: a member
holds at most ceil(bound x its share of the connections, the new one counted in), as in Mirrokni, Thorup and
Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016). It counts the connections of this worker.
"""

from array import array
from collections.abc import Collection
from math import ceil

from meshtrio.balance.member import Member

RECOUNT = 16
"""All connections are counted again after a sixteenth as many picks as there are members, and each pick in
between counts as one more. So the bound is never too low, and lags behind endings by so many picks."""


class Circle:
    """The owners of all places, in order. `bound` is 0 for none, or how many times its share one may hold."""

    __slots__ = ("_active", "_bound", "_members", "_owners", "_until_recount", "_weight")

    def __init__(self, bound: float) -> None:
        self._bound = bound
        self._owners = array("I")
        self._members: dict[int, Member] = {}
        self._weight = 0.0
        self._active = 0
        self._until_recount = 0

    def replace(self, owners: "array[int]", members: dict[int, Member]) -> None:
        """Let the places belong to these: `owners` has the key in `members` for each.

        Each of `members` has a place at least. A place whose owner is not among them is passed over.
        """
        self._owners, self._members = owners, members
        self._weight = sum(member.weight for member in members.values())
        self._until_recount = 0

    def owner(self, at: int, tried: Collection[str]) -> Member | None:
        """Find the first from place `at` on; None if all were tried.

        If all that were not tried are full, the first of these has it.
        """
        owners = self._owners
        if not owners:
            return None
        if at >= len(owners):
            at = 0
        if not tried and not self._bound:
            member = self._members.get(owners[at])
            if member is not None:
                return member
        return self._walk(at, tried)

    def _walk(self, at: int, tried: Collection[str]) -> Member | None:
        owners, members = self._owners, self._members
        holds = self._held_by_each_unit() if self._bound else 0.0
        passed: set[int] = set()
        first = None
        while len(passed) < len(members):
            index = owners[at]
            at = at + 1 if at + 1 < len(owners) else 0
            member = members.get(index)
            if member is None or index in passed:
                continue
            passed.add(index)
            if member.id not in tried:
                if not holds or member.active < ceil(holds * member.weight):
                    return member
                first = first or member
        return first

    def _held_by_each_unit(self) -> float:
        """Say how many connections each unit of weight may hold now."""
        if self._until_recount <= 0:
            self._active = sum(member.active for member in self._members.values())
            self._until_recount = len(self._members) // RECOUNT
        else:
            self._until_recount -= 1
        self._active += 1
        return self._bound * self._active / self._weight
