"""Ring 1. What follows for a stream from what it has been through."""

import pytest

from meshtrio.catalog.kubernetes_answer import AnswerError
from meshtrio.discover.kubernetes_call import CallError, Fault
from meshtrio.discover.kubernetes_pace import Pace
from meshtrio.discover.kubernetes_patience import Patience, Wait


@pytest.fixture
def patience() -> Patience:
    return Patience(Pace())


def delays(patience: Patience, fault: Fault, times: int) -> list[float]:
    return [patience.suffered(CallError("x", fault), 0.5).delay_s for _ in range(times)]


@pytest.mark.parametrize("fault", [Fault.FAILED, Fault.UNREACHABLE, Fault.MISSING])
def test_a_row_of_failures(patience: Patience, fault: Fault) -> None:
    assert delays(patience, fault, 5) == [0, 1, 2, 4, 8]
    patience.listed()
    assert delays(patience, fault, 2) == [0, 1]
    patience.well()
    assert delays(patience, fault, 2) == [0, 1]


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.FORBIDDEN])
def test_a_row_of_refusals(patience: Patience, fault: Fault) -> None:
    assert delays(patience, fault, 4) == [0, 5, 10, 20]
    assert delays(patience, Fault.FAILED, 1) == [0]
    patience.listed()
    assert delays(patience, fault, 2) == [0, 5]


def test_a_storm_of_forgotten_versions_is_not_ended_by_the_lists_that_it_makes(patience: Patience) -> None:
    waits = []
    for _ in range(4):
        waits.append(patience.forgotten(0.5))
        patience.listed()
    assert waits == [0, 1, 2, 3.5]
    patience.well()
    assert patience.forgotten(0.5) == 0


def test_garbage_is_asked_for_again_and_then_listed(patience: Patience) -> None:
    assert patience.suffered(AnswerError("x"), 0.5) == Wait(0, looks_out=True)
    assert patience.suffered(AnswerError("x"), 0.5) == Wait(1, looks_out=True, anew=True)
    patience.well()
    assert not patience.suffered(AnswerError("x"), 0.5).anew


def test_who_looks_out_and_for_what(patience: Patience) -> None:
    def wait(fault: Fault) -> Wait:
        return patience.suffered(CallError("x", fault), 0.5)

    assert wait(Fault.UNREACHABLE)[1:] == (True, True, False)
    assert wait(Fault.FAILED)[1:] == (True, False, False)
    assert wait(Fault.FORBIDDEN)[1:] == (True, False, False)
    assert wait(Fault.REFUSED)[1:] == (False, False, False)
    assert wait(Fault.MISSING)[1:] == (True, False, True)


def test_a_plea_is_not_cut_short(patience: Patience) -> None:
    assert patience.suffered(CallError("429", Fault.FAILED, 7), 0) == Wait(7)
    assert patience.suffered(CallError("503", Fault.UNREACHABLE, 700), 0) == Wait(60)
