"""Shell. A race of two tries of one call: while one is silent another begins, and the first that stands wins.

At most two are under way. If one fails, the other is the try, which may in time be hedged again. A try ends
in one of three ways. It stands: it is returned, and the other one is cancelled. It fails: it has told its
Hold so, as it would alone. Or it is called off, because another one stands or the whole call is over: then
its Hold says nothing of the endpoint, for nobody knows what would have become of it. Two may stand at one
moment, for a task that is about to return hears no cancel; then the first one to be heard wins, and the other
is closed.

No byte of a client passes before the race is over, so what is closed here has carried none.

Does not know how a try is made, nor who may be tried. Not entered where no hedges are asked for.
"""

import math
import time
from typing import NamedTuple, Protocol

import trio

from meshtrio.balance.port import Hold
from meshtrio.forward.tcp import close_with_reset
from meshtrio.outcome import Outcome
from meshtrio.secure.border import Passage


class Stood(NamedTuple):
    """A try that stands."""

    hold: Hold
    passage: Passage


class Tries(Protocol):
    """How to try."""

    async def stand(self, hold: Hold) -> Passage | None:
        """Make a try; None: it failed. Its hold is ended, unless a passage is returned."""

    def hedge(self) -> Hold | None:
        """Hold an endpoint for one more; None: there is none to be had."""


class _Race:
    """What the tries that are under way share."""

    def __init__(self) -> None:
        self.under_way = 0
        self.stood: Stood | None = None
        self.ended = trio.Event()


async def first_to_stand(first: Hold, tries: Tries, after_s: float) -> Stood | None:
    """Try where `first` leads, and beside a try that has been silent for so long elsewhere; None: all failed.

    When this returns or raises nothing is under way, and nothing is held but what is returned. Raises what a
    try raised, as it was and not in a group.
    """
    race = _Race()
    try:
        async with trio.open_nursery() as nursery:

            async def run(hold: Hold) -> None:
                passage = await tries.stand(hold)
                race.under_way -= 1
                race.ended.set()
                if passage is None:
                    return
                if race.stood is not None:
                    _drop(hold, passage)
                    return
                race.stood = Stood(hold, passage)
                nursery.cancel_scope.cancel()

            hold: Hold | None = first
            silent_at = math.inf
            while hold is not None or race.under_way:
                if hold is not None:
                    race.under_way += 1
                    nursery.start_soon(run, hold)
                    silent_at, hold = trio.current_time() + after_s, None
                race.ended = trio.Event()
                with trio.move_on_at(silent_at if race.under_way == 1 else math.inf) as patience:
                    await race.ended.wait()
                # What ended at that very moment needs no hedge.
                if patience.cancelled_caught and race.under_way == 1:
                    hold = tries.hedge()
                    silent_at = math.inf
        stood, race.stood = race.stood, None
    except BaseExceptionGroup as group:
        raise _plain(group) from None
    finally:
        if race.stood is not None:
            _drop(*race.stood)
    return stood


def _drop(hold: Hold, passage: Passage) -> None:
    """Close what stands and is not needed."""
    close_with_reset(passage.end)
    hold.ended(Outcome.DRAINED, time.monotonic())


def _plain(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Pick what a single try would have raised: a bug of ours if there is one, else the cancel."""
    bugs = group.split(trio.Cancelled)[1]
    found: BaseException = bugs or group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
