"""Ring 2. What workers are told of one workload, and when they need not be told."""

import trio

from meshtrio.bearer import Bearer, Wish
from meshtrio.identity.plan import Now, Plan, Validity
from meshtrio.identity.rotation import State
from meshtrio.identity.spiffe import parse
from meshtrio.issuers.issuer import Issued
from tests.support.identities import DAY_S, NOW

WEB = parse("spiffe://td/ns/shop/sa/web")
FIRST = Issued(WEB, (b"leaf", b"signing"), b"key", 7, Validity(NOW, NOW + DAY_S))


def bearer(state: State = State.NONE, error: str = "") -> Bearer:
    made = Bearer(1, "web", WEB)
    made.plan = Plan(state, None if state is State.NONE else FIRST.validity)
    made.issued = None if state is State.NONE else FIRST
    made.error = error
    return made


def test_each_word_is_said_once() -> None:
    one = bearer()
    told = one.news()
    assert told is not None and (told.chain, told.why) == ((), "there is no certificate yet")
    assert one.news() is None
    one.plan, one.issued = Plan(State.FRESH, FIRST.validity), FIRST
    told = one.news()
    assert told is not None
    assert (told.chain, told.key, told.not_after, told.why) == (FIRST.chain, b"key", NOW + DAY_S, "")
    one.plan = Plan(State.RENEWING, FIRST.validity)
    assert one.news() is None, "renewal changes nothing until it is done"
    one.plan = Plan(State.EXPIRED, FIRST.validity)
    told = one.news()
    assert told is not None and (told.chain, told.key) == ((), b"")


def test_why_there_is_none() -> None:
    said = {
        state: bearer(state, "no answer").news() for state in (State.NONE, State.EXPIRED, State.REPLACING)
    }
    assert [told.why for told in said.values() if told is not None] == [
        "there is no certificate yet; no answer",
        "its certificate has expired, or our clock is wrong; no answer",
        "its certificate was revoked; no answer",
    ]


def test_a_revocation_is_not_undone_by_a_rotation() -> None:
    one = bearer(State.FRESH)
    one.wants(Wish.REVOKED)
    one.wants(Wish.ROTATE)
    assert (one.taken_wish(), one.taken_wish(), one.wished) == (Wish.REVOKED, None, False)


def test_when_it_is_renewed() -> None:
    one = bearer(State.FRESH)
    one.plan = Plan(State.FRESH, FIRST.validity, due_running=100.0, due_wall=NOW + 500)
    assert one.renews_at(Now(NOW, 40.0)) == NOW + 60
    assert one.renews_at(Now(NOW + 490, 40.0)) == NOW + 500
    one.plan = Plan(State.RENEWING, FIRST.validity)
    assert one.renews_at(Now(NOW, 40.0)) == NOW


async def test_a_wish_cuts_a_turn_short() -> None:
    one = bearer(State.FRESH)
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with one.turn():
                    await trio.sleep_forever()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            one.wants(Wish.ROTATE)
    assert one.wished
