"""World. What the child does in one process: other people's rules stay, and refusals have names."""

import subprocess
import sys
from pathlib import Path

import pytest

from meshtrio.intercept.routing_child import act
from meshtrio.intercept.routing_plan import Lay, Lift, RoutingApplied, RoutingPlan
from tests.support.namespace import Namespace

pytestmark = pytest.mark.world

BOTH = Lay(RoutingPlan(transparent=True, vips=("10.96.0.0/16",)))


def test_rules_and_routes_of_others_in_our_tables_stay() -> None:
    with Namespace() as space:
        space.ip("route", "add", "10.1.0.0/16", "dev", "lo", "table", "15002", "proto", "static")
        space.ip("rule", "add", "fwmark", "7", "lookup", "15001", "priority", "900")
        space.run(lambda: act(BOTH))
        space.run(lambda: act(Lift()))
        assert "10.1.0.0/16" in space.ip("route", "show", "table", "15002")
        assert "900:" in space.ip("rule")
        assert "proto 77" not in space.ip("rule") + space.ip("route", "show", "table", "all")


def test_without_ipv6_the_rest_works() -> None:
    with Namespace() as space:
        space.set_sysctl("net.ipv6.conf.all.disable_ipv6", "1")
        space.set_sysctl("net.ipv6.conf.lo.disable_ipv6", "1")
        applied = space.run(
            lambda: act(Lay(RoutingPlan(transparent=True, vips=("10.96.0.0/16", "fd96::/16"))))
        )
        assert "10.96.0.0/16" in space.ip("route", "show", "table", "15002")
        assert applied == RoutingApplied(families=("v4",), rules=2, routes=2)
        assert space.run(lambda: act(Lift())) == 4


def test_without_the_capability_the_refusal_says_which() -> None:
    text = (
        "import os, meshtrio.intercept.routing_child as child, meshtrio.intercept.routing_plan as plans\n"
        "os.setuid(65534)\n"
        "try: child.act(plans.Lay(plans.RoutingPlan(vips=('10.96.0.0/16',))))\n"
        "except plans.RoutingRefused as no: print(no)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=30, cwd=Path.cwd(), check=True
    )
    assert done.stdout.startswith("ip rule 32800 (EPERM): needs CAP_NET_ADMIN")
