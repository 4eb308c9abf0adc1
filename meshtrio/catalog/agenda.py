"""Core. What is due when, soonest first. Does not know what it is, nor the clock."""

import heapq
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Agenda(Generic[T]):
    """Things and the times at which they are due. Bounded by what is entered: each thing stands here once."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._due: dict[T, float] = {}
        # A thing that was entered again or struck leaves its old entry behind, to be passed over.
        self._heap: list[tuple[float, int, T]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._due)

    @property
    def soonest(self) -> float:
        """When the first thing is due; infinite: never."""
        self._pass_over()
        return self._heap[0][0] if self._heap else math.inf

    def enter(self, thing: T, due: float) -> None:
        """Let a thing be due then, and not when it was due before."""
        self._due[thing] = due
        self._number += 1
        # The number keeps things themselves from being compared.
        heapq.heappush(self._heap, (due, self._number, thing))
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [(due, number, thing) for number, (thing, due) in enumerate(self._due.items())]
            heapq.heapify(self._heap)

    def strike(self, thing: T) -> None:
        """Let a thing be due no more, if it was."""
        self._due.pop(thing, None)

    def take(self, now: float) -> tuple[T, float] | None:
        """Take out the thing that is due first, and tell when it was; None: nothing is due yet."""
        self._pass_over()
        if not self._heap or self._heap[0][0] > now:
            return None
        due, _, thing = heapq.heappop(self._heap)
        del self._due[thing]
        return thing, due

    def overdue(self, now: float) -> list[T]:
        """List everything that was due before now."""
        return [thing for thing, due in self._due.items() if due < now]

    def _pass_over(self) -> None:
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
