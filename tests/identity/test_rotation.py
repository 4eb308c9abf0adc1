"""The table of renewal: every state and input, what must be true of all of them, and its picture."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.identity.rotation import ASKING, NEXT, SERVING, Act, Input, State

EVERY = [(state, what) for state in State for what in Input]
REFUSED = frozenset((State.EXPIRED, State.RECOVERING, State.REVOKED, State.REPLACING))


def test_the_table_is_total() -> None:
    assert set(NEXT) == set(EVERY)


def test_every_state_can_be_reached() -> None:
    reached = {State.NONE}
    while True:
        more = {NEXT[state, what].state for state in reached for what in Input} - reached
        if not more:
            break
        reached |= more
    assert reached == set(State)


@pytest.mark.parametrize(("state", "what"), EVERY)
def test_what_holds_everywhere(state: State, what: Input) -> None:
    step = NEXT[state, what]
    if step.act is Act.ASK:
        assert step.state in ASKING, "asked, and no answer is awaited"
    if step.state in ASKING and state not in ASKING:
        assert step.act is Act.ASK, "an answer is awaited, and nobody asked"
    if what is Input.ISSUED:
        assert step.state is State.FRESH
    if what is Input.FAILED:
        assert step.state not in ASKING
        assert (step.state in SERVING) == (state in SERVING), "a failure takes nothing away and gives nothing"
    if what is Input.ROTATE:
        assert step.act is Act.ASK
        assert (step.state in SERVING) == (state in SERVING)
    if what in (Input.LAPSED, Input.REVOKED):
        assert step.state not in SERVING
    if state in REFUSED and step.state in SERVING:
        assert what in (Input.ISSUED, Input.RETURNED)
    if state in (State.REVOKED, State.REPLACING):
        assert step.state in (State.REVOKED, State.REPLACING, State.FRESH), "only a new one heals"
    if what is Input.DUE and state not in ASKING:
        assert step.act is Act.ASK, "it is due, and nobody asks"


@given(st.lists(st.sampled_from(Input), max_size=60))
def test_a_revoked_certificate_never_serves_again(inputs: list[Input]) -> None:
    state, revoked = State.FRESH, False
    for what in inputs:
        had = state not in (State.NONE, State.ASKING)
        state = NEXT[state, what].state
        revoked = (revoked or (what is Input.REVOKED and had)) and what is not Input.ISSUED
        assert not (revoked and state in SERVING)


@given(st.lists(st.sampled_from(Input), max_size=60))
def test_there_is_always_a_way_on(inputs: list[Input]) -> None:
    """From wherever: an attempt that succeeds makes it fresh."""
    state = State.NONE
    for what in inputs:
        state = NEXT[state, what].state
    if state not in ASKING:
        state = NEXT[state, Input.DUE].state
    assert NEXT[state, Input.ISSUED].state is State.FRESH


def test_its_picture(golden: Callable[[str, str], None]) -> None:
    lines = ["state       input     -> state       (nothing else changes anything)"]
    for state, what in EVERY:
        step = NEXT[state, what]
        if step.state is not state or step.act is Act.ASK:
            asks = ", ask" if step.act is Act.ASK else ""
            lines.append(f"{state.value:11} {what.value:9} -> {step.state.value}{asks}")
    golden("rotation.txt", "\n".join(lines) + "\n")
