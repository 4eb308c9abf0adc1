"""Core. The renewal of one workload's certificate: the table of `rotation`, with times.

Each function gives the plan as it then is, and what the shell has to do. The shell: sleeps `wakes_in_s`,
calls `tick`, and when told to ask does so with a new key and a deadline of its own, and tells `issued` or
`failed` with the number of the attempt. A plan alone says nothing of drains: connections keep what they were
made with.
"""

from typing import NamedTuple

import msgspec

from meshtrio.identity.rotation import ASKING, NEXT, SERVING, Act, Input, State

RENEW_PART = 2 / 3
JITTER_PART = 0.1
"""Renewal comes earlier by up to this part, so that those who began together do not stay together."""
BACKOFF_S = 1.0
BACKOFF_MOST_S = 300.0
BACKOFF_OF_LIFE = 0.1
"""A certificate of 30 s must not wait 300 s."""
CHECK_S = 60.0
"""The longest sleep between two ticks, which bounds how late a jump of the wall clock is seen."""
FAILURES_COUNTED = 64
SKEW_S = 300.0


class Now(NamedTuple):
    """Two clocks and a draw from [0, 1). Certificates live by the wall; nobody sets the running clock.

    Renewal is due when either says so, so a wall clock that jumps back does not put it off; waiting after a
    failure goes by the running clock alone.
    """

    wall: float
    running: float
    luck: float = 0.0


class Validity(NamedTuple):
    """When a certificate begins and ends; all that a plan knows of it."""

    not_before: float
    not_after: float

    def covers(self, wall_now: float, skew_s: float) -> bool:
        """Say whether it is valid, by clocks that differ by `skew_s` at most."""
        return self.not_before - skew_s <= wall_now <= self.not_after + skew_s


class Plan(msgspec.Struct, frozen=True, gc=False):
    """How it stands, and when something is to be done."""

    state: State = State.NONE
    validity: Validity | None = None
    due_running: float = float("-inf")
    """When to ask, by the running clock; means nothing while an attempt is under way."""
    due_wall: float = float("inf")
    """When to ask at the latest, by the wall."""
    attempt: int = 0
    """Number of the last attempt; answers to others are stale."""
    failures: int = 0
    """In a row, up to FAILURES_COUNTED."""
    skew_s: float = SKEW_S

    @property
    def serves(self) -> bool:
        """Say whether the certificate at hand may be used for new handshakes."""
        return self.state in SERVING


class Turn(NamedTuple):
    """What came of it."""

    plan: Plan
    act: Act


def tick(plan: Plan, now: Now) -> Turn:
    """Look at the clocks. The very same plan comes back if nothing changed."""
    act = Act.WAIT
    if plan.validity is not None:
        covered = plan.validity.covers(now.wall, plan.skew_s)
        plan, act = _step(plan, Input.RETURNED if covered else Input.LAPSED)
    if act is Act.WAIT and (now.running >= plan.due_running or now.wall >= plan.due_wall):
        plan, act = _step(plan, Input.DUE)
    return Turn(plan, act)


def issued(plan: Plan, validity: Validity, now: Now, attempt: int | None = None) -> Turn:
    """Take a new certificate; without attempt: one that came unasked. Renewal is due at two thirds of its
    life. One that is not valid by our clock counts as a failure, and one of an old attempt as nothing.

    The shell uses the certificate exactly if the plan that comes back has its validity and serves.
    """
    if attempt is not None and not _awaits(plan, attempt):
        return Turn(plan, Act.WAIT)
    if not validity.covers(now.wall, plan.skew_s) or validity.not_after <= now.wall:
        return _failed(plan, now) if attempt is not None else Turn(plan, Act.WAIT)
    begin, end = validity
    # With a clock that is far ahead two thirds are over at once; a third of what is left then keeps us from
    # asking again and again.
    wait_s = max(begin + (end - begin) * RENEW_PART - now.wall, (end - now.wall) / 3)
    return Turn(_fresh(plan, validity, now, wait_s), Act.WAIT)


def restored(plan: Plan, validity: Validity, now: Now) -> Turn:
    """Take a certificate from before a restart. Past two thirds of its life renewal is due at once; one that
    is not valid now is not taken."""
    if not validity.covers(now.wall, plan.skew_s):
        return Turn(plan, Act.WAIT)
    begin, end = validity
    wait_s = max(begin + (end - begin) * RENEW_PART - now.wall, 0.0)
    return Turn(_fresh(plan, validity, now, wait_s), Act.WAIT)


def failed(plan: Plan, now: Now, attempt: int) -> Turn:
    """An attempt came to nothing: the next one waits, twice as long as the last."""
    return _failed(plan, now) if _awaits(plan, attempt) else Turn(plan, Act.WAIT)


def rotate(plan: Plan) -> Turn:
    """Ask for another certificate at once, also while an attempt is under way or waits. The one at hand
    serves until then, if it did."""
    return _step(msgspec.structs.replace(plan, failures=0), Input.ROTATE)


def revoked(plan: Plan) -> Turn:
    """Stop using the certificate at hand, and ask for another at once."""
    return _step(plan, Input.REVOKED)


def wakes_in_s(plan: Plan, now: Now, most_s: float = CHECK_S) -> float:
    """Say how long to sleep before the next tick, if nothing else happens."""
    ends = [most_s]
    if plan.state not in ASKING:
        ends += (plan.due_running - now.running, plan.due_wall - now.wall)
    if plan.serves and plan.validity is not None:
        ends.append(plan.validity.not_after + plan.skew_s - now.wall + 0.001)
    return max(0.0, min(ends))


def backoff_s(failures: int, life_s: float | None, luck: float) -> float:
    """Say how long to wait after so many failures in a row: 1 s, 2 s, 4 s ... 300 s, of which at least half.

    Of a certificate's life never more than a tenth, for short ones.
    """
    most_s = BACKOFF_MOST_S
    if life_s is not None:
        most_s = min(most_s, max(BACKOFF_S, life_s * BACKOFF_OF_LIFE))
    wait_s: float = min(most_s, BACKOFF_S * 2.0 ** (failures - 1))
    return wait_s * (0.5 + 0.5 * luck)


def _awaits(plan: Plan, attempt: int) -> bool:
    return plan.state in ASKING and attempt == plan.attempt


def _fresh(plan: Plan, validity: Validity, now: Now, wait_s: float) -> Plan:
    early_s = wait_s * (1 - JITTER_PART * now.luck)
    return msgspec.structs.replace(
        plan,
        state=NEXT[plan.state, Input.ISSUED].state,
        validity=validity,
        due_running=now.running + early_s,
        due_wall=now.wall + early_s,
        failures=0,
    )


def _failed(plan: Plan, now: Now) -> Turn:
    failures = min(plan.failures + 1, FAILURES_COUNTED)
    life_s = None if plan.validity is None else plan.validity.not_after - plan.validity.not_before
    due = now.running + backoff_s(failures, life_s, now.luck)
    waiting = msgspec.structs.replace(plan, failures=failures, due_running=due, due_wall=float("inf"))
    return _step(waiting, Input.FAILED)


def _step(plan: Plan, what: Input) -> Turn:
    step = NEXT[plan.state, what]
    if step.act is Act.ASK:
        plan = msgspec.structs.replace(plan, state=step.state, attempt=plan.attempt + 1)
    elif step.state is not plan.state:
        plan = msgspec.structs.replace(plan, state=step.state)
    return Turn(plan, step.act)
