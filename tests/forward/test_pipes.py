"""Shell. Pipes are lent, come back empty or are closed, and are never more than their bound."""

import fcntl
import os

import pytest

from meshtrio.forward import pipes
from meshtrio.forward.pipes import MOST_IDLE, MOST_PIPES, PIPE_BYTES, Pipe, Pipes

pytestmark = pytest.mark.rung("r2")


def test_an_empty_pipe_is_lent_again() -> None:
    some = Pipes()
    first = some.lend()
    assert first is not None and len(first) == 0
    assert fcntl.fcntl(first.writing, fcntl.F_GETPIPE_SZ) == PIPE_BYTES
    some.hand_back(first)
    assert some.lend() is first
    some.hand_back(first)
    some.close()


def test_one_with_bytes_in_it_is_never_lent_again() -> None:
    some = Pipes()
    first = some.lend()
    assert first is not None
    first.count = os.write(first.writing, b"of another flow")
    some.hand_back(first)
    with pytest.raises(OSError):
        os.fstat(first.reading)
    second = some.lend()
    assert second is not None
    with pytest.raises(BlockingIOError):
        os.read(second.reading, 1)
    some.hand_back(second)
    some.close()


def test_there_is_a_bound_and_few_are_kept() -> None:
    some = Pipes()
    lent = [one for _ in range(MOST_PIPES) if (one := some.lend()) is not None]
    assert len(lent) == MOST_PIPES
    assert some.lend() is None
    for one in lent:
        some.hand_back(one)
    assert sum(_is_open(one) for one in lent) == MOST_IDLE
    some.close()
    assert not any(_is_open(one) for one in lent)


def test_where_none_may_be_lent_any_more_none_is_kept_and_none_taken_away() -> None:
    some = Pipes()
    first, second = some.lend(), some.lend()
    assert first is not None and second is not None
    some.hand_back(second)
    some.allow(0)
    assert (some.lend(), _is_open(first), _is_open(second)) == (None, True, False)
    some.hand_back(first)
    assert not _is_open(first)
    some.allow(1)
    third = some.lend()
    assert third is not None and some.lend() is None
    some.hand_back(third)
    some.close()


def test_where_the_kernel_gives_none_none_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    some = Pipes()
    monkeypatch.setattr(pipes, "PIPE_BYTES", 1 << 31)
    assert some.lend() is None
    monkeypatch.undo()
    one = some.lend()  # the failure was not counted as a loan, nor left open
    assert one is not None
    some.hand_back(one)
    some.close()


def _is_open(pipe: Pipe) -> bool:
    try:
        os.fstat(pipe.reading)
    except OSError:
        return False
    return True
