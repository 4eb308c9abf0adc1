"""Core. Direct connections as all others are shown, counted and logged. Knows what hooks tell, and no clock.

A hook sees TCP states and nothing else: in which one a socket was when it ended, whether its process had let
go of it before, and whether something had to be sent twice. What that means stands in one table.
"""

from collections.abc import Sequence, Set
from typing import Any

from meshtrio.intercept.followed_layout import DirectEnded, DirectLive, EndedWords
from meshtrio.messages import Connection, Count, Tally
from meshtrio.observe.ledger import LISTED
from meshtrio.outcome import Outcome

ESTABLISHED, SYN_SENT, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING = (
    1,
    2,
    4,
    5,
    6,
    7,
    8,
    9,
    11,
)
"""As in the kernel's net/tcp_states.h."""

_ENDS = {
    SYN_SENT: (Outcome.CONNECT_FAILED, Outcome.CLIENT_RESET),
    ESTABLISHED: (Outcome.UPSTREAM_RESET, Outcome.CLIENT_RESET),
    CLOSE_WAIT: (Outcome.UPSTREAM_RESET, Outcome.CLIENT_RESET),
    FIN_WAIT1: (Outcome.UPSTREAM_RESET, Outcome.UPSTREAM_RESET),
    FIN_WAIT2: (Outcome.CARRIED, Outcome.CARRIED),
    TIME_WAIT: (Outcome.CARRIED, Outcome.CARRIED),
    LAST_ACK: (Outcome.CARRIED, Outcome.CARRIED),
    CLOSING: (Outcome.CARRIED, Outcome.CARRIED),
}
"""By the state, how it ended if the process had not let go of the socket before, and if it had."""
Kind = tuple[int, bytes, Outcome]
"""Of one workload, to one address, with one end."""
_FAULTS = (Outcome.CONNECT_FAILED, Outcome.CONNECT_TIMEOUT, Outcome.UPSTREAM_RESET)


def outcome_of(ended: DirectEnded | EndedWords) -> Outcome:
    """Say how it ended. A state that no connection ends in (the kernel has changed) is our bug."""
    if ended.astray:
        return Outcome.UPSTREAM_TLS  # as of any endpoint that does not prove to be who it should be
    if ended.state not in _ENDS:
        return Outcome.OUR_BUG
    outcome = _ENDS[ended.state][ended.released]
    if outcome is Outcome.CONNECT_FAILED and ended.retransmitted:
        return Outcome.CONNECT_TIMEOUT  # silence; who refuses does that at the first try
    return outcome


def is_fault(ended: DirectEnded | EndedWords) -> bool:
    """Say whether it speaks against the endpoint: it was not reached, or reset before it had said anything.

    Who gives up connecting says nothing, unless there was silence for so long that the SYN was sent twice.
    """
    if ended.received:
        return False
    outcome = outcome_of(ended)
    if outcome is Outcome.CLIENT_RESET:
        return ended.state == SYN_SENT and ended.retransmitted
    return outcome in _FAULTS


def payload(state: int, acked: int, received: int) -> tuple[int, int]:
    """Return the bytes that a connection which lives has sent and received, of what the kernel counted.

    The kernel counts SYN and FIN as bytes: ours once they are acknowledged, and the other side's FIN when it
    came (as in bpf/direct.c, which sees them at the end). What is sent counts once it is acknowledged.
    """
    ours = (state not in (SYN_SENT, CLOSE)) + (state in (FIN_WAIT2, TIME_WAIT))
    theirs = state in (CLOSE_WAIT, LAST_ACK, CLOSING, TIME_WAIT)
    return max(0, acked - ours), max(0, received - theirs)


def shown(
    number: int, one: DirectLive, names: tuple[str, str], *, now: float, wall_now: float, **end: Any
) -> Connection:
    """Return a direct connection as a value; `names`: workload, service; `end`: how it ended."""
    workload, service = names
    lasted_s = max(0.0, now - one.began_at)
    return Connection(
        id=number,
        direction="outbound",
        workload=workload,
        source=str(one.source),
        destination=str(one.destination),
        service=service,
        endpoint=str(one.member),
        began=wall_now - lasted_s,
        lasted_s=lasted_s,
        path="direct",
        **end,
    )


def sums_of(ended: Sequence[EndedWords], cut: Set[int]) -> dict[Kind, list[int]]:
    """Add up connections, bytes sent and bytes received by kind; `cut` are those that we have ended.

    This is all that becomes of most, so it makes no value of one.
    """
    alike: dict[tuple[int, bytes, int, int, bool], list[int]] = {}
    of: dict[tuple[int, bytes, int, int, bool], Outcome] = {}
    for one in ended:
        key = one.workload, one.destination, one.state, one.flags, one.cookie in cut
        sums = alike.get(key)
        if sums is None:
            alike[key] = [1, one.sent, one.received]
            of[key] = end_of(one, cut)
        else:
            sums[0] += 1
            sums[1] += one.sent
            sums[2] += one.received
    kinds: dict[Kind, list[int]] = {}
    for key, sums in alike.items():
        known = kinds.setdefault((key[0], key[1], of[key]), [0, 0, 0])
        known[:] = [have + more for have, more in zip(known, sums, strict=True)]
    return kinds


def end_of(ended: EndedWords, cut: Set[int]) -> Outcome:
    """Say how it ended, if it may have been ended by us."""
    return Outcome.DRAINED if ended.cookie in cut and not ended.astray else outcome_of(ended)


def tally_of(ended: Sequence[Connection]) -> Tally:
    """Add up connections that have ended; more than LISTED are counted only."""
    counts: dict[tuple[str, str, Outcome], list[int]] = {}
    for one in ended:
        assert one.outcome is not None
        sums = counts.setdefault((one.workload, one.service, one.outcome), [0, 0, 0])
        sums[0] += 1
        sums[1] += one.sent_bytes
        sums[2] += one.received_bytes
    listed = list(ended[:LISTED])
    kinds = [Count("outbound", *kind, *sums) for kind, sums in counts.items()]
    return Tally(kinds, listed, len(ended) - len(listed))
