"""Core. What the agent knows of all breakers: what they came to, and which an operator holds.

Workers decide; here the newest stand of each endpoint is kept, for display and for workers that start. What
is forced is kept here alone: an agent that starts anew forces nothing.
"""

from collections.abc import Mapping

from meshtrio.balance.breaker_table import WHOLE, Force, State
from meshtrio.balance.hearsay import Stand

PORTS_BOUND = 4096
"""How many service ports are known. Full: those of which nothing is left to be told go; else new ones are
not known, and `dropped` counts what is passed over."""
ROWS_BOUND = 65_536
"""How many stands are kept. Full: as above."""
FORCED_BOUND = 4096
"""How much an operator can hold."""
FORGET_S = 600.0
"""What has been closed or due for so long says nothing any more. More than breakers are open for."""


class BoardFull(Exception):
    """As much is forced as can be."""


class Port:
    """What is known of one service port."""

    __slots__ = ("forced", "opens", "stands")

    def __init__(self) -> None:
        self.stands: dict[str, Stand] = {}
        self.forced: dict[str, Force] = {}
        self.opens = 0
        """How often one of its endpoints opened, as far as this agent has heard."""

    def state(self, endpoint: str, now: float) -> State:
        """Say how the breaker of an endpoint is now."""
        word = self.forced.get(WHOLE) or self.forced.get(endpoint)
        if word is not None:
            return State.FORCED_OPEN if word == "open" else State.FORCED_CLOSED
        stand = self.stands.get(endpoint)
        if stand is None or not stand.open:
            return State.CLOSED
        return State.OPEN if now < stand.until else State.HALF_OPEN


class Board:
    """All service ports of which something is known, by "namespace/name:port"."""

    def __init__(self) -> None:
        self.ports: dict[str, Port] = {}
        self._rows = 0
        self.absurd = 0
        """How many stands were passed over because no breaker can have come to that."""
        self.dropped = 0
        """How many were passed over because the board was full."""

    def hear(self, told: Mapping[str, Mapping[str, Stand]], now: float) -> list[str]:
        """Take what breakers came to. Returns the ports of which something new is known."""
        return [name for name, stands in told.items() if self._fold(name, stands, now)]

    def force(self, name: str, endpoint: str, word: Force | None) -> None:
        """Let an operator hold an endpoint of a port, or all of it (WHOLE), or (None) hold it no more.

        What breakers came to there is forgotten: they begin anew. To hold the whole port no more lets all of
        its endpoints go. BoardFull if too much is held; then nothing was done.
        """
        if word is not None and sum(len(port.forced) for port in self.ports.values()) >= FORCED_BOUND:
            raise BoardFull(f"{FORCED_BOUND} breakers are forced already (let some go: auto)")
        if word is None and name not in self.ports:
            return
        port = self.ports.setdefault(name, Port())
        gone = list(port.stands) if endpoint == WHOLE else [one for one in (endpoint,) if one in port.stands]
        for one in gone:
            del port.stands[one]
        self._rows -= len(gone)
        if word is not None:
            port.forced[endpoint] = word
        elif endpoint == WHOLE:
            port.forced.clear()
        else:
            port.forced.pop(endpoint, None)

    def prune(self, now: float) -> list[str]:
        """Forget what says nothing any more. Returns the ports of which nothing is left to be told."""
        emptied = []
        for name, port in self.ports.items():
            had = len(port.stands)
            for endpoint, stand in list(port.stands.items()):
                if now - max(stand.since, stand.until) >= FORGET_S:
                    del port.stands[endpoint]
            self._rows -= had - len(port.stands)
            if had and not port.stands and not port.forced:
                emptied.append(name)
        return emptied

    def _fold(self, name: str, told: Mapping[str, Stand], now: float) -> bool:
        changed = False
        for endpoint, stand in told.items():
            if not stand.is_sane(now):
                self.absurd += 1
                continue
            port = self.ports.get(name)
            before = port.stands.get(endpoint) if port else None
            if before is not None and stand <= before:
                continue
            if port is None and self._has_room_for_a_port():
                port = self.ports[name] = Port()
            if port is None or (before is None and self._rows >= ROWS_BOUND):
                self.dropped += 1
                continue
            # Several workers may open it at one moment: that is one opening.
            port.opens += stand.open and not (before and before.open and now < before.until)
            port.stands[endpoint] = stand
            self._rows += before is None
            changed = True
        return changed

    def _has_room_for_a_port(self) -> bool:
        if len(self.ports) >= PORTS_BOUND:
            for name in [one for one, port in self.ports.items() if not port.stands and not port.forced]:
                del self.ports[name]
        return len(self.ports) < PORTS_BOUND
