"""Core. What is written is read by dnspython as it was meant, and never is longer than it may be."""

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.names import wire
from meshtrio.names.question import read

QUERY = dns.message.make_query("Orders.Mesh", "A", use_edns=0, payload=4096).to_wire()
PLAIN = dns.message.make_query("Orders.Mesh", "A").to_wire()


def records(count: int) -> list[bytes]:
    return [
        wire.address_record(wire.ASKED, bytes(10) + b"\xff\xff\x0a\0\0" + bytes((n,)), 30)
        for n in range(count)
    ]


@given(st.integers(0, 100), st.integers(0, 100), st.booleans(), st.integers(512, 4096))
def test_a_message_fits_and_says_what_it_left_out(
    answers: int, additional: int, edns: bool, limit: int
) -> None:
    query = QUERY if edns else PLAIN
    soa = wire.record(wire.ASKED, wire.SOA, 5, wire.soa_value(b"\x04mesh\0", 7, 5))
    raw = wire.message(query, read(query), wire.Sections(records(answers), soa, records(additional)), limit)
    assert len(raw) <= limit
    said = dns.message.from_wire(raw, one_rr_per_rrset=True)
    assert said.id == dns.message.from_wire(query).id
    assert said.question[0].name.to_text() == "Orders.Mesh."
    assert (said.edns == 0) is edns
    assert bool(said.flags & dns.flags.TC) is (len(said.answer) < answers)
    assert len(said.authority) == 1
    if len(said.answer) < answers:
        assert limit - len(raw) < 16, "there was room for one more"
        assert not said.additional
    elif len(said.additional) < additional:
        assert limit - len(raw) < 16


@pytest.mark.parametrize("sent", [0, dns.flags.RD, dns.flags.CD, dns.flags.RD | dns.flags.AD | dns.flags.CD])
def test_flags_go_back_as_the_documents_say(sent: int) -> None:
    asked = dns.message.make_query("orders.mesh", "A", flags=sent, want_dnssec=True)
    query = asked.to_wire()
    said = dns.message.from_wire(wire.message(query, read(query), wire.Sections(), 512))
    kept = sent & (dns.flags.RD | dns.flags.CD)
    assert said.flags == kept | dns.flags.QR | dns.flags.AA | dns.flags.RA
    assert said.ednsflags == dns.flags.DO
    assert said.payload == 1232


@pytest.mark.parametrize("code", [dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.BADVERS])
def test_codes_of_twelve_bits_are_written(code: dns.rcode.Rcode) -> None:
    raw = wire.message(QUERY, read(QUERY), wire.Sections(code=int(code)), 512)
    assert dns.message.from_wire(raw).rcode() == code


def test_an_error_has_the_question_only_if_there_was_one() -> None:
    whole = dns.message.from_wire(wire.error(QUERY, wire.REFUSED, read(QUERY)))
    assert (whole.rcode(), len(whole.question)) == (dns.rcode.REFUSED, 1)
    assert not whole.flags & dns.flags.AA
    bare = wire.error(QUERY[:12], wire.FORMERR)
    assert len(bare) == 12
    assert dns.message.from_wire(bare).rcode() == dns.rcode.FORMERR


@pytest.mark.parametrize(
    ("size", "tcp", "limit"), [(512, False, 512), (4096, False, 1232), (900, False, 900), (512, True, 65535)]
)
def test_the_limit_is_the_least_of_all(size: int, tcp: bool, limit: int) -> None:
    query = dns.message.make_query("x.mesh", "A", use_edns=0, payload=size).to_wire()
    assert wire.limit_of(read(query), tcp=tcp) == limit


def test_each_value_is_read_by_dnspython() -> None:
    v6 = bytes.fromhex("fd00") + bytes(14)
    said = [
        wire.record(wire.ASKED, wire.SRV, 30, wire.srv_value(8080, 70_000, wire.name("a.mesh."))),
        wire.record(wire.ASKED, wire.SOA, 5, wire.soa_value(wire.name("mesh"), 1 << 40, 5)),
        wire.address_record(wire.ASKED, v6, 30),
    ]
    raw = wire.message(QUERY, read(QUERY), wire.Sections(said), 1232)
    read_back = [str(one) for rrset in dns.message.from_wire(raw).answer for one in rrset]
    assert read_back == ["0 65535 8080 a.mesh.", "mesh. hostmaster.mesh. 0 3600 600 86400 5", "fd00::"]


@pytest.mark.parametrize("text", ["", ".", "a..b", "a" * 64, ".".join(["a" * 63] * 4), "bücher.example"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.name(text)


@pytest.mark.parametrize("query", [QUERY, PLAIN], ids=["with EDNS", "without"])
def test_what_just_fits_is_whole_and_a_byte_less_is_not(query: bytes) -> None:
    sections = wire.Sections(records(9))
    whole = wire.message(query, read(query), sections, 4096)
    assert wire.message(query, read(query), sections, len(whole)) == whole
    assert (
        dns.message.from_wire(wire.message(query, read(query), sections, len(whole) - 1)).flags & dns.flags.TC
    )
    added = wire.Sections(additional=records(9))
    whole = wire.message(query, read(query), added, 4096)
    assert wire.message(query, read(query), added, len(whole)) == whole
    less = dns.message.from_wire(
        wire.message(query, read(query), added, len(whole) - 1), one_rr_per_rrset=True
    )
    assert len(less.additional) == 8
