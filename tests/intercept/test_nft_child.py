"""World. What the child does: it reads back what it wrote, and refuses what it cannot verify."""

import re

import pytest

from meshtrio.intercept import nft_child
from meshtrio.intercept import nft_request as request
from meshtrio.intercept.nft_child import act
from meshtrio.intercept.nft_plan import CgroupMatch, InboundCapture, NftPlan, OutboundCapture, Sets
from meshtrio.intercept.nft_request import NftRefused
from meshtrio.intercept.nft_rules import ruleset
from meshtrio.intercept.nft_transaction import Conversation
from tests.support.namespace import Namespace

pytestmark = pytest.mark.world

PLAN = NftPlan(
    workload="shop",
    owner="1.1",
    cgroup=CgroupMatch(level=1, id=1),
    outbound=OutboundCapture(door=15002, dns_door=15053, except_cidrs=("10.0.0.0/8", "fd00::/8")),
    inbound=InboundCapture(door=15001, ports=(8080,)),
    transparent=True,
)


def test_what_is_applied_is_what_the_rules_say() -> None:
    with Namespace() as space:
        applied = space.run(lambda: act(request.Apply(PLAN)))
        listing = space.command("nft", "list", "ruleset")
    wanted = ruleset(PLAN)
    assert applied.rules == len(wanted.rules) == listing.count("packets 0")  # type: ignore[attr-defined]
    for rule in wanted.rules:
        assert f'comment "{rule.tag}"' in listing
    for name in (*(chain.name for chain in wanted.chains), *(keys.name for keys in wanted.sets)):
        assert f" {name} {{" in listing


def test_a_table_that_is_not_as_committed_is_refused() -> None:
    """Somebody deletes a rule, or adds a key, between the commit and the verification."""
    wanted = ruleset(PLAN)

    def verify() -> None:
        with Conversation() as kernel:
            nft_child._verified(kernel, wanted)

    with Namespace() as space:
        space.run(lambda: act(request.Apply(PLAN)))
        space.command("nft", "add", "element", "inet", "meshtrio_shop", "ports", "{ 1 }")
        with pytest.raises(NftRefused, match="set ports is not as committed: has 2 keys, not 1"):
            space.run(verify)
        space.command("nft", "flush", "chain", "inet", "meshtrio_shop", "worker")
        missing = re.escape("missing ['worker: not tracked', 'worker: our query']")
        with pytest.raises(NftRefused, match=f"not as committed: {missing}"):
            space.run(verify)
        for tag in ("not tracked", "our query"):
            space.command(
                "nft", "add", "rule", "inet", "meshtrio_shop", "worker", "notrack", f'comment "{tag}"'
            )
        space.command("nft", "add", "rule", "inet", "meshtrio_shop", "worker", "counter")
        with pytest.raises(NftRefused, match=f"has {len(wanted.rules) + 1} rules, not {len(wanted.rules)}"):
            space.run(verify)


def test_updating_what_a_workload_has_not_is_refused() -> None:
    whole = NftPlan(workload="pod", owner="1.1", inbound=InboundCapture(door=15001))
    with Namespace() as space:
        space.run(lambda: act(request.Apply(whole)))
        with pytest.raises(NftRefused, match=r"emptying set ports of meshtrio_pod \(ENOENT\)"):
            space.run(lambda: act(request.Update(Sets(workload="pod", ports=(1,)))))


def test_releasing_keeps_the_hooks_and_the_workers_chain() -> None:
    with Namespace() as space:
        space.run(lambda: act(request.Apply(PLAN)))
        assert space.run(lambda: act(request.Release("shop"))) is True
        listing = space.command("nft", "list", "ruleset")
    assert "notrack" in listing
    assert "redirect" not in listing
    assert "dnat" not in listing.replace("dstnat", "")
    assert listing.count("hook output") == 3


def test_everything_at_its_bound_goes_in() -> None:
    big = NftPlan(
        workload="w" * 200,
        owner="o" * 100,
        outbound=OutboundCapture(
            door=15002,
            services=tuple(f"[::1]:{port}" for port in range(1, 4097)),
            except_ports=tuple(range(1, 4097)),
            except_cidrs=tuple(f"10.{n}.0.0/16" for n in range(64)),
        ),
        inbound=InboundCapture(door=15001, ports=tuple(range(1, 4096))),
    )
    with Namespace() as space:
        applied = space.run(lambda: act(request.Apply(big)))
    assert applied.elements == 4096 + 4096 + 4095 + 3  # type: ignore[attr-defined]
