"""Core. How a source's streams are doing, and whether a source counts as lost. Does not know the clock."""

import enum
from collections.abc import Iterable

LOST_AFTER_S = 5.0
"""How long a stream may fail before its source counts as lost."""
BACK_AFTER_S = 2.0
"""How long all streams must be well before a lost source counts as found: no flapping."""


class State(enum.Enum):
    """The value is the word in `meshtrio discovery`."""

    STARTING = "starting"
    LIVE = "live"
    RETRYING = "retrying"
    """Failed, and tried again after a back-off."""
    REFUSED = "refused"
    """We are not allowed to; tried again slowly, with fresh credentials."""


class Stream:
    """One stream of news, as it is now. Its source writes it; no word in it may be a secret."""

    def __init__(self, source: str, name: str, *, since: float, state: State = State.STARTING) -> None:
        """Begin; `since` is wall time, as all times here are."""
        self.source = source
        self.name = name
        self.since = since
        """Since when it is well, or not."""
        self.state = state
        self.position = ""
        """The index, resourceVersion or serial number that was reached."""
        self.last_event = 0.0
        """0: never."""
        self.events = 0
        self.errors = 0
        self.last_error = ""
        self.skipped = 0
        """Objects that could not be understood, and were left as they were known before."""
        self.last_skipped = ""
        """Which one, and why."""
        self.essential = True
        """Whether the source is lost without it. Others only add to what is known."""

    def shown(self) -> dict[str, object]:
        """Give everything of it, for users to read."""
        return {**vars(self), "state": self.state.value}

    def lives(self, position: str, now: float) -> None:
        """Note that the source answers, and how far it has told us."""
        self._become(State.LIVE, now)
        self.position = position

    def heard(self, events: int, now: float) -> None:
        """Note news."""
        self.events += events
        self.last_event = now

    def failed(self, why: str, now: float, *, refused: bool = False) -> None:
        """Note an error; `refused`: we are not allowed to."""
        self._become(State.REFUSED if refused else State.RETRYING, now)
        self.errors += 1
        self.last_error = why[:500]

    def skips(self, what: str) -> None:
        """Note an object that could not be understood."""
        self.skipped += 1
        self.last_skipped = what[:500]

    def _become(self, state: State, now: float) -> None:
        if (state is State.LIVE) != (self.state is State.LIVE):
            # Failing one way and then another is one failure, and began with the first.
            self.since = now
        self.state = state


def is_lost(streams: Iterable[Stream], now: float, *, was_lost: bool) -> bool:
    """Say whether the source of these streams counts as lost: known words hold, but are believed less."""
    for stream in streams:
        if not stream.essential:
            continue
        for_s = now - stream.since
        if stream.state is State.LIVE:
            if was_lost and for_s < BACK_AFTER_S:
                return True
        elif was_lost or for_s >= LOST_AFTER_S:
            return True
    return False
