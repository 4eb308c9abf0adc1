"""Core. May one more connection be tried again? Keeps retries from becoming a storm. Knows no clock.

Retries of the last ten seconds are at most a share of the first tries of the same ten seconds, or a small
number, whichever is more: so a service that fails wholly gets at most that share more than it is offered,
while one with little traffic can still be tried again. Only first tries earn anything; a retry that earned
retries would be a loan on a loan.
"""

WINDOW_S = 10.0
SLICES = 10


class RetryBudget:
    """The budget of one service port in one worker.

    Over any time t the retries that were allowed are at most the greater of `percent` of the first tries of
    that time and per_s * WINDOW_S, for each WINDOW_S begun.
    """

    __slots__ = ("_at", "_offered", "_per_window", "_percent", "_retried", "_sums", "allowed", "denied")

    def __init__(self, percent: float = 20, per_s: float = 3) -> None:
        self._percent = percent
        self._per_window = per_s * WINDOW_S
        self._offered = [0] * SLICES
        self._retried = [0] * SLICES
        self._sums = [0, 0]
        self._at = 0
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
        if (retried + 1) * 100 > offered * self._percent and retried + 1 > self._per_window:
            self.denied += 1
            return False
        self.allowed += 1
        self._retried[self._at % SLICES] += 1
        self._sums[1] += 1
        return True

    def settle(self, percent: float, per_s: float) -> None:
        """Let other numbers hold from now on; what was counted stays."""
        self._percent, self._per_window = percent, per_s * WINDOW_S

    def _turn(self, now: float) -> None:
        at = int(now * SLICES / WINDOW_S)
        if at - self._at >= SLICES:
            self._offered, self._retried, self._sums = [0] * SLICES, [0] * SLICES, [0, 0]
            self._at = at
        while self._at < at:
            self._at += 1
            turned = self._at % SLICES
            self._sums[0] -= self._offered[turned]
            self._sums[1] -= self._retried[turned]
            self._offered[turned] = self._retried[turned] = 0
