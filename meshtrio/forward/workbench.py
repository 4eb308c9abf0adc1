"""Shell. What all flows of one relay share: its limits, the buffer for reads, the turns that were cut short.

Does not know about sockets.
"""

from typing import Protocol

import msgspec

from meshtrio.forward.pipes import Pipes


class RelayLimits(msgspec.Struct, frozen=True):
    """What a flow may hold and how long a turn may last."""

    chunk_bytes: int = 524_288
    """The most that one read takes, and so the most that a slow reader makes us hold, but for pipes."""
    pressed_bytes: int = 32_768
    """The first read after the sink was full; doubled by each full read."""
    turn_bytes: int = 1_048_576
    """The most that one direction moves before the others have their turn."""
    turn_reads: int = 16
    """The most reads in one turn, however small."""
    bulk_bytes: int = 524_288
    """A direction that moves as much in one turn is spliced from then on, if both its ends are plain."""
    stretch_s: float = 0.001
    """How long the relay works without giving other tasks a turn."""
    look_s: float = 0.000_1
    """How long the relay looks out for an answer before it sleeps, while answers come that fast."""
    sweep_s: float = 1.0
    """How often idle flows are looked for; an idle flow ends at most two sweeps late."""
    drain_s: float = 5.0
    """After a RST: how long the other side may make no progress at all on the bytes that came before it."""


class Breakable(Protocol):
    """Something that can be ended because of a bug."""

    def broke(self, bug: Exception) -> None:
        """End because of this."""


class Unfinished(Protocol):
    """Something whose turn was cut short."""

    @property
    def flow(self) -> Breakable:
        """What it is a part of."""

    def go_on(self) -> None:
        """Take the next turn."""


class Workbench:
    """What all flows of one relay share: the buffer for reads, and the lanes whose turn was cut short."""

    def __init__(self, limits: RelayLimits) -> None:
        self.limits = limits
        self.least_cost = limits.turn_bytes // limits.turn_reads
        """What a read counts for in a turn at least, however few bytes it took."""
        self.scratch = memoryview(bytearray(limits.chunk_bytes))
        self.pipes = Pipes()
        self.again: list[Unfinished] = []
        """Bounded by the number of lanes: a lane knows whether it stands here."""
