"""Shell. The agent's part in breakers: what one worker or the hooks saw, all hear; and what an operator says.

Counts go on to the other workers as they come, and are added up while one does not read. What breakers came
to stands in the table of the fleet, so that a worker which is started again knows it. Decides nothing.
"""

import time
from collections.abc import Callable, Iterable

from meshtrio.balance.board import Board
from meshtrio.balance.breaker_table import Force
from meshtrio.fleet import Fleet, Seat
from meshtrio.messages import KnowBreakers, Observed, SeenElsewhere
from meshtrio.observe import log

RELAYED = 10_000
"""How many endpoints' counts may wait for one worker. Full: further endpoints' are not told, and counted."""
PRUNE_S = 60.0
_LATELY = ("breakers seen",)


class BreakerBoard:
    """The breakers of all service ports, as one agent knows them."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing known. The clock is the one that the workers read."""
        self._fleet = fleet
        self.clock = clock
        self._prunes_at = 0.0
        self.board = Board()
        self.changed: Callable[[str], object] = str
        """Called with the name of a port of which breakers came to something else, or are held otherwise."""
        self.untold = 0
        """How many counts were not told because too many were waiting."""

    def hear(self, seat: Seat | None, seen: Observed) -> None:
        """Take what a worker saw (None: hooks did), and let the others know."""
        now = self.clock()
        absurd = self.board.absurd
        for port in self.board.hear(seen.stands, now):
            self._tell(port)
        if self.board.absurd > absurd:
            log.rarely("a worker told of breakers what cannot be", worker=seat.number if seat else None)
        if seen.counts:
            for other in self._fleet.seats:
                # Who is just being started has no use for what was before.
                if other is not seat and other.ready.is_set():
                    self._pass_on(other, seen)
        if now >= self._prunes_at:
            self._prunes_at = now + PRUNE_S
            for port in self.board.prune(now):
                self._tell(port)

    def force(self, ports: Iterable[str], endpoints: Iterable[str], word: Force | None) -> None:
        """Hold these endpoints of these ports (WHOLE: the ports themselves), or (None) hold them no more.

        The workers know it as soon as they read. BoardFull if too much is held.
        """
        named = list(endpoints)
        for port in ports:
            try:
                for endpoint in named:
                    self.board.force(port, endpoint, word)
            finally:
                self._tell(port)

    def _tell(self, name: str) -> None:
        self.changed(name)
        port = self.board.ports.get(name)
        if port is None:
            return
        subject = ("breakers", name)
        self._fleet.tell(subject, KnowBreakers(name, dict(port.stands), dict(port.forced)))
        if not port.stands and not port.forced:
            self._fleet.untell(subject)

    def _pass_on(self, seat: Seat, seen: Observed) -> None:
        waiting = seat.waiting.get(_LATELY)
        words = waiting[0] if waiting else None
        known = words.counts if isinstance(words, SeenElsewhere) else {}
        room = RELAYED - sum(map(len, known.values()))
        for port, counts in seen.counts.items():
            sums = known.setdefault(port, {})
            for endpoint, count in counts.items():
                if endpoint in sums:
                    sums[endpoint] = sums[endpoint].then(count)
                elif room > 0:
                    sums[endpoint] = count
                    room -= 1
                else:
                    self.untold += 1
        seat.tell(_LATELY, SeenElsewhere(known))
