"""Core. When a workload's certificate is renewed, and what becomes of it when that fails: one total table.

Does not know times, which are `plan`'s, nor certificates and keys.
"""

import enum
from collections.abc import Mapping

import msgspec


class State(enum.Enum):
    """How it stands with one workload's certificate."""

    NONE = "none"
    """There is none; another attempt waits."""
    ASKING = "asking"
    """There is none; one is asked for."""
    FRESH = "fresh"
    RENEWING = "renewing"
    """It is good, and another is asked for."""
    FAILING = "failing"
    """It is good; renewal failed, and another attempt waits."""
    EXPIRED = "expired"
    """It has ended (or has not begun, if the clock jumped back) and is refused; another attempt waits."""
    RECOVERING = "recovering"
    """As EXPIRED, and another is asked for."""
    REVOKED = "revoked"
    """It was revoked and is refused whatever the time; another attempt waits."""
    REPLACING = "replacing"
    """As REVOKED, and another is asked for."""


class Input(enum.Enum):
    """What can happen."""

    DUE = "due"
    """The time for asking has come."""
    LAPSED = "lapsed"
    """By the clock the certificate is not valid now."""
    RETURNED = "returned"
    """By the clock it is valid, though it was not before: the clock was set."""
    ISSUED = "issued"
    FAILED = "failed"
    """The attempt that is under way came to nothing; also: it brought a certificate of no use."""
    ROTATE = "rotate"
    """Somebody wants another one at once."""
    REVOKED = "revoked"
    """The certificate at hand was revoked."""


class Act(enum.Enum):
    """What the shell has to do."""

    WAIT = "wait"
    ASK = "ask"
    """Ask for a certificate with a new key. An attempt under way is to be dropped; its answer is stale."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """Where an input leads, and what is to be done."""

    state: State
    act: Act = Act.WAIT


def _row(state: State, leads: dict[Input, Step]) -> dict[tuple[State, Input], Step]:
    return {(state, one): leads.get(one, Step(state)) for one in Input}


# Each row says what changes; every other input leaves that state as it is, and nothing is to be done.
# DUE, LAPSED and RETURNED come from the clock; ISSUED and FAILED only where an attempt is under way, but
# ISSUED also unasked, from sources that push.
_ISSUED = {Input.ISSUED: Step(State.FRESH)}
_TO_ASKING, _TO_RENEWING = Step(State.ASKING, Act.ASK), Step(State.RENEWING, Act.ASK)
_TO_RECOVERING, _TO_REPLACING = Step(State.RECOVERING, Act.ASK), Step(State.REPLACING, Act.ASK)
NEXT: Mapping[tuple[State, Input], Step] = {
    **_row(State.NONE, {**_ISSUED, Input.DUE: _TO_ASKING, Input.ROTATE: _TO_ASKING}),
    **_row(State.ASKING, {**_ISSUED, Input.FAILED: Step(State.NONE), Input.ROTATE: _TO_ASKING}),
    **_row(
        State.FRESH,
        {
            **_ISSUED,
            Input.DUE: _TO_RENEWING,
            Input.ROTATE: _TO_RENEWING,
            # Nothing was wrong until now, so there is nothing to wait for.
            Input.LAPSED: _TO_RECOVERING,
            Input.REVOKED: _TO_REPLACING,
        },
    ),
    **_row(
        State.RENEWING,
        {
            **_ISSUED,
            Input.FAILED: Step(State.FAILING),
            Input.ROTATE: _TO_RENEWING,
            Input.LAPSED: Step(State.RECOVERING),
            # The attempt under way may be the one that was overheard: begin again.
            Input.REVOKED: _TO_REPLACING,
        },
    ),
    **_row(
        State.FAILING,
        {
            **_ISSUED,
            Input.DUE: _TO_RENEWING,
            Input.ROTATE: _TO_RENEWING,
            Input.LAPSED: Step(State.EXPIRED),
            Input.REVOKED: _TO_REPLACING,
        },
    ),
    **_row(
        State.EXPIRED,
        {
            **_ISSUED,
            Input.DUE: _TO_RECOVERING,
            Input.ROTATE: _TO_RECOVERING,
            Input.RETURNED: Step(State.FAILING),
            Input.REVOKED: _TO_REPLACING,
        },
    ),
    **_row(
        State.RECOVERING,
        {
            **_ISSUED,
            Input.FAILED: Step(State.EXPIRED),
            Input.ROTATE: _TO_RECOVERING,
            Input.RETURNED: Step(State.RENEWING),
            Input.REVOKED: _TO_REPLACING,
        },
    ),
    **_row(State.REVOKED, {**_ISSUED, Input.DUE: _TO_REPLACING, Input.ROTATE: _TO_REPLACING}),
    **_row(State.REPLACING, {**_ISSUED, Input.FAILED: Step(State.REVOKED), Input.ROTATE: _TO_REPLACING}),
}
SERVING = frozenset((State.FRESH, State.RENEWING, State.FAILING))
ASKING = frozenset((State.ASKING, State.RENEWING, State.RECOVERING, State.REPLACING))
