"""Shell. The way from tasks to a server that is only to be had by blocking: threads, and when to try again.

Does not know what is asked of the server.
"""

import gc
import random
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import trio

from meshtrio.config.discovery import Kubernetes
from meshtrio.discover.kubernetes_call import CallError, Fault
from meshtrio.discover.kubernetes_pace import Pace

if TYPE_CHECKING:
    from meshtrio.discover.kubernetes_client import Line

ENDING_S = 1.0
"""How long a cancelled task waits for its thread. Only the look-up of a name, and a plugin, take longer."""

_T = TypeVar("_T")


def _lines(settings: Kubernetes) -> "Callable[[], Line]":
    is_first = "kubernetes" not in sys.modules
    # 37 MB and a quarter of a second, which is why it is imported in a thread, and only if it is wanted.
    from meshtrio.discover.kubernetes_access import Access
    from meshtrio.discover.kubernetes_client import Line

    if is_first:
        # What it made lives for ever. To look at it in each full collection would hold all tasks up, for 30
        # ms on a quiet machine and 200 ms on a busy one.
        gc.freeze()
    access = Access(settings)
    return lambda: Line(access)


async def find_reach(settings: Kubernetes, pace: Pace, streams: int) -> "Reach":
    """Make ready to reach the server that is configured, with so many streams. Nothing is connected yet."""
    return Reach(await trio.to_thread.run_sync(_lines, settings), pace, streams)


class Reach:
    """How the server of one cluster is reached."""

    def __init__(self, line: "Callable[[], Line]", pace: Pace, streams: int) -> None:
        """`line` makes a line for one stream."""
        self.line = line
        self.pace = pace
        # Never full: a thread a stream, and one that looks out. A limit of our own, for trio's is for work
        # that ends.
        self._limiter = trio.CapacityLimiter(streams + 1)
        self._outlook = line()
        self._wanted = trio.Event()
        self._looked = trio.Event()
        self._is_there = False

    def close(self) -> None:
        """Close what `look_out` has opened."""
        self._outlook.close()

    async def in_thread(self, call: Callable[[], _T], cut: Callable[[], None]) -> _T:
        """Run what blocks until `cut` is called. Cancelled, that is done, and the thread has ended; it is
        waited for, a second at most."""
        token = trio.lowlevel.current_trio_token()
        ended = trio.Event()

        def run() -> _T:
            try:
                return call()
            finally:
                token.run_sync_soon(ended.set)

        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            return await trio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._limiter)
        except trio.Cancelled:
            cut()
            with trio.move_on_after(ENDING_S, shield=True):
                await ended.wait()
            raise

    async def wait(self, delay_s: float, *, was_out_of_reach: bool) -> None:
        """Wait so long; shorter if the server answers again after it did not, as far as `look_out` runs.

        So a long back-off does not mean that the truth comes late, and a server that answers, but not well,
        is not asked more often than the back-off says.
        """
        with trio.move_on_after(delay_s):
            missed = was_out_of_reach
            while True:
                self._wanted.set()
                await self._looked.wait()
                if self._is_there and missed:
                    return
                missed = missed or not self._is_there

    async def look_out(self) -> None:
        """Look whether the server is there, now and then, while somebody waits for it; until cancelled.

        One task for all streams: a look is no stream's own, and so is not cut when that has waited enough.
        """
        while True:
            await self._wanted.wait()
            await trio.sleep(self.pace.look_s * random.uniform(0.8, 1.2))
            self._wanted = trio.Event()
            self._is_there = await self.in_thread(self._knock, self._outlook.cut)
            self._looked.set()
            self._looked = trio.Event()

    def _knock(self) -> bool:
        try:
            with self._outlook.get("/readyz", {}, self.pace.look_s, self.pace.look_s):
                return True
        except CallError as error:
            return error.fault not in (Fault.UNREACHABLE, Fault.FAILED)
