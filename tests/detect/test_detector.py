"""The cut of the bytes never matters, an answer never changes, and nothing raises."""

import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshtrio.detect.detected import Detected, Protocol
from meshtrio.detect.detector import DETECT_BYTES, PREFACE, Detector, detect_whole
from tests.support.hellos import hello, real_hello, records, server_name

HTTP1, HTTP2, TCP = Detected(Protocol.HTTP1), Detected(Protocol.HTTP2), Detected(Protocol.TCP)
WEB = Detected(Protocol.TLS, "web.example", ("h2", "http/1.1"))

CASES = [
    (b"GET / HTTP/1.1\r\n", HTTP1),
    (b"POST /a?b=c HTTP/1.0\r\nHost: x\r\n\r\n", HTTP1),
    (b"CONNECT x:443 HTTP/1.1\n", HTTP1),
    (b"M-SEARCH * HTTP/1.1\r\n", HTTP1),
    (b"PRI * HTTP/1.1\r\n", HTTP1),
    ("GET /ü HTTP/1.1\r\n".encode(), HTTP1),
    (PREFACE, HTTP2),
    (PREFACE + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", HTTP2),
    (real_hello(), WEB),
    (records(hello(server_name(b"A.Example")), fragment_bytes=7), Detected(Protocol.TLS, "a.example")),
    (b"", TCP),
    (b"GET", TCP),
    (b"GET / HTTP/1.1\r", TCP),
    (b"GET / HTTP/2.0\r\n", TCP),
    (b"GET / HTTP/1.x\r\n", TCP),
    (b"GET / HTTP/1.11\r\n", TCP),
    (b"GET  HTTP/1.1\r\n", TCP),
    (b"GET /\r\n", TCP),
    (b"GET /a b HTTP/1.1\r\n", TCP),
    (b" GET / HTTP/1.1\r\n", TCP),
    (b"\r\nGET / HTTP/1.1\r\n", TCP),
    (b"G" * 33 + b" / HTTP/1.1\r\n", TCP),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", TCP),
    (b"PRI * HTTP/2.0\r\n\r\nXX", TCP),
    (b"*1\r\n$4\r\nPING\r\n", TCP),
    (b"EHLO mail.example\r\n", TCP),
    (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", TCP),
    (b"SSH-2.0-OpenSSH_9.2\r\n", TCP),
]


@pytest.mark.parametrize(("data", "answer"), CASES)
def test_these_bytes_are(data: bytes, answer: Detected) -> None:
    assert detect_whole(data) == answer


@pytest.mark.parametrize(
    ("data", "first_certain"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n", 16),
        (PREFACE + b"more", 24),
        (b"EHLO mail.example\r\n", 18),
        (b"\x00anything", 1),
        (b"GET / HTTP/2.0\r\n", 12),
        (b"PRI * HTTP/2.0\r\nx", 17),
        (b"G" * 40, 33),
        (real_hello() + b"more", len(real_hello())),
        (b"\x16\x03\x09", 3),
    ],
)
def test_the_answer_comes_with_the_first_byte_that_makes_it_certain(data: bytes, first_certain: int) -> None:
    detector = Detector()
    answers = [detector.feed(bytes([byte])) for byte in data]
    assert answers.index(detect_whole(data)) == first_certain - 1


def test_nothing_beyond_the_bound_is_waited_for() -> None:
    detector = Detector()
    assert detector.feed(b"GET /" + b"a" * (DETECT_BYTES - 6)) is None
    assert detector.feed(b"a") == TCP
    assert detect_whole(b"GET /" + b"a" * DETECT_BYTES + b" HTTP/1.1\r\n") == TCP


def test_a_hello_beyond_the_bound_gives_the_names_before_it() -> None:
    long = records(hello(server_name(b"web.example"), b"\x00\x15" + b"\x20\x00" + bytes(0x2000)))
    detector = Detector()
    assert detector.feed(long[: DETECT_BYTES - 1]) is None
    assert detector.feed(long[DETECT_BYTES - 1 :]) == Detected(Protocol.TLS, "web.example")


def test_silence_and_a_client_that_stops_are_answered_at_the_end() -> None:
    assert Detector().eof() == TCP
    detector = Detector()
    assert detector.feed(b"") is None
    assert detector.feed(real_hello()[:-1]) is None
    assert detector.eof().protocol is Protocol.TLS
    assert detector.feed(b"more") == detector.eof()


def starts() -> st.SearchStrategy[bytes]:
    """Bytes that are likely to be nearly something."""
    known = st.sampled_from([case for case, _ in CASES])
    cut = st.tuples(known, st.integers(0, 600)).map(lambda both: both[0][: both[1]])
    changed = st.tuples(known, st.integers(0, 600), st.binary(max_size=3)).map(
        lambda all_: all_[0][: all_[1]] + all_[2] + all_[0][all_[1] + len(all_[2]) :]
    )
    return st.one_of(st.binary(max_size=100), known, cut, changed, st.tuples(known, known).map(b"".join))


@given(data=starts(), cuts=st.lists(st.integers(0, 700), max_size=8))
@example(data=PREFACE, cuts=[16])
def test_no_cut_changes_the_answer(data: bytes, cuts: list[int]) -> None:
    whole = Detector()
    at_once = whole.feed(data)
    detector = Detector()
    answer = None
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(bounds):
        answer = detector.feed(data[start:end])
    assert answer == at_once
    assert detector.eof() == whole.eof()


@given(data=starts(), more=starts())
def test_an_answer_never_changes_with_more_bytes(data: bytes, more: bytes) -> None:
    answer = Detector().feed(data)
    if answer is not None:
        assert Detector().feed(data + more) == answer


@pytest.mark.parametrize(
    "data", [b"G" * 30 + b" " + b"a" * 5000, records(bytes([1, 0, 99, 99]) + bytes(5000), 1)]
)
def test_byte_by_byte_costs_no_more_than_linear_time(data: bytes) -> None:
    detector = Detector()
    began_s = time.process_time()
    for at in range(len(data)):
        detector.feed(data[at : at + 1])
    # Quadratic would be 16 million steps, which takes seconds.
    assert time.process_time() - began_s < 0.5
