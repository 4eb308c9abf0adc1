"""Ring 1. What a failed call carries."""

from meshtrio.discover.kubernetes_call import REFUSALS, CallError, Fault


def test_it_says_why_what_is_asked_for_and_how_long_to_stay_away() -> None:
    error = CallError("429 slow down", Fault.FAILED, 7)
    assert (str(error), error.fault, error.after_s) == ("429 slow down", Fault.FAILED, 7)
    assert CallError("x", Fault.GONE).after_s is None


def test_refusals_are_those_that_patience_may_heal() -> None:
    assert [fault for fault in Fault if fault in REFUSALS] == [Fault.REFUSED, Fault.FORBIDDEN]
