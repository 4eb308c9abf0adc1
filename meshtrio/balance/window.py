"""Core. How many connections of the last seconds succeeded, failed, were slow? Does not know the clock.

Time is cut into slices of a tenth of the window, and a ring holds one row of counts for each. So the window
is up to one slice shorter than asked for, never longer; adding and reading take constant time, and memory
does not grow with traffic.
"""

SLICES = 10


class Window:
    """Counts over the last `lasts_s` seconds. Times that go backwards count as the newest time seen."""

    __slots__ = ("_at", "_ring", "_slice_s", "failures", "slow", "successes")

    def __init__(self, lasts_s: float) -> None:
        self._slice_s = lasts_s / SLICES
        self._ring: list[tuple[int, int, int]] = [(0, 0, 0)] * SLICES
        self._at: int | None = None
        """The number of the newest slice, since the clock's zero."""
        self.successes = 0
        self.failures = 0
        self.slow = 0

    @property
    def total(self) -> int:
        """All that was counted: a slow one is neither a success nor a failure here."""
        return self.successes + self.failures + self.slow

    def add(self, now: float, *, successes: int = 0, failures: int = 0, slow: int = 0) -> None:
        """Count so many more, as of now."""
        self.turn(now)
        at = (self._at or 0) % SLICES
        row = self._ring[at]
        self._ring[at] = (row[0] + successes, row[1] + failures, row[2] + slow)
        self.successes += successes
        self.failures += failures
        self.slow += slow

    def turn(self, now: float) -> None:
        """Forget what is older than the window."""
        slice_now = int(now / self._slice_s)
        if self._at is None or slice_now - self._at >= SLICES:
            self.clear()
            self._at = slice_now
            return
        while self._at < slice_now:
            self._at += 1
            successes, failures, slow = self._ring[self._at % SLICES]
            self.successes -= successes
            self.failures -= failures
            self.slow -= slow
            self._ring[self._at % SLICES] = (0, 0, 0)

    def clear(self) -> None:
        """Forget everything."""
        self._ring = [(0, 0, 0)] * SLICES
        self._at = None
        self.successes = self.failures = self.slow = 0
