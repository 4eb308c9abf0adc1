"""World. What the nf_tables rung catches of what a workload dials, and what it leaves alone."""

from collections.abc import Iterator

import pytest

from meshtrio.intercept import marks, nft
from meshtrio.intercept.nft_plan import CgroupMatch, InboundCapture, NftPlan, OutboundCapture, Sets
from meshtrio.intercept.nft_request import NftRefused
from tests.support.namespace_box import VIP, VIP6, Box, full_box, listing, match, plan_of
from tests.support.namespace_door import cgroup
from tests.support.namespace_program import program

pytestmark = pytest.mark.world


@pytest.fixture
def box() -> Iterator[Box]:
    with full_box() as made:
        yield made


@pytest.mark.parametrize(
    ("dialled", "original"),
    [
        (VIP, f"{VIP}:80"),
        (VIP6, f"[{VIP6}]:80"),
        (f"::ffff:{VIP}", f"{VIP}:80"),
    ],
)
async def test_what_the_workload_dials_comes_to_the_door(box: Box, dialled: str, original: str) -> None:
    await nft.apply(plan_of(box.group), box.space.fd)
    said = box.app.dial(dialled, 80)
    assert said["greeting"]["name"] == "outbound"
    assert said["greeting"]["original"] == original
    assert said["peer"] == [dialled, 80], "the application sees what it dialled"


async def test_processes_outside_the_cgroup_are_untouched(box: Box) -> None:
    await nft.apply(plan_of(box.group), box.space.fd)
    with cgroup() as elsewhere, program(box.space, elsewhere) as stranger, program(box.space) as nobody:
        for other in (stranger, nobody):
            assert other.dial(VIP, 80, patience=0.2) == {"error": "timed out"}
    assert box.app.dial(VIP, 80)["greeting"]["name"] == "outbound"


async def test_a_cgroup_below_belongs_to_the_workload_and_one_above_does_not(box: Box) -> None:
    with cgroup(box.group) as below, program(box.space, below) as deep:
        await nft.apply(plan_of(box.group), box.space.fd)
        assert deep.dial(VIP, 80)["greeting"]["name"] == "outbound"
        narrow = NftPlan(
            workload="shop", owner="1.1", cgroup=match(below, level=2), outbound=OutboundCapture(door=15002)
        )
        await nft.apply(narrow, box.space.fd)
        assert deep.dial(VIP6, 80)["greeting"]["name"] == "outbound"
        assert box.app.dial(VIP, 80, patience=0.2) == {"error": "timed out"}


@pytest.mark.parametrize(("listed", "unlisted"), [("127.1.0.1", "127.1.0.2"), ("::1", "")])
async def test_loopback_is_left_alone_unless_it_is_a_service(box: Box, listed: str, unlisted: str) -> None:
    service = f"[{listed}]:80" if ":" in listed else f"{listed}:80"
    await nft.apply(plan_of(box.group, services=(service, "10.1.1.1:9")), box.space.fd)
    assert box.app.dial(listed, 80)["greeting"]["original"] == service
    assert box.app.dial(listed, 81) == {"error": "ECONNREFUSED"}, "another port of it"
    if unlisted:
        assert box.app.dial(unlisted, 80) == {"error": "ECONNREFUSED"}
    await nft.update(Sets(workload="shop", services=()), box.space.fd)
    assert box.app.dial(listed, 80) == {"error": "ECONNREFUSED"}
    await nft.update(Sets(workload="shop", services=(service,)), box.space.fd)
    assert box.app.dial(listed, 80)["greeting"]["name"] == "outbound"


async def test_excluded_ports_and_networks_go_where_they_were_dialled(box: Box) -> None:
    plan = plan_of(box.group, except_ports=(25,), except_cidrs=("10.97.0.0/16", "fd97::/16", "10.98.0.1"))
    await nft.apply(plan, box.space.fd)
    for host, port in ((VIP, 25), (VIP6, 25), ("10.97.1.2", 80), ("fd97::1", 80), ("10.98.0.1", 80)):
        assert "error" in box.app.dial(host, port, patience=0.1), (host, port)
    for host, port in ((VIP, 26), ("10.98.0.2", 80), ("fd98::1", 80)):
        assert box.app.dial(host, port)["greeting"]["name"] == "outbound", (host, port)


async def test_our_own_marked_dials_go_out_and_the_low_bits_are_the_users(box: Box) -> None:
    await nft.apply(plan_of(box.group), box.space.fd)
    for ours in (marks.OUTBOUND_DIAL, marks.APP_DIAL, marks.OUTBOUND_DIAL | 0x37, marks.APP_DIAL | 0xFF):
        assert "error" in box.app.dial(VIP, 80, mark=ours, patience=0.1), hex(ours)
    for other in (0x37, marks.OUTBOUND_DIAL + 0x0200, 0x0154_0100):
        assert box.app.dial(VIP, 80, mark=other)["greeting"]["name"] == "outbound", hex(other)


async def test_a_global_source_address_does_not_hinder_the_redirection(box: Box) -> None:
    for address in ("10.7.0.1/24", "fd07::1/64"):
        box.space.add_address(address, "lo")
    await nft.apply(plan_of(box.group), box.space.fd)
    for source, dialled in (("10.7.0.1", VIP), ("fd07::1", VIP6)):
        said = box.app.dial(dialled, 80, source=source)
        assert said["greeting"]["name"] == "outbound"
        assert said["local"][0] == source


async def test_counters_count_connections_by_rule(box: Box) -> None:
    await nft.apply(plan_of(box.group, except_ports=(25,)), box.space.fd)
    assert box.app.tell("burst", times=3, host=VIP, port=80) == {"outbound": 3}
    box.app.dial(VIP6, 80)
    box.app.dial(VIP, 25, patience=0.1)
    box.app.dial("127.0.0.1", 1)
    counts = {name: count.packets for name, count in (await nft.counters("shop", box.space.fd)).items()}
    assert counts == {
        "outbound: our dial to an endpoint": 0,
        "outbound: our dial to an application": 0,
        "outbound: dialled by the workload": 6,
        "outbound_workload: loopback v4": 1,
        "outbound_workload: loopback v6": 0,
        "outbound_workload: link-local v6": 0,
        "outbound_workload: excluded port": 1,
        "outbound_workload: to the outbound door": 4,
    }


async def test_a_wrong_plan_is_refused_with_all_its_faults() -> None:
    plan = NftPlan(
        workload="../x", owner="", inbound=InboundCapture(door=1), cgroup=CgroupMatch(level=1, id=1)
    )
    with pytest.raises(NftRefused, match=r"workload '../x'.*owner ''.*inbound ports must be listed"):
        await nft.apply(plan)


async def test_probe_finds_everything_here_and_leaves_nothing(box: Box) -> None:
    assert [feature.name for feature in await nft.probe(box.space.fd) if feature.missing] == []
    assert listing(box.space) == ""
