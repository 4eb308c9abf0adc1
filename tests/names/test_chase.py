"""Core. What is asked for an alias's target, and how the reply is told behind the alias."""

import random

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.config.discovery import Dns
from meshtrio.names.answer import Answers, Chase
from meshtrio.names.chase import asked, joined
from tests.support.dnswords import lines, query
from tests.support.shop import SHOP

QUERY = query("Paying.Mesh", use_edns=0, want_dnssec=True)
ALIAS = "Paying.Mesh. 30 CNAME api.example.com."


def chased(raw: bytes) -> Chase:
    found = Answers(Dns(), random.shuffle).verdict(raw, SHOP, namespace="shop", tcp=False)
    assert isinstance(found, Chase)
    return found


CHASE = chased(QUERY)
ASKED = asked(QUERY, CHASE)


def replied(*records: tuple[str, str, str], code: dns.rcode.Rcode = dns.rcode.NOERROR) -> dns.message.Message:
    said = dns.message.make_response(dns.message.from_wire(ASKED))
    said.set_rcode(code)
    for name, kind, value in records:
        said.answer.append(dns.rrset.from_text(name, 9, "IN", kind, value))
    return said


def test_the_target_is_asked_for_in_the_same_way() -> None:
    mine, theirs = dns.message.from_wire(QUERY), dns.message.from_wire(ASKED)
    assert str(theirs.question[0]) == "api.example.com. IN A"
    assert (theirs.id, theirs.flags, theirs.edns, theirs.ednsflags) == (
        mine.id,
        mine.flags,
        0,
        mine.ednsflags,
    )
    plain = query("paying.mesh", "AAAA", flags=dns.flags.RD | dns.flags.CD)
    said = dns.message.from_wire(asked(plain, chased(plain)))
    assert (said.flags, said.edns) == (dns.flags.RD | dns.flags.CD, -1)


def test_the_reply_comes_behind_the_alias() -> None:
    said = replied(
        ("api.example.com.", "CNAME", "edge.example.com."), ("edge.example.com.", "A", "192.0.2.1")
    )
    whole = joined(QUERY, CHASE, said.to_wire(), 1232)
    assert dns.message.from_wire(QUERY).is_response(dns.message.from_wire(whole))
    assert lines(whole) == [
        "NOERROR",
        ALIAS,
        "api.example.com. 9 CNAME edge.example.com.",
        "edge.example.com. 9 A 192.0.2.1",
    ]


@pytest.mark.parametrize("kind", ["MX 10 mail.example.com.", "TXT words", "SRV 1 2 3 x.example.com."])
def test_records_of_other_types_are_told_as_well(kind: str) -> None:
    word, _, value = kind.partition(" ")
    raw = query("paying.mesh", word)
    said = dns.message.make_response(dns.message.from_wire(asked(raw, chased(raw))))
    said.answer.append(dns.rrset.from_text("api.example.com.", 9, "IN", word, value))
    told = lines(joined(raw, chased(raw), said.to_wire(), 512))[-1]
    assert told.replace('"', "") == f"api.example.com. 9 {kind}"


def test_that_the_target_is_not_there_is_told() -> None:
    said = replied(code=dns.rcode.NXDOMAIN)
    said.authority.append(dns.rrset.from_text("example.com.", 9, "IN", "SOA", "a. b. 1 2 3 4 5"))
    assert lines(joined(QUERY, CHASE, said.to_wire(), 1232)) == [
        "NXDOMAIN",
        ALIAS,
        "! example.com. 9 SOA a. b. 1 2 3 4 5",
    ]


def test_a_reply_that_was_cut_or_does_not_fit_is_cut() -> None:
    cut = replied()
    cut.flags |= dns.flags.TC
    assert lines(joined(QUERY, CHASE, cut.to_wire(), 1232)) == ["NOERROR TC", ALIAS]
    many = replied(*(("api.example.com.", "A", f"192.0.2.{n}") for n in range(50)))
    whole = joined(QUERY, CHASE, many.to_wire(), 512)
    assert len(whole) <= 512
    assert lines(whole)[0] == "NOERROR TC"


@given(st.binary(max_size=40), st.integers(0, 60))
def test_a_broken_reply_is_a_failure_and_never_more(tail: bytes, kept: int) -> None:
    said = replied(("api.example.com.", "A", "192.0.2.1")).to_wire()
    whole = joined(QUERY, CHASE, said[:12] + said[12 : 12 + kept] + tail, 1232)
    assert lines(whole)[0].split()[0] in ("NOERROR", "SERVFAIL")


def test_a_record_of_another_class_is_not_told_as_one_of_the_internet() -> None:
    said = replied(("api.example.com.", "A", "192.0.2.1"))
    said.answer.append(dns.rrset.from_text("api.example.com.", 9, "CH", "TXT", "odd"))
    assert lines(joined(QUERY, CHASE, said.to_wire(), 1232)) == [
        "NOERROR",
        ALIAS,
        "api.example.com. 9 A 192.0.2.1",
    ]
