"""Core. May one more connection be tried again? Keeps retries from becoming a storm. Knows no clock.

Two rules, and a retry needs one of them; both count all retries.

The share: retries of the last ten seconds are at most `percent` of the first tries of the same ten seconds.
So a service that fails wholly gets at most that share more than it is offered. Only first tries earn
anything; a retry that earned retries would be a loan on a loan.

The floor, so that a service with little traffic can still be tried again: at most `per_s` retries in a
second, and per_s * 10 in the last ten. It adds nothing to the share, for what that gave counts here, too. At
20 % and 3/s the floor is the greater one below 15 first tries a second.
"""

WINDOW_S = 10.0
SLICES = 10
"""Of a second each: the floor counts by them."""


class RetryBudget:
    """The budget of one service port in one worker.

    Over any time t the retries that were allowed are at most the greater of `percent` of the first tries of
    that time and per_s * WINDOW_S, for each WINDOW_S begun. Of what begins after WINDOW_S of silence, with so
    many first tries in each second that their share is per_s or more, they are at most `percent` from the end
    of the first second on.
    """

    __slots__ = ("_at", "_began", "_offered", "_per_s", "_percent", "_retried", "_sums", "allowed", "denied")

    def __init__(self, percent: float = 20, per_s: float = 3) -> None:
        self._percent, self._per_s = percent, per_s
        self._offered = [0] * SLICES
        self._retried = [0] * SLICES
        self._sums = [0, 0]
        self._began, self._at = 0.0, -SLICES
        """When the first slice began, and which one it is now. After a silence they begin with who speaks: in
        a slice that was cut short the floor would say more than the share."""
        self.allowed = 0
        """How many retries were allowed, ever."""
        self.denied = 0
        """How many were not."""

    def offered(self, now: float) -> None:
        """Note the first try of a connection."""
        self._turn(now)
        self._offered[self._at % SLICES] += 1
        self._sums[0] += 1

    def take(self, now: float) -> bool:
        """Take one retry out of the budget. False: there is none left, so end with the failure at hand."""
        self._turn(now)
        offered, retried = self._sums
        now_retried = self._retried[self._at % SLICES]
        is_share = (retried + 1) * 100 <= offered * self._percent
        is_floor = now_retried < self._per_s and retried + 1 <= self._per_s * WINDOW_S
        if not (is_share or is_floor):
            self.denied += 1
            return False
        self.allowed += 1
        self._retried[self._at % SLICES] += 1
        self._sums[1] += 1
        return True

    def settle(self, percent: float, per_s: float) -> None:
        """Let other numbers hold from now on; what was counted stays."""
        self._percent, self._per_s = percent, per_s

    def _turn(self, now: float) -> None:
        at = int((now - self._began) * SLICES / WINDOW_S)
        if at - self._at >= SLICES:
            self._offered, self._retried, self._sums = [0] * SLICES, [0] * SLICES, [0, 0]
            self._began, self._at = now, 0
            return
        while self._at < at:
            self._at += 1
            turned = self._at % SLICES
            self._sums[0] -= self._offered[turned]
            self._sums[1] -= self._retried[turned]
            self._offered[turned] = self._retried[turned] = 0
