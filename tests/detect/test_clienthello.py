"""ClientHellos: real, spread over records, cut off, and wrong in every way we thought of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.detect.clienthello import ClientHello, Names
from tests.support.hellos import extension, hello, real_hello, records, server_name, vector

ALPN = extension(16, vector(2, vector(1, b"h2") + vector(1, b"\xff\x00")))


def read(data: bytes) -> Names | bool | None:
    return ClientHello().read(data)


def test_what_openssl_sends() -> None:
    assert read(real_hello()) == Names("web.example", ("h2", "http/1.1"))
    assert read(real_hello(None, ())) == Names()


@pytest.mark.parametrize("fragment_bytes", [1, 3, 4, 5, 50, 1000])
def test_records_may_be_cut_anywhere(fragment_bytes: int) -> None:
    data = records(hello(server_name(b"a.b"), ALPN), fragment_bytes)
    assert read(data) == Names("a.b", ("h2", "\xff\x00"))
    assert read(data[:-1]) is None


@pytest.mark.parametrize(
    "head",
    [
        b"\x15",
        b"\x16\x02",
        b"\x16\x03\x05",
        b"\x16\x03\x01\x41",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x40\x02",
    ],
)
def test_what_is_not_tls_is_known_by_its_last_byte(head: bytes) -> None:
    reader = ClientHello()
    answers = [reader.read(head[:count]) for count in range(1, len(head) + 1)]
    assert answers == [None] * (len(head) - 1) + [False]
    assert reader.settle() is None


@pytest.mark.parametrize(
    ("why", "data"),
    [
        ("an alert between", records(hello(ALPN), 20)[:25] + b"\x15\x03\x03\x00\x02\x02\x28"),
        ("a record of another version", records(hello(ALPN), 20)[:25] + b"\x16\x02\x03\x00\x02\x02\x28"),
        ("an empty record", records(hello(ALPN), 20)[:25] + b"\x16\x03\x03\x00\x00"),
        ("a record that is too long", records(hello(ALPN), 20)[:25] + b"\x16\x03\x03\x40\x01"),
        ("an empty message", records(b"\x01\x00\x00\x00")),
        ("a short message", records(b"\x01" + vector(3, b"\x03\x03" + bytes(20)))),
        ("the same extension twice", records(hello(server_name(b"a"), server_name(b"b")))),
        ("bytes after the extensions", records(hello(server_name(b"a"), tail=b"x"))),
        ("an extension over the end", records(hello(server_name(b"ab"), server_name(b"a")[:-1]))),
        ("extensions over the end", records(hello(tail=b"\x00\x10\x00\x00\x00\x00"))),
        ("half an extension", records(hello(tail=b"\x00"))),
        ("a list over its extension", records(hello(extension(0, b"\x00\x09\x00")))),
        ("an entry over its list", records(hello(extension(16, vector(2, b"\x09h2"))))),
        ("an extension past the list", records(hello(tail=b"\x00\x0d" + server_name(b"abcdef")))),
        ("no names", records(hello())),
        ("other extensions", records(hello(extension(43, b"\x02\x03\x04")))),
        ("another kind of name", records(hello(server_name(b"a", kind=1)))),
        ("a name that is none", records(hello(server_name(b"a b\n")))),
        ("a name without end", records(hello(server_name(b"a" * 256)))),
    ],
)
def test_tls_without_names(why: str, data: bytes) -> None:
    assert read(data) == Names(), why


def test_of_sessions_that_are_offered_the_first_ticket_is_measured() -> None:
    identities = b"".join(vector(2, ticket) + bytes(4) for ticket in (b"ticket", b"other"))
    offer = extension(41, vector(2, identities) + vector(2, vector(1, bytes(32))))
    assert read(records(hello(ALPN, offer))) == Names(None, ("h2", "\xff\x00"), ticket_bytes=6)
    for wrong in (b"", vector(2, b""), vector(2, b"\x00\x09ticket")):
        assert read(records(hello(ALPN, extension(41, wrong)))) == Names()


def test_the_first_good_name_counts() -> None:
    entries = b"\x00" + vector(2, b"!") + b"\x00" + vector(2, b"One") + b"\x00" + vector(2, b"two")
    assert read(records(hello(extension(0, vector(2, entries))))) == Names("one")


def test_a_hello_that_stops_gives_what_was_whole() -> None:
    data = records(hello(server_name(b"a.b"), ALPN, extension(21, bytes(50))))
    for count, names in (
        (len(data) - 1, Names("a.b", ("h2", "\xff\x00"))),
        (70, Names("a.b")),
        (50, Names()),
    ):
        reader = ClientHello()
        assert reader.read(data[:count]) is None
        assert reader.settle() == names, count


def test_a_lie_inside_an_extension_counts_also_in_a_hello_that_stops() -> None:
    data = records(hello(server_name(b"a"), extension(16, b"\x00\x09\x00"), extension(21, bytes(50))))
    reader = ClientHello()
    assert reader.read(data[:-1]) is None
    assert reader.settle() == Names()


@given(
    data=st.one_of(
        st.binary(max_size=200).map(lambda tail: records(hello(tail=tail))),
        st.binary(max_size=200).map(lambda body: records(hello(extension(0, body), extension(16, body)), 30)),
        st.binary(max_size=200).map(lambda tail: b"\x16\x03\x01" + tail),
    )
)
def test_any_bytes_are_names_or_none(data: bytes) -> None:
    reader = ClientHello()
    answer = reader.read(data)
    assert answer is None or answer is False or isinstance(answer, Names)
    settled = reader.settle()
    assert settled is None or isinstance(settled, Names)
