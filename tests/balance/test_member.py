"""What every algorithm takes its members for."""

import math

import pytest

from meshtrio.balance.member import ordered
from tests.support.members import member, members


def test_a_member_is_idle_and_unmeasured_at_first() -> None:
    new = member("a")
    assert (new.id, new.endpoint.id, new.weight, new.active, new.ewma_s) == ("a", "a", 1.0, 0, 0.0)


def test_they_are_ordered_by_id() -> None:
    assert [one.id for one in ordered(members("cab"))] == ["a", "b", "c"]


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_a_weight_that_is_none_is_named(weight: float) -> None:
    with pytest.raises(ValueError, match=r"^b weighs .* \(want a number above 0\)$"):
        ordered([member("a"), member("b", weight)])
