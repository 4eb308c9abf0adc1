"""How far up the ladder connections go, and the one line that says why no further."""

import itertools
from typing import get_args

import pytest

from meshtrio.accelerate import ladder
from meshtrio.accelerate.hazards import Finding, Hazard
from meshtrio.accelerate.ladder import DIRECT, GRANTED, HIGHEST, RUNGS, SPLICE, UNKNOWN, allows
from meshtrio.config.identity import Identity, Mtls
from meshtrio.config.kinds import Acceleration, RungMax
from meshtrio.config.schema import Config

WELL = [Finding(hazard) for hazard in Hazard]


def test_the_rungs_are_those_of_the_configuration() -> None:
    assert get_args(RungMax) == RUNGS
    assert UNKNOWN.keys() == set(RUNGS[RUNGS.index(HIGHEST) + 1 :]) - {GRANTED}


def test_each_rung_allows_what_is_below_it() -> None:
    assert [one for one in RUNGS if allows(one, DIRECT)] == ["r1d", "r2", "r3", "r4", "r5"]
    assert [one for one in RUNGS if allows(one, SPLICE)] == ["r2", "r3", "r4", "r5"]


def test_a_refusal_names_the_hazards_of_its_own_rung() -> None:
    findings = [Finding(one.hazard, "wrong" if one.hazard is Hazard.COUNT else "") for one in WELL]
    said = ladder.refusals(findings)
    assert said["r4"] == "r4 is refused on this kernel for FIONREAD"
    assert said["r3"] == "r3 is not in this version", "it does not need what was wrong"
    assert ladder.refusals([]).keys() == UNKNOWN.keys() == ladder.untried("no bcc").keys()
    assert ladder.untried("no bcc")["r4"] == "r4 could not be tried: no bcc"


@pytest.mark.parametrize(
    ("rung_max", "rung", "why"),
    [
        ("r1", "r1", "rung_max is r1"),
        ("r1d", "r1d", "rung_max is r1d"),
        ("r2", "r2", "rung_max is r2"),
        ("r3", "r2", UNKNOWN["r3"]),
        ("r5", "r2", UNKNOWN["r3"]),
    ],
)
def test_where_all_stand(rung_max: RungMax, rung: str, why: str) -> None:
    assert ladder.node(rung_max, UNKNOWN) == (rung, why)


@pytest.mark.parametrize(
    ("rung_max", "acceleration", "hooks", "rung", "why"),
    [
        ("r5", "auto", True, "r2", ""),
        ("r5", "off", True, "r1", "acceleration is off"),
        ("r5", "r4", True, "r2", UNKNOWN["r4"]),
        ("r5", "r5", True, "r5", ""),
        ("r5", "r5", False, "r2", "r5 needs hooks, and it has none"),
        ("r4", "r5", True, "r2", "r5 is asked for, and rung_max is r4"),
        ("r1", "r5", True, "r1", "r5 is asked for, and rung_max is r1"),
        ("r1d", "auto", True, "r1d", "rung_max is r1d"),
        ("r1d", "auto", False, "r1", "r1d needs hooks, and it has none"),
    ],
)
def test_where_a_workload_stands(
    rung_max: RungMax, acceleration: str, hooks: bool, rung: str, why: str
) -> None:
    found = ladder.workload(rung_max, acceleration, hooks=hooks, refused=UNKNOWN, ungranted="")
    assert found == (rung, why)


def test_what_grants_need_is_said_to_who_asks_for_them() -> None:
    found = ladder.workload("r5", "r5", hooks=True, refused=UNKNOWN, ungranted="no identities")
    assert found == ("r2", "no identities")
    assert ladder.why_no_grants(Config()) == "r5 needs mtls.same_node: kernel"
    kernel = Mtls(same_node="kernel")
    assert ladder.why_no_grants(Config(mtls=kernel)) == ""
    nobody = Config(mtls=kernel, identity=Identity(source="off"))
    assert ladder.why_no_grants(nobody) == "r5 needs identities, and identity.source is off"


def test_no_wish_is_met_by_more_than_there_is_or_is_allowed_and_each_unmet_one_has_a_reason() -> None:
    for rung_max, wish, hooks in itertools.product(RUNGS, get_args(Acceleration), (True, False)):
        stands = ladder.workload(rung_max, wish, hooks=hooks, refused=UNKNOWN, ungranted="")
        assert allows(rung_max, stands.rung)
        assert allows(HIGHEST, stands.rung) or (stands.rung, hooks) == (GRANTED, True)
        assert bool(stands.why) == ((stands.rung, wish) not in ((HIGHEST, "auto"), (GRANTED, "r5")))
