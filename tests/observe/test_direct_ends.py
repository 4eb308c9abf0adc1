"""Core. Direct connections as all others are shown, counted and logged."""

from typing import Any

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.intercept.followed_layout import (
    FLOW_ASTRAY,
    FLOW_RELEASED,
    FLOW_RETRANSMITTED,
    DirectEnded,
    DirectLive,
    EndedWords,
)
from meshtrio.observe import direct_ends as ends
from meshtrio.observe.direct_ends import end_of, is_fault, outcome_of, payload, shown, sums_of, tally_of
from meshtrio.observe.ledger import LISTED
from meshtrio.outcome import Outcome

LIVE = DirectLive(
    source=Address.of("10.0.0.1", 5000),
    destination=Address.of("10.96.0.10", 80),
    member=Address.of("10.1.0.1", 8080),
    workload=7,
    called=0,
    netns=3,
    began_at=100.0,
)


def ended(state: int, *, released: bool = False, retransmitted: bool = False) -> DirectEnded:
    return DirectEnded(LIVE, 9, 102.5, 10, 20, state, released, retransmitted)


@pytest.mark.parametrize(
    ("state", "released", "outcome"),
    [
        (ends.SYN_SENT, False, Outcome.CONNECT_FAILED),
        (ends.SYN_SENT, True, Outcome.CLIENT_RESET),
        (ends.ESTABLISHED, False, Outcome.UPSTREAM_RESET),
        (ends.ESTABLISHED, True, Outcome.CLIENT_RESET),
        (ends.CLOSE_WAIT, False, Outcome.UPSTREAM_RESET),
        (ends.CLOSE_WAIT, True, Outcome.CLIENT_RESET),
        (ends.FIN_WAIT1, False, Outcome.UPSTREAM_RESET),
        (ends.FIN_WAIT1, True, Outcome.UPSTREAM_RESET),
        (ends.FIN_WAIT2, False, Outcome.CARRIED),
        (ends.FIN_WAIT2, True, Outcome.CARRIED),
        (ends.LAST_ACK, True, Outcome.CARRIED),
        (ends.CLOSING, True, Outcome.CARRIED),
        (ends.TIME_WAIT, False, Outcome.CARRIED),
    ],
)
def test_each_state_has_its_outcome(state: int, released: bool, outcome: Outcome) -> None:
    assert outcome_of(ended(state, released=released)) is outcome


def test_silence_is_a_connect_that_was_sent_twice() -> None:
    assert outcome_of(ended(ends.SYN_SENT, retransmitted=True)) is Outcome.CONNECT_TIMEOUT
    assert outcome_of(ended(ends.ESTABLISHED, retransmitted=True)) is Outcome.UPSTREAM_RESET


@pytest.mark.parametrize("state", [0, 3, 7, 10, 12, 2**32 - 1])
def test_a_state_that_no_connection_ends_in_is_our_bug(state: int) -> None:
    assert outcome_of(ended(state)) is Outcome.OUR_BUG


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("retransmitted", [False, True])
@pytest.mark.parametrize("state", [ends.SYN_SENT, ends.ESTABLISHED, 0])
def test_who_went_astray_met_somebody_else_and_nobody_is_to_blame(
    state: int, released: bool, retransmitted: bool
) -> None:
    one = ended(state, released=released, retransmitted=retransmitted)
    astray = msgspec.structs.replace(one, received=0, astray=True)
    assert outcome_of(astray) is Outcome.UPSTREAM_TLS
    assert not is_fault(astray)


@pytest.mark.parametrize(
    ("state", "how", "speaks"),
    [
        (ends.SYN_SENT, {}, True),
        (ends.SYN_SENT, {"retransmitted": True}, True),
        (ends.SYN_SENT, {"released": True}, False),
        (ends.SYN_SENT, {"released": True, "retransmitted": True}, True),
        (ends.ESTABLISHED, {}, True),
        (ends.ESTABLISHED, {"received": 1}, False),
        (ends.ESTABLISHED, {"released": True, "retransmitted": True}, False),
        (ends.CLOSE_WAIT, {}, True),
        (ends.FIN_WAIT2, {}, False),
        (0, {}, False),
    ],
)
def test_what_speaks_against_an_endpoint(state: int, how: dict[str, Any], speaks: bool) -> None:
    assert is_fault(msgspec.structs.replace(ended(state), **{"received": 0, **how})) is speaks


