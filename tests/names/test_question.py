"""Core. What is read of a query is what dnspython wrote; and any bytes are a question, or malformed."""

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.names.question import HEADER_BYTES, Malformed, Question, past_name, read

LABEL = st.text("abcXYZ019-_.", min_size=1, max_size=63)


@given(
    st.lists(LABEL, max_size=3),
    st.integers(1, 250).filter(lambda kind: kind != 41),
    st.one_of(st.none(), st.integers(0, 65_535)),
    st.booleans(),
    st.booleans(),
)
def test_it_reads_what_dnspython_writes(
    labels: list[str], kind: int, size: int | None, dnssec_ok: bool, cookie: bool
) -> None:
    name = dns.name.Name([*(one.encode() for one in labels), b""])
    query = dns.message.make_query(name, dns.rdatatype.RdataType.make(kind))
    if size is not None:
        options: list[dns.edns.Option] = []
        if cookie:
            options.append(dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678"))
        query.use_edns(0, dns.flags.DO if dnssec_ok else 0, size, options=options)
    raw = query.to_wire()
    edns = size is not None
    assert read(raw) == Question(
        tuple(one.lower() for one in labels),
        kind,
        1,
        end=HEADER_BYTES + len(name.to_wire() or b"") + 4,
        edns=edns,
        size=max(512, size or 0),
        dnssec_ok=edns and dnssec_ok,
        options=edns and cookie,
    )


@given(st.binary(min_size=12, max_size=80))
def test_any_bytes_are_a_question_or_malformed(raw: bytes) -> None:
    try:
        question = read(raw)
    except Malformed:
        return
    assert HEADER_BYTES + 5 <= question.end <= len(raw)
    assert question.size >= 512


QUERY = dns.message.make_query("Orders.mesh", "A", use_edns=0).to_wire()
END = QUERY.index(b"mesh") + 9


@pytest.mark.parametrize("length", range(HEADER_BYTES, END))
def test_a_torn_question_is_malformed(length: int) -> None:
    with pytest.raises(Malformed):
        read(QUERY[:length])


@pytest.mark.parametrize("length", range(END, len(QUERY)))
def test_a_question_with_a_torn_tail_is_a_question_and_not_sound(length: int) -> None:
    found = read(QUERY[:length])
    assert found.labels == ("orders", "mesh")
    assert not found.sound


@pytest.mark.parametrize(
    "name",
    [b"\xc0\x0c", b"\x40" + b"a" * 64 + b"\0", b"\x3f" + b"a" * 63 + (b"\x3f" + b"b" * 63) * 3 + b"\0"],
    ids=["a pointer", "a label of 64", "a name of 257"],
)
def test_names_that_cannot_be_are_malformed(name: bytes) -> None:
    with pytest.raises(Malformed):
        read(QUERY[:4] + b"\0\1" + bytes(6) + name + b"\0\1\0\1" + bytes(300))


def test_the_longest_name_there_can_be_is_read() -> None:
    name = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"
    assert len(name) == 255
    assert read(QUERY[:4] + b"\0\1" + bytes(6) + name + b"\0\1\0\1").end == 12 + 255 + 4


OPT = b"\0\0\x29\x04\xd0" + bytes(6)


@pytest.mark.parametrize(
    ("counts", "tail"),
    [
        (b"\0\0\0\0\0\2", OPT + OPT),
        (b"\0\0\0\0\0\1", b"\1a" + OPT),
        (b"\0\1\0\0\0\0", OPT),
        (b"\0\0\0\0\0\1", OPT[:-2] + b"\0\1"),
        (b"\0\0\0\0\xff\xff", b""),
    ],
    ids=[
        "two OPT",
        "OPT with a name",
        "an answer",
        "options that end too late",
        "records that are not there",
    ],
)
def test_what_follows_the_question_may_be_unsound(counts: bytes, tail: bytes) -> None:
    assert not read(QUERY[:6] + counts + QUERY[12:END] + tail).sound


def test_other_records_beside_opt_are_passed_over() -> None:
    other = b"\1x\xc0\x0c\0\1\0\1\0\0\0\0\0\4abcd"
    found = read(QUERY[:6] + b"\0\0\0\0\0\2" + QUERY[12:END] + other + OPT)
    assert (found.sound, found.edns, found.size) == (True, True, 1232)


def test_the_end_of_a_compressed_name_is_found() -> None:
    assert past_name(b"\1a\xc0\x0cz", 0) == 4
    assert past_name(b"\1a\1b\0z", 0) == 5
    with pytest.raises(IndexError):
        past_name(b"\5a", 0)
