"""Core. Networks of virtual IPs are checked whole."""

import msgspec
import pytest

from meshtrio.intercept import routing_plan as plans
from meshtrio.intercept.routing_plan import RoutingPlan


@pytest.mark.parametrize("vip", ["10.96.0.0/16", "10.96.0.1/16", "10.96.0.10", "fd6d:6573:68::/48", "::1"])
def test_a_network_or_an_address_is_fine(vip: str) -> None:
    assert plans.faults(RoutingPlan(vips=(vip,))) == []


def test_all_faults_come_at_once() -> None:
    found = plans.faults(RoutingPlan(vips=("x", "0.0.0.0/0", "::/0", "10.0.0.0/33")))
    assert len(found) == 4
    assert "'x'" in found[0]
    assert "::/0 is everything" in found[2]
    assert len(plans.faults(RoutingPlan(vips=("10.0.0.1",) * 1025))) == 1


def test_errands_survive_the_pipe() -> None:
    for errand in (plans.Lay(RoutingPlan(transparent=True)), plans.Lift(), plans.Ask(("10.0.0.1",))):
        assert msgspec.json.decode(msgspec.json.encode(errand), type=plans.Errand) == errand


def test_our_tables_and_priorities_are_not_the_kernels() -> None:
    assert plans.TRANSPARENT_TABLE != plans.VIP_TABLE
    assert not {plans.TRANSPARENT_TABLE, plans.VIP_TABLE} & {0, 253, 254, 255}
    assert 0 < plans.TRANSPARENT_PRIORITY < 32_766 < 32_767 < plans.VIP_PRIORITY
