"""Keys of real requests are found, however their bytes are cut, and nothing raises."""

import h2.connection
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshtrio.detect.detector import DETECT_BYTES, PREFACE
from meshtrio.detect.requestkey import NO_KEY, RequestKey
from tests.support.hellos import real_hello

ONE = (
    b"GET /cart/7?page=2 HTTP/1.1\r\nHost: shop.example\r\nX-User: anna\r\nx-user: bob\r\n"
    b'Cookie: theme=dark; sid="s-1"\r\nCookie: SID=other\r\n\r\nX-Late: no'
)
LONG = b"GET / HTTP/1.1\r\nX-User: anna\r\nX-Pad: " + b"a" * DETECT_BYTES + b"\r\nX-Late: yes\r\n\r\n"
WANTED = ("sni", "path", "header:x-user", "header:host", "header:x-late", "cookie:sid", "cookie:none")


def http2(*fields: tuple[str, str], padding: int = 0) -> bytes:
    client = h2.connection.H2Connection()
    client.initiate_connection()
    pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "shop.example"), (":path", "/cart/7?a")]
    client.send_headers(1, [*pseudo, *fields, *((f"x-pad-{at}", "z" * 50) for at in range(padding))])
    return client.data_to_send()


TWO = http2(("x-user", "anna"), ("cookie", "theme=dark"), ("cookie", "sid=s-1"))


def key_of(wanted: str, data: bytes) -> bytes:
    reader = RequestKey(wanted)
    answer = reader.feed(data)
    return reader.eof() if answer is None else answer


@pytest.mark.parametrize(
    ("wanted", "data", "key"),
    [
        ("path", ONE, b"/cart/7"),
        ("header:X-User", ONE, b"anna"),
        ("header:host", ONE, b"shop.example"),
        ("header:x-late", ONE, NO_KEY),
        ("cookie:sid", ONE, b"s-1"),
        ("cookie:SID", ONE, b"other"),
        ("cookie:theme", ONE, b"dark"),
        ("sni", ONE, NO_KEY),
        ("header:x-user", ONE.replace(b"\r\n", b"\n"), b"anna"),
        ("header:x-user", LONG, b"anna"),
        ("header:x-late", LONG, NO_KEY),
        ("header:x-pad", LONG, NO_KEY),
        ("path", TWO, b"/cart/7"),
        ("header:x-user", TWO, b"anna"),
        ("header:host", TWO, b"shop.example"),
        ("cookie:sid", TWO, b"s-1"),
        ("header:none", TWO, NO_KEY),
        ("header:x-user", http2(("x-user", "a"), padding=2 * DETECT_BYTES), NO_KEY),
        ("header:x-user", PREFACE + b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\xff", NO_KEY),
        ("header:x-user", PREFACE + b"\x00\x00\x01\x01\x0c\x00\x00\x00\x01\xff", NO_KEY),
        ("sni", real_hello(), b"web.example"),
        ("path", real_hello(), NO_KEY),
        ("path", b"*1\r\n$4\r\nPING\r\n", NO_KEY),
        ("path", b"", NO_KEY),
        ("path", b"GET", NO_KEY),
    ],
)
def test_the_key_is(wanted: str, data: bytes, key: bytes) -> None:
    assert key_of(wanted, data) == key


@pytest.mark.parametrize("data", [ONE, TWO, real_hello()], ids=["http1", "http2", "tls"])
@pytest.mark.parametrize("wanted", WANTED)
def test_the_cut_does_not_matter(wanted: str, data: bytes) -> None:
    reader, answers = RequestKey(wanted), []
    for byte in data:
        answers.append(reader.feed(bytes((byte,))))
    certain = [answer for answer in answers if answer is not None]
    assert set(certain) <= {key_of(wanted, data)}
    assert reader.eof() == key_of(wanted, data)


def test_an_answer_comes_before_the_body() -> None:
    reader = RequestKey("cookie:none")
    head, _, _ = ONE.partition(b"\r\n\r\n")
    assert reader.feed(head + b"\r\n") is None
    assert reader.feed(b"\r\n") == NO_KEY


@given(
    st.sampled_from(WANTED),
    st.lists(st.binary(max_size=200)),
    st.sampled_from([b"", PREFACE, ONE[:40], TWO[:60]]),
)
@example("header:a", [b"GET / HTTP/1.1\r\n:\r\n\r\n"], b"")
def test_nothing_raises(wanted: str, chunks: list[bytes], begin: bytes) -> None:
    reader = RequestKey(wanted)
    reader.feed(begin)
    for chunk in chunks:
        reader.feed(chunk)
    assert reader.eof() == reader.eof()
