"""Core. Which findings allow which rung."""

import pytest

from meshtrio.accelerate.hazards import NEEDS, Finding, Hazard, Rung, verdicts

FOR_PROGRAMS = {Hazard.URGENT, Hazard.UNREAD, Hazard.COUNT, Hazard.SPLICE}


def findings(*wrong: Hazard) -> list[Finding]:
    return [Finding(hazard, "it differs" if hazard in wrong else "") for hazard in Hazard]


def refused(found: list[Finding]) -> set[Rung]:
    return {rung for rung, hazards in verdicts(found) if hazards}


def test_a_kernel_on_which_nothing_differs_may_use_all() -> None:
    assert verdicts(findings()) == [(rung, ()) for rung in Rung]


@pytest.mark.parametrize("hazard", Hazard)
def test_each_hazard_refuses_the_rungs_that_need_it_and_no_other(hazard: Hazard) -> None:
    lowest = set() if hazard in FOR_PROGRAMS else {Rung.OURS}
    assert refused(findings(hazard)) == {Rung.DOOR, Rung.APPS} | lowest


def test_all_reasons_are_named() -> None:
    told = dict(verdicts(findings(Hazard.SPLICE, Hazard.COUNT)))
    assert told[Rung.APPS] == (Hazard.COUNT, Hazard.SPLICE)
    assert told[Rung.OURS] == ()


def test_what_was_not_tried_is_wrong() -> None:
    assert dict(verdicts(findings()[1:]))[Rung.OURS] == (Hazard.ORDER,)
    assert refused([]) == set(Rung)


def test_every_rung_is_judged() -> None:
    assert set(NEEDS) == set(Rung)
