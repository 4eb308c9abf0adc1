"""Shell. How long a flow has been silent. Does not know what is done about it, nor about trio.

Nothing is paid for this when bytes move: a sweep compares the counts that the lanes keep anyway.
"""

import math

from meshtrio.forward.flow import Flow
from meshtrio.forward.tcp import unacked_bytes

LOOKS = 64
"""How often a flow is looked at in the time of its patience: of 10,000 flows that wait for an hour each sweep
would else look at all."""


class Silence:
    """What the sweeps remember of one flow."""

    __slots__ = ("_moved_bytes", "_patience_s", "_since", "_unacked_bytes", "look_at")

    def __init__(self, patience_s: float, now: float) -> None:
        """Begin at `now`. A patience of 0 or less never ends."""
        self._patience_s = patience_s
        self._since = now
        self.look_at = now + patience_s / LOOKS if patience_s > 0 else math.inf
        """When `is_over` may have something else to say than now."""
        self._moved_bytes = 0
        self._unacked_bytes = 0

    def is_over(self, flow: Flow, now: float) -> bool:
        """Say whether no byte has moved for the time of patience, as far as the sweeps could see.

        Bytes that a slow reader takes out of the kernel's queue count as moving. A dying flow is left alone.
        """
        if self._patience_s <= 0 or flow.dead is not None or flow.ending is not None:
            return False
        self.look_at = now + self._patience_s / LOOKS
        moved_bytes = flow.sent_bytes + flow.received_bytes
        if moved_bytes != self._moved_bytes:
            self._since, self._moved_bytes = now, moved_bytes
            return False
        if now - self._since < self._patience_s:
            return False
        unacked = unacked_bytes(flow.client_lane.sink) + unacked_bytes(flow.upstream_lane.sink)
        if unacked == self._unacked_bytes:
            return True
        self._since, self._unacked_bytes = now, unacked
        return False
