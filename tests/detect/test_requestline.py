"""Request lines, by the grammar and at its edges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.detect.requestline import METHOD_BYTES, RequestLine

TCHARS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_is_in_a_method_or_not_as_rfc_9110_says(byte: int) -> None:
    answer = RequestLine().read(b"A" + bytes([byte]) + b" / HTTP/1.1\r\n")
    assert answer is (byte in TCHARS)


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_is_in_a_target_or_not(byte: int) -> None:
    answer = RequestLine().read(b"GET /" + bytes([byte]) + b" HTTP/1.1\r\n")
    assert answer is (byte > 0x20 and byte != 0x7F)


def test_a_method_has_a_bound() -> None:
    assert RequestLine().read(b"M" * METHOD_BYTES + b" / HTTP/1.1\r\n") is True
    assert RequestLine().read(b"M" * (METHOD_BYTES + 1)) is False


@given(
    method=st.lists(st.sampled_from(TCHARS), min_size=1, max_size=METHOD_BYTES).map(bytes),
    target=st.lists(st.integers(0x21, 0x7E), min_size=1, max_size=50).map(bytes),
    digit=st.integers(0, 9),
    end=st.sampled_from([b"\r\n", b"\n"]),
)
def test_every_line_of_the_grammar_is_one_exactly_when_it_ends(
    method: bytes, target: bytes, digit: int, end: bytes
) -> None:
    line = b"%s %s HTTP/1.%d%s" % (method, target, digit, end)
    reader = RequestLine()
    assert [reader.read(line[:count]) for count in range(len(line) + 1)] == [None] * len(line) + [True]
