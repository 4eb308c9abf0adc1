"""Core. bpf/include/decide.h, built for this machine, against a model in Python, over every input."""

import ctypes

import pytest

from meshtrio.intercept.layout import Reason
from tests.support.native import numbers

REFUSED = {
    Reason.REFUSED_AGENT_LOST,
    Reason.REFUSED_CANNOT_CATCH,
    Reason.REFUSED_DOOR,
    Reason.REFUSED_NO_MEMBER,
}


def outbound_model(*facts: bool) -> Reason:
    """Say the rules again, in the words of the design: what is not ours first, then what cannot be done."""
    tcp, known, ours, door, excluded, local, service, cannot, beating, closed, dns, resolving, direct = facts
    if not tcp and not dns:
        return Reason.LEFT_NOT_TCP
    if not known:
        return Reason.LEFT_NO_CONFIG
    if ours:
        return Reason.LEFT_OURS
    if door:
        return Reason.REFUSED_DOOR
    if excluded:
        return Reason.LEFT_EXCLUDED
    if dns and resolving:
        return Reason.RESOLVED_BY_US
    if not tcp:
        return Reason.OPEN_NO_RESOLVER
    if local and not service:
        return Reason.LEFT_LOOPBACK
    if direct:
        return Reason.DIRECT
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
    listened, our_dial, alive, strict, granted = facts
    if not listened:
        return Reason.PASSED_NOT_OURS
    if our_dial:
        return Reason.PASSED_OUR_DIAL
    if granted:
        return Reason.PASSED_GRANTED
    lost = Reason.DROPPED_AGENT_LOST if strict else Reason.PASSED_AGENT_LOST
    return Reason.CAUGHT if alive else lost


def datagram_model(*facts: bool) -> Reason:
    _, known, ours, _, excluded, _, _, _, _, _, _, _, direct = facts
    if not known:
        return Reason.LEFT_NO_CONFIG
    if ours or excluded:
        return Reason.LEFT_OURS if ours else Reason.LEFT_EXCLUDED
    return Reason.UDP_DIRECT if direct else Reason.REFUSED_NO_MEMBER


def bits(number: int, count: int) -> list[bool]:
    return [bool(number >> at & 1) for at in range(count)]


def test_outbound_is_the_model_for_every_input(library: ctypes.CDLL) -> None:
    said = [Reason(library.native_decide_outbound(facts)) for facts in range(1 << 13)]
    assert said == [outbound_model(*bits(facts, 13)) for facts in range(1 << 13)]


def test_inbound_is_the_model_for_every_input(library: ctypes.CDLL) -> None:
    said = [Reason(library.native_decide_inbound(facts)) for facts in range(1 << 5)]
    assert said == [inbound_model(*bits(facts, 5)) for facts in range(1 << 5)]


def test_a_datagram_is_the_model_for_every_input(library: ctypes.CDLL) -> None:
    said = [Reason(library.native_decide_datagram(facts)) for facts in range(1 << 13)]
    assert said == [datagram_model(*bits(facts, 13)) for facts in range(1 << 13)]


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
        "DNS",
        "RESOLVING",
        "DIRECT",
    ]
    inbound = ["LISTENED", "OUR_DIAL", "ALIVE", "STRICT", "GRANTED"]
    assert [known[f"FACT_{name}"] for name in outbound] == [1 << at for at in range(13)]
    assert [known[f"FACT_{name}"] for name in inbound] == [1 << at for at in range(5)]
    assert (known["FACTS"], known["INBOUND_FACTS"]) == (13, 5)


def test_a_closed_workload_is_never_let_through_unmeshed(library: ctypes.CDLL) -> None:
    """The promise behind `on_agent_loss: closed`, apart from how the rules are written. Direct is meshed: the
    agent has said that such a service needs nothing else of us."""
    left_alone = {reason for reason in Reason if reason.name.startswith("LEFT_")}
    for facts in range(1 << 13):
        if facts >> 9 & 1 and facts & 1:
            why = Reason(library.native_decide_outbound(facts))
            assert why in left_alone | REFUSED | {Reason.REDIRECTED, Reason.RESOLVED_BY_US, Reason.DIRECT}


def test_a_query_is_never_refused_but_to_a_door_and_never_relayed(library: ctypes.CDLL) -> None:
    """The promise behind "always open": names are no security border. And the worker knows TCP alone."""
    for facts in range(0, 1 << 13, 2):
        why = Reason(library.native_decide_outbound(facts))
        assert why not in (REFUSED - {Reason.REFUSED_DOOR}) | {Reason.REDIRECTED, Reason.DIRECT}


def test_our_resolver_changes_nothing_for_what_asks_no_names(library: ctypes.CDLL) -> None:
    for facts in range(1 << 10):
        why = library.native_decide_outbound(facts)
        assert library.native_decide_outbound(facts | 1 << 11) == why
        if facts & 1:
            assert library.native_decide_outbound(facts | 1 << 10) == why, "TCP to 53, and no resolver"


def test_a_direct_service_asks_neither_for_us_nor_for_the_policy(library: ctypes.CDLL) -> None:
    """It keeps its last members when all of us are dead; and it changes nothing for what we do not catch."""
    without_us = 1 << 7 | 1 << 8 | 1 << 9
    for facts in range(1 << 12):
        direct = Reason(library.native_decide_outbound(facts | 1 << 12))
        if direct is Reason.DIRECT:
            assert library.native_decide_outbound((facts | 1 << 12) ^ without_us) == Reason.DIRECT
        else:
            assert library.native_decide_outbound(facts) == direct
