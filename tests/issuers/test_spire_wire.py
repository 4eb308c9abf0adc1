"""The messages of the Workload API, byte by byte."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.issuers.spire_wire import (
    MESSAGE_BYTES,
    Frames,
    Svid,
    WireError,
    certificates,
    frame,
    read_response,
)
from tests.support.identities import leaf, root, signing
from tests.support.spire import field, offer, private, svid, varint


def test_a_response_as_spire_writes_it() -> None:
    told = read_response(offer(signing(), root(), 1_800_000_000.0, "spiffe://td/a", "spiffe://td/b"))
    assert [one.spiffe_id for one in told.svids] == ["spiffe://td/a", "spiffe://td/b"]
    assert certificates(told.svids[0].chain)[1] == signing().certificate.der
    assert told.svids[0].key == private()
    assert certificates(told.svids[0].bundle) == (root().certificate.der,)
    assert list(told.federated) == ["spiffe://other"]


def test_fields_that_nobody_knows_are_passed_over() -> None:
    strange = (
        varint(9 << 3) + varint(1 << 60) + varint(10 << 3 | 1) + b"12345678" + varint(11 << 3 | 5) + b"1234"
    )
    told = read_response(strange + svid("spiffe://td/a", b"c", b"b", b"k") + strange + field(2, b"crl"))
    assert told.svids == (Svid("spiffe://td/a", b"c", b"k", b"b"),)
    assert read_response(b"").svids == ()
    assert "k" not in repr(told.svids[0]).removeprefix("Svid")


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a\x05abc",
        b"\x0a",
        b"\x0b",
        b"\x80" * 11,
        b"\x09123",
        field(1, b"\x0a\x02\xff\xfe"),
        field(1, b"") * 1025,
    ],
    ids=["cut", "no-length", "wire-type", "varint", "fixed", "utf-8", "many"],
)
def test_what_is_no_response(message: bytes) -> None:
    with pytest.raises(WireError):
        read_response(message)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_response_or_one_error(message: bytes) -> None:
    for read in (read_response, certificates, Frames().feed):
        with contextlib.suppress(WireError):
            read(message)


@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(st.integers(1, 20), max_size=20))
def test_frames_are_the_same_however_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    wire, frames, found = b"".join(map(frame, messages)), Frames(), []
    for size in cuts:
        found += frames.feed(wire[:size])
        wire = wire[size:]
    assert found + frames.feed(wire) == messages


def test_frames_that_are_refused() -> None:
    with pytest.raises(WireError, match="compressed"):
        Frames().feed(b"\x01\x00\x00\x00\x00")
    with pytest.raises(WireError, match="at most"):
        Frames().feed(b"\x00" + (MESSAGE_BYTES + 1).to_bytes(4, "big"))


def test_certificates_are_cut_where_they_end() -> None:
    both = leaf(signing()).der + signing().certificate.der
    assert certificates(both) == (leaf(signing()).der, signing().certificate.der)
    assert certificates(b"\x30\x03abc\x30\x00") == (b"\x30\x03abc", b"\x30\x00")
    for wrong in (
        both[:-1],
        b"\x31\x00\x00\x00",
        b"\x30\x80\x00\x00",
        b"\x30\x85" + b"\x01" * 9,
        b"\x30\x82\x01",
    ):
        with pytest.raises(WireError):
            certificates(wrong)