@pytest.mark.parametrize(
    ("state", "carried"),
    [
        (ends.SYN_SENT, (10, 20)),
        (ends.ESTABLISHED, (9, 20)),
        (ends.FIN_WAIT1, (9, 20)),
        (ends.FIN_WAIT2, (8, 20)),
        (ends.CLOSING, (9, 19)),
        (ends.TIME_WAIT, (8, 19)),
        (ends.CLOSE_WAIT, (9, 19)),
        (ends.LAST_ACK, (9, 19)),
        (ends.CLOSE, (10, 20)),
    ],
)
def test_syn_and_fin_are_no_payload(state: int, carried: tuple[int, int]) -> None:
    assert payload(state, 10, 20) == carried
    assert payload(state, 0, 0) == (0, 0)


def test_how_one_is_shown() -> None:
    one = shown(9, LIVE, ("shop", "default/web"), now=102.5, wall_now=1000.0)
    assert one.path == "direct"
    assert (one.workload, one.service) == ("shop", "default/web")
    assert (one.source, one.destination, one.endpoint) == ("10.0.0.1:5000", "10.96.0.10:80", "10.1.0.1:8080")
    assert (one.began, one.lasted_s, one.outcome) == (997.5, 2.5, None)


def test_clocks_that_are_read_apart_make_no_negative_time() -> None:
    assert shown(9, LIVE, ("", ""), now=99.0, wall_now=1000.0).lasted_s == 0.0


def words(cookie: int = 9, **how: Any) -> EndedWords:
    to, came = LIVE.destination.pack(), LIVE.source.pack()
    one = EndedWords(came, to, LIVE.member.pack(), 7, 0, 3, 100, cookie, 200, 10, 20, ends.LAST_ACK, 0)
    return one._replace(**how)


def test_sums_are_by_workload_address_and_end() -> None:
    to, other = LIVE.destination.pack(), LIVE.member.pack()
    found = sums_of(
        [
            words(),
            words(state=ends.FIN_WAIT2, flags=FLOW_RELEASED, sent=1, received=2),
            words(state=ends.SYN_SENT, sent=0, received=0),
            words(state=ends.SYN_SENT, sent=0, received=0, flags=FLOW_RETRANSMITTED),
            words(cookie=1, state=ends.ESTABLISHED),
            words(workload=8),
            words(destination=other),
            words(state=ends.SYN_SENT, flags=FLOW_ASTRAY, sent=0, received=0),
            words(cookie=1, state=ends.SYN_SENT, flags=FLOW_ASTRAY, sent=0, received=0),
        ],
        {1},
    )
    assert found == {
        (7, to, Outcome.CARRIED): [2, 11, 22],
        (7, to, Outcome.CONNECT_FAILED): [1, 0, 0],
        (7, to, Outcome.CONNECT_TIMEOUT): [1, 0, 0],
        (7, to, Outcome.DRAINED): [1, 10, 20],
        (7, to, Outcome.UPSTREAM_TLS): [2, 0, 0],
        (8, to, Outcome.CARRIED): [1, 10, 20],
        (7, other, Outcome.CARRIED): [1, 10, 20],
    }


def test_what_we_have_ended_is_drained_unless_it_went_astray() -> None:
    assert end_of(words(), set()) is Outcome.CARRIED
    assert end_of(words(), {9}) is Outcome.DRAINED
    assert end_of(words(flags=FLOW_ASTRAY), {9}) is Outcome.UPSTREAM_TLS


def test_a_tally_counts_all_and_lists_some() -> None:
    one = shown(9, LIVE, ("shop", "default/web"), now=102.5, wall_now=1000.0)
    carried = msgspec.structs.replace(one, outcome=Outcome.CARRIED, sent_bytes=10, received_bytes=20)
    failed = msgspec.structs.replace(carried, outcome=Outcome.CONNECT_FAILED, sent_bytes=0)
    tally = tally_of([carried] * (LISTED + 1) + [failed])
    assert len(tally.ended) == LISTED
    assert tally.omitted == 2
    kinds = {(one.direction, one.workload, one.service, one.outcome): one for one in tally.counts}
    assert set(kinds) == {
        ("outbound", "shop", "default/web", outcome) for outcome in (Outcome.CARRIED, Outcome.CONNECT_FAILED)
    }
    sums = kinds["outbound", "shop", "default/web", Outcome.CARRIED]
    assert (sums.connections, sums.sent_bytes) == (LISTED + 1, 10 * (LISTED + 1))
