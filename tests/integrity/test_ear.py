"""Core. Streams, headers and the ear: one wrong byte is heard, wherever it is."""

import pytest

from tests.integrity.ear import Ear
from tests.integrity.record import HEADER_BYTES, header, number_of
from tests.integrity.stream import PAGE_BYTES, Stream


def said(stream: Stream, at: int, size_bytes: int) -> bytearray:
    return bytearray(b"".join(stream.pieces(at, size_bytes)))


def test_stream_is_the_same_however_it_is_cut() -> None:
    stream = Stream(1, "7/up")
    whole = said(stream, 0, 3 * PAGE_BYTES)
    assert whole[1000 : PAGE_BYTES + 5000] == said(stream, 1000, PAGE_BYTES + 4000)
    assert whole != said(Stream(1, "8/up"), 0, 3 * PAGE_BYTES)
    assert whole[:PAGE_BYTES] != whole[PAGE_BYTES : 2 * PAGE_BYTES]


@pytest.mark.parametrize("place", [0, 1, 4999, PAGE_BYTES - 1, PAGE_BYTES, 2 * PAGE_BYTES + 17])
def test_one_wrong_byte_is_named(place: int) -> None:
    stream = Stream(1, "7/up")
    spoilt = said(stream, 0, 3 * PAGE_BYTES)
    spoilt[place] ^= 1
    ear = Ear()
    ear.expect_payload(stream, 3 * PAGE_BYTES)
    for start in range(0, len(spoilt), 5000):
        ear.hear(memoryview(spoilt)[start : start + 5000])
    assert ear.wrong.startswith(f"byte {place} is wrong")
    assert ear.heard == len(spoilt)


def test_swapped_bytes_are_named_by_their_right_place() -> None:
    stream = Stream(1, "7/up")
    ear = Ear()
    ear.expect_payload(stream, 3000)
    ear.hear(memoryview(said(stream, 2000, 1000)))
    assert ear.wrong.endswith("it is byte 2000")


def test_bytes_beyond_the_end_are_invented() -> None:
    stream = Stream(1, "7/up")
    ear = Ear()
    ear.expect_payload(stream, 10)
    ear.hear(memoryview(said(stream, 0, 10)))
    assert ear.wrong == ""
    ear.hear(memoryview(said(stream, 10, 1)))
    assert ear.wrong == "byte 10 was never sent: only 10 were to be"


def test_head_and_greeting_come_before_the_payload() -> None:
    stream, heads, prepared = Stream(1, "0/greeting"), [], []
    ear = Ear()

    def introduced(head: bytes) -> None:
        heads.append(head)
        ear.expect_prelude(stream, 100, lambda: prepared.append(True))

    ear.expect_head(HEADER_BYTES, introduced)
    row = bytes(range(HEADER_BYTES)) + bytes(said(stream, 0, 100))
    while row:
        assert not prepared
        room = ear.room(33)
        ear.hear(memoryview(row[:room]))
        row = row[room:]
    assert heads == [bytes(range(HEADER_BYTES))]
    assert prepared == [True]
    assert (ear.wrong, ear.heard) == ("", 0)


@pytest.mark.parametrize("number", range(7))
def test_header_holds_to_the_last_bit(number: int) -> None:
    head = header(number, seed=5)
    assert len(head) == HEADER_BYTES
    assert number_of(head, seed=5) == number
    assert number_of(head, seed=6) is None
    for bit in range(8 * HEADER_BYTES):
        spoilt = bytearray(head)
        spoilt[bit // 8] ^= 1 << bit % 8
        assert number_of(bytes(spoilt), seed=5) is None
