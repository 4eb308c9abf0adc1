"""Shell. A namespace with both doors and a process in a cgroup, and plans. Does not know what is tested."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from meshtrio.intercept.nft_plan import CgroupMatch, InboundCapture, NftPlan, OutboundCapture
from tests.support.namespace import Namespace
from tests.support.namespace_door import Door, cgroup
from tests.support.namespace_program import Program, program

VIP, VIP6 = "10.96.0.10", "fd6d:6573:68::10"


class Box(NamedTuple):
    """A namespace with routes to everywhere, both doors, and a process in a cgroup."""

    space: Namespace
    group: Path
    app: Program


@contextlib.contextmanager
def full_box() -> Iterator[Box]:
    with contextlib.ExitStack() as stack:
        space = stack.enter_context(Namespace())
        space.route_everything()
        stack.enter_context(Door(space, 15002, "outbound"))
        stack.enter_context(Door(space, 15001, "inbound"))
        group = stack.enter_context(cgroup())
        yield Box(space, group, stack.enter_context(program(space, group)))


def match(group: Path, level: int = 1) -> CgroupMatch:
    return CgroupMatch(level=level, id=group.stat().st_ino)


def plan_of(group: Path | None, name: str = "shop", **outbound: tuple[object, ...]) -> NftPlan:
    return NftPlan(
        workload=name,
        owner="1.1",
        cgroup=match(group) if group else None,
        outbound=OutboundCapture(door=15002, **outbound),  # type: ignore[arg-type]
    )


def inbound_plan(group: Path | None, ports: tuple[int, ...] | None, name: str = "shop") -> NftPlan:
    inbound = InboundCapture(door=15001, ports=ports, except_ports=(22, 9901))
    whose = match(group) if group else None
    return NftPlan(workload=name, owner="1.1", cgroup=whose, inbound=inbound)


def listing(space: Namespace) -> str:
    return space.command("nft", "-s", "list", "ruleset")
