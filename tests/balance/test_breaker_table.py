"""The table of a breaker is total, and its picture is kept."""

from collections.abc import Callable

from meshtrio.balance.breaker_table import NEXT, Input, State


def test_every_state_knows_every_input() -> None:
    assert set(NEXT) == {(state, what) for state in State for what in Input}


def test_what_is_forced_hears_only_the_operator() -> None:
    operator = {Input.FORCE_OPEN, Input.FORCE_CLOSED, Input.AUTO}
    for state in (State.FORCED_OPEN, State.FORCED_CLOSED):
        assert {NEXT[state, what] for what in set(Input) - operator} == {state}
        assert NEXT[state, Input.AUTO] is State.CLOSED


def test_only_time_half_opens() -> None:
    entering = {
        (state, what) for (state, what), to in NEXT.items() if to is State.HALF_OPEN and state is not to
    }
    assert entering == {(State.OPEN, Input.DUE)}


def test_the_picture(golden: Callable[[str, str], None]) -> None:
    lines = [f"{'':14}" + "".join(f"{state.value:>14}" for state in State)]
    for what in Input:
        cells = (NEXT[state, what] for state in State)
        shown = ("." if to is state else to.value for state, to in zip(State, cells, strict=True))
        lines.append(f"{what.value:14}" + "".join(f"{cell:>14}" for cell in shown))
    golden("breaker.txt", "\n".join(lines) + "\n")
