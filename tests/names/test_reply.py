"""Core. Which replies are taken, which are kept, and what they are when they are used again."""

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.names.question import read
from meshtrio.names.reply import denial_ttl_s, is_reply, truncated, used_again
from tests.support.dnswords import lines, query

QUERY = query("Nope.Example.com", use_edns=0)
QUESTION = read(QUERY)
SOA = "ns.example.com. me.example.com. 1 2 3 4 {minimum}"


def reply(
    raw: bytes = QUERY, *, code: dns.rcode.Rcode = dns.rcode.NXDOMAIN, soa: tuple[int, int] | None = (60, 30)
) -> dns.message.Message:
    said = dns.message.make_response(dns.message.from_wire(raw))
    said.set_rcode(code)
    if soa:
        said.authority.append(dns.rrset.from_text("example.com.", 60, "IN", "NS", "ns.example.com."))
        value = SOA.format(minimum=soa[1])
        said.authority.append(dns.rrset.from_text("example.com.", soa[0], "IN", "SOA", value))
    return said


def test_a_reply_is_known_by_id_and_question_whatever_its_case() -> None:
    said = reply().to_wire()
    assert is_reply(said, QUERY, QUESTION)
    assert is_reply(said.replace(b"Nope", b"nOPE"), QUERY, QUESTION)
    assert not is_reply(said.replace(b"Nope", b"Nape"), QUERY, QUESTION)
    assert not is_reply(b"\0\0" + said[2:], b"\0\1" + QUERY[2:], QUESTION)
    assert not is_reply(QUERY, QUERY, QUESTION)
    assert not is_reply(said[:11], QUERY, QUESTION)
    other_type = read(query("Nope.Example.com", "AAAA"))
    assert not is_reply(
        said, query("Nope.Example.com", "AAAA", id=dns.message.from_wire(QUERY).id), other_type
    )


def test_an_error_without_the_question_is_a_reply_and_a_success_is_not() -> None:
    head = QUERY[:2] + b"\x80\x01" + bytes(8)
    assert is_reply(head, QUERY, QUESTION)
    assert not is_reply(QUERY[:2] + b"\x80\x00" + bytes(8), QUERY, QUESTION)
    assert truncated(head + b"more", QUESTION) == head


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (reply(), 30),
        (reply(soa=(20, 30)), 20),
        (reply(soa=(60, 0)), 0),
        (reply(code=dns.rcode.NOERROR), 30),
        (reply(soa=None), 0),
        (reply(code=dns.rcode.SERVFAIL), 0),
    ],
)
def test_a_denial_holds_as_long_as_its_soa_says(said: dns.message.Message, expected: int) -> None:
    assert denial_ttl_s(said.to_wire(), QUESTION) == expected


def test_what_is_there_or_cut_off_is_not_kept() -> None:
    there = reply(code=dns.rcode.NOERROR)
    there.answer.append(dns.rrset.from_text("nope.example.com.", 60, "IN", "A", "10.0.0.1"))
    assert denial_ttl_s(there.to_wire(), QUESTION) == 0
    cut = reply()
    cut.flags |= dns.flags.TC
    assert denial_ttl_s(cut.to_wire(), QUESTION) == 0


@given(st.binary(max_size=60), st.integers(0, 80))
def test_any_bytes_are_kept_or_not(tail: bytes, cut: int) -> None:
    said = reply().to_wire()
    denial_ttl_s(said[: max(12, len(said) - cut)] + tail, QUESTION)


def test_used_again_it_is_a_reply_to_the_new_query() -> None:
    other = query("nOPE.example.COM", use_edns=0)
    again = used_again(reply().to_wire(), other, read(other))
    said = dns.message.from_wire(again)
    assert dns.message.from_wire(other).is_response(said)
    assert said.question[0].name.to_text() == "nOPE.example.COM."
    kept = [line.lower() for line in lines(reply().to_wire())]
    assert [line.lower() for line in lines(again)] == kept


def test_cut_to_its_question_it_says_that_there_is_more() -> None:
    short = truncated(reply(code=dns.rcode.NOERROR).to_wire(), QUESTION)
    assert lines(short) == ["NOERROR TC"]
    assert len(short) == QUESTION.end
