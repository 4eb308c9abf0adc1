"""Core. What is remembered, under which key, for how long, and what goes when there is too much."""

import dns.edns
import dns.flags
import dns.message
import pytest

from meshtrio.address import Address
from meshtrio.names.question import read
from meshtrio.resolver.negative import BOUND, Key, Negative, believed_s, key_of
from tests.support.dnswords import query
from tests.support.nameserver import reply

SERVER = Address.parse("10.96.0.10:53")


def key(raw: bytes, server: Address = SERVER, door: int = 0) -> Key | None:
    return key_of(raw, read(raw), server, door=door)


USUAL = key(query("Nope.example"))


def test_the_same_question_has_the_same_key_whatever_its_id_and_case() -> None:
    assert USUAL is not None
    assert key(query("nOPE.Example")) == USUAL


@pytest.mark.parametrize(
    "other",
    [
        key(query("nape.example")),
        key(query("nope.example", "AAAA")),
        key(query("nope.example", "TYPE97")),
        key(query("nope.example", use_edns=0)),
        key(query("nope.example", want_dnssec=True)),
        key(query("nope.example", flags=dns.flags.RD | dns.flags.CD)),
        key(query("nope.example", flags=0)),
        key(query("nope.example"), Address.parse("10.96.0.11:53")),
        key(query("nope.example"), door=1),
    ],
)
def test_what_may_be_answered_differently_has_another_key(other: Key | None) -> None:
    assert other is not None
    assert other != USUAL


def test_types_that_differ_as_cases_of_a_letter_do_are_not_the_same() -> None:
    assert key(query("nope.example", "TYPE65")) != key(query("nope.example", "TYPE97"))


def test_what_is_for_one_query_alone_has_no_key() -> None:
    cookie = dns.message.make_query("nope.example", "A")
    cookie.use_edns(0, 0, 1232, options=[dns.edns.CookieOption(b"12345678", b"")])
    assert key(cookie.to_wire()) is None
    assert key(query("nope.example", use_edns=0)[:-1]) is None


def test_it_is_believed_until_then() -> None:
    negative = Negative()
    assert USUAL is not None
    negative.keep(USUAL, b"no", 5.0)
    assert negative.find(USUAL, 4.9) == b"no"
    assert negative.find(USUAL, 5.0) is None
    assert len(negative) == 0


def test_the_one_not_used_for_longest_goes() -> None:
    negative = Negative()
    for number in range(BOUND):
        negative.keep((0, number), b"no", 5.0)
    negative.find((0, 0), 1.0)
    negative.keep((0, BOUND), b"no", 5.0)
    assert len(negative) == BOUND
    assert negative.find((0, 0), 1.0)
    assert negative.find((0, 1), 1.0) is None


def test_a_door_is_forgotten_alone() -> None:
    negative = Negative()
    negative.keep((0, "a"), b"no", 5.0)
    negative.keep((1, "a"), b"no", 5.0)
    negative.forget(0)
    assert len(negative) == 1
    assert negative.find((1, "a"), 0.0)


def test_the_least_of_ours_and_theirs_is_believed_and_nothing_of_what_is_long() -> None:
    raw = query("nope.example")
    said = reply(raw, tcp=False)
    assert believed_s(said, read(raw), 5) == 5
    assert believed_s(said, read(raw), 3600) == 30
    assert believed_s(said, read(raw), 0) == 0
    assert believed_s(said + bytes(1232), read(raw), 5) == 0
    there = query("there.example")
    assert believed_s(reply(there, tcp=False), read(there), 5) == 0
