"""Core. Plans are checked whole, and names cannot leave their place."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from meshtrio.intercept import nft_plan as plans
from meshtrio.intercept.nft_plan import CgroupMatch, InboundCapture, NftPlan, OutboundCapture

GOOD = NftPlan(workload="shop", owner="1.1", outbound=OutboundCapture(door=15002))


def changed(**changes: object) -> NftPlan:
    return msgspec.structs.replace(GOOD, **changes)


@pytest.mark.parametrize("name", ["a", "shop-1", "ns_pod.x", "A" * 200, "0"])
def test_a_good_name_is_a_table(name: str) -> None:
    assert plans.table_name(name) == f"meshtrio_{name}"
    assert plans.faults(changed(workload=name)) == []


@pytest.mark.parametrize("name", ["", ".", "-a", "a b", "a/b", "a\n", "ü", "A" * 201, 'x"', "a;b"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="workload"):
        plans.table_name(name)
    assert len(plans.faults(changed(workload=name))) == 1


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (changed(owner=""), "owner"),
        (changed(owner="a b"), "owner"),
        (changed(outbound=None), "neither outbound nor inbound"),
        (changed(inbound=InboundCapture(door=1), cgroup=CgroupMatch(level=1, id=1)), "must be listed"),
        (changed(inbound=InboundCapture(door=1, ports=tuple(range(1, 4097)))), "4096 inbound ports"),
        (changed(outbound=OutboundCapture(door=1, except_ports=tuple(range(1, 4098)))), "excluded outbound"),
        (
            changed(outbound=OutboundCapture(door=1, except_cidrs=("10.0.0.0/8",) * 65)),
            "64 excluded networks",
        ),
        (changed(outbound=OutboundCapture(door=1, except_cidrs=("10.0.0.0/33",))), "10.0.0.0/33"),
        (changed(outbound=OutboundCapture(door=1, services=("::1:80",))), "::1:80"),
        (
            changed(
                outbound=OutboundCapture(door=1, services=tuple(f"127.0.0.1:{n}" for n in range(1, 4098)))
            ),
            "4096 service addresses",
        ),
    ],
)
def test_each_fault_is_named(plan: NftPlan, words: str) -> None:
    (fault,) = plans.faults(plan)
    assert words in fault


def test_all_faults_come_at_once() -> None:
    assert len(plans.faults(NftPlan(workload="", owner=""))) == 3


def test_only_loopback_services_need_an_entry() -> None:
    listed = plans.loopback_services(
        ("127.0.0.1:80", "127.9.9.9:1", "10.0.0.1:80", "[::1]:80", "[fd00::1]:80")
    )
    assert {str(one) for one in listed} == {"127.0.0.1:80", "127.9.9.9:1", "[::1]:80"}


@given(
    some.builds(
        NftPlan,
        workload=some.text(max_size=10),
        owner=some.text(max_size=10),
        cgroup=some.none()
        | some.builds(CgroupMatch, level=some.integers(1, 255), id=some.integers(1, 2**63)),
        outbound=some.none() | some.builds(OutboundCapture, door=some.integers(1, 65535)),
        inbound=some.none() | some.builds(InboundCapture, door=some.integers(1, 65535)),
    )
)
def test_a_plan_survives_the_pipe_and_faults_never_raises(plan: NftPlan) -> None:
    assert msgspec.json.decode(msgspec.json.encode(plan), type=NftPlan) == plan
    plans.faults(plan)


def test_numbers_out_of_range_do_not_pass_the_pipe() -> None:
    for text in (b'{"level":0,"id":5}', b'{"level":256,"id":5}', b'{"level":1,"id":0}'):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=CgroupMatch)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"door":65536}', type=OutboundCapture)
