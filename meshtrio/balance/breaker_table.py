"""Core. The states of a breaker, what it can hear, and where that leads. Decides nothing else."""

import enum
from collections.abc import Mapping
from typing import Literal

Force = Literal["open", "close"]
"""What an operator can force; whatever is forced no more decides for itself."""
WHOLE = ""
"""The name under which a whole service port is forced, and not one endpoint of it."""


class State(enum.Enum):
    """What a breaker lets through. The value is the word in the CLI, the API and metrics."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"


class Input(enum.Enum):
    """What a breaker can hear."""

    SUCCESS = "success"
    FAILURE = "failure"
    SLOW = "slow"
    TRIPPED = "tripped"
    """A result with which a threshold is reached."""
    PROVEN = "proven"
    """The last of the successes that were wanted."""
    DUE = "due"
    """The open time is over."""
    LEARNT_OPEN = "learnt_open"
    """Another worker has opened it later than we heard last."""
    LEARNT_CLOSED = "learnt_closed"
    FORCE_OPEN = "force_open"
    FORCE_CLOSED = "force_closed"
    AUTO = "auto"
    """The operator lets it decide for itself again."""


def _row(state: State, **moves: State) -> dict[tuple[State, Input], State]:
    always = {"force_open": State.FORCED_OPEN, "force_closed": State.FORCED_CLOSED}
    return {(state, what): {**always, **moves}.get(what.value, state) for what in Input}


NEXT: Mapping[tuple[State, Input], State] = {
    **_row(State.CLOSED, tripped=State.OPEN, learnt_open=State.OPEN),
    # Results that come now are of connections from before it opened.
    **_row(State.OPEN, due=State.HALF_OPEN, learnt_closed=State.CLOSED),
    **_row(
        State.HALF_OPEN,
        failure=State.OPEN,
        slow=State.OPEN,
        tripped=State.OPEN,
        learnt_open=State.OPEN,
        proven=State.CLOSED,
        learnt_closed=State.CLOSED,
    ),
    **_row(State.FORCED_OPEN, auto=State.CLOSED),
    **_row(State.FORCED_CLOSED, auto=State.CLOSED),
}
"""Total: every state knows every input. tests/golden/breaker.txt is its picture."""
