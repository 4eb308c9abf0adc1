"""Core. bpf/include/decide.h, built for this machine, against a model in Python, over every input."""

import ctypes

import pytest

from meshtrio.intercept.layout import Reason
from tests.support.native import numbers

REFUSED = {Reason.REFUSED_AGENT_LOST, Reason.REFUSED_CANNOT_CATCH, Reason.REFUSED_DOOR}


def outbound_model(*facts: bool) -> Reason:
    """Say the rules again, in the words of the design: what is not ours first, then what cannot be done."""
    tcp, known, ours, door, excluded, local, service, cannot, beating, closed = facts
    if not tcp:
        return Reason.LEFT_NOT_TCP
    if not known:
        return Reason.LEFT_NO_CONFIG
    if ours:
        return Reason.LEFT_OURS
    if door:
        return Reason.REFUSED_DOOR
    if excluded:
        return Reason.LEFT_EXCLUDED
    if local and not service:
        return Reason.LEFT_LOOPBACK
    if beating and not cannot:
        return Reason.REDIRECTED
    table = {
        (False, False): Reason.OPEN_AGENT_LOST,
        (False, True): Reason.REFUSED_AGENT_LOST,
        (True, False): Reason.OPEN_CANNOT_CATCH,
        (True, True): Reason.REFUSED_CANNOT_CATCH,
    }
    return table[beating, closed]


def inbound_model(*facts: bool) -> Reason:
    listened, our_dial, alive, strict = facts
    if not listened:
        return Reason.PASSED_NOT_OURS
    if our_dial:
        return Reason.PASSED_OUR_DIAL
    lost = Reason.DROPPED_AGENT_LOST if strict else Reason.PASSED_AGENT_LOST
    return Reason.CAUGHT if alive else lost


def bits(number: int, count: int) -> list[bool]:
    return [bool(number >> at & 1) for at in range(count)]


def test_outbound_is_the_model_for_every_input(library: ctypes.CDLL) -> None:
    said = [Reason(library.native_decide_outbound(facts)) for facts in range(1 << 10)]
    assert said == [outbound_model(*bits(facts, 10)) for facts in range(1 << 10)]


def test_inbound_is_the_model_for_every_input(library: ctypes.CDLL) -> None:
    said = [Reason(library.native_decide_inbound(facts)) for facts in range(1 << 4)]
    assert said == [inbound_model(*bits(facts, 4)) for facts in range(1 << 4)]


@pytest.mark.parametrize("why", Reason)
def test_only_refusals_refuse(library: ctypes.CDLL, why: Reason) -> None:
    assert bool(library.native_may_connect(why)) == (why not in REFUSED)


def test_the_facts_stand_in_the_order_of_the_model(library: ctypes.CDLL) -> None:
    known = numbers(library)
    outbound = [
        "TCP",
        "CONFIG",
        "OURS",
        "DOOR_ITSELF",
        "EXCLUDED",
        "LOCAL",
        "SERVICE",
        "CANNOT_CATCH",
        "BEATING",
        "CLOSED",
    ]
    inbound = ["LISTENED", "OUR_DIAL", "ALIVE", "STRICT"]
    assert [known[f"FACT_{name}"] for name in outbound] == [1 << at for at in range(10)]
    assert [known[f"FACT_{name}"] for name in inbound] == [1 << at for at in range(4)]
    assert (known["FACTS"], known["INBOUND_FACTS"]) == (10, 4)


def test_a_closed_workload_is_never_let_through_unmeshed(library: ctypes.CDLL) -> None:
    """The promise behind `on_agent_loss: closed`, apart from how the rules are written."""
    left_alone = {reason for reason in Reason if reason.name.startswith("LEFT_")}
    for facts in range(1 << 10):
        if facts >> 9 & 1:
            why = Reason(library.native_decide_outbound(facts))
            assert why in left_alone | REFUSED | {Reason.REDIRECTED}
