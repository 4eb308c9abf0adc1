"""Shell. The exchange of many bytes sees each thing that may go wrong with them."""

import socket

import pytest

from meshtrio.accelerate import bulk
from meshtrio.accelerate.lab import Lane
from tests.accelerate.plain import Plain


class Wrong(socket.socket):
    """A socket whose third chunk is not what was sent."""

    turn = 0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        chunk = super().recv(size, flags)
        self.turn += 1
        return self.spoilt(chunk) if self.turn == 3 else chunk

    def spoilt(self, chunk: bytes) -> bytes:
        return chunk


class Flipped(Wrong):
    def spoilt(self, chunk: bytes) -> bytes:
        return bytes([chunk[0] ^ 1]) + chunk[1:]


class Swapped(Wrong):
    def spoilt(self, chunk: bytes) -> bytes:
        return chunk[1::-1] + chunk[2:]


class Lost(Wrong):
    def spoilt(self, chunk: bytes) -> bytes:
        return chunk[:-1]


class Ended(Wrong):
    def spoilt(self, chunk: bytes) -> bytes:
        return b""


FOUND = {
    Flipped: "another digest came",
    Swapped: "another digest came",
    Lost: "2 bytes did not come",
    Ended: "an end that nobody sent",
}


@pytest.mark.parametrize("kind", FOUND)
def test_an_exchange_sees(kind: type[Wrong], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PATIENCE_S", 0.2)
    monkeypatch.setattr(bulk, "BULK_BYTES", 1 << 20)
    one, other = socket.socketpair()
    with kind(fileno=one.detach()) as client, kind(fileno=other.detach()) as server:
        assert bulk.exchange(client, server) == FOUND[kind]


def test_an_exchange_over_a_good_pair_is_well() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert bulk.exchange(one, other) == ""


def test_a_transfer_whose_bytes_are_not_all_counted_is_wrong() -> None:
    assert bulk.bulk(Plain(Lane(5, 5, 0, 0)), "127.0.0.1") == "5 bytes redirected and 5 not were counted"


def test_a_sender_who_is_never_held_up_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST_HELD_BYTES", 4096)
    lane = Lane(bulk.CREDIT_BYTES, 0, 0, 0)
    assert "and nobody read" in bulk.memory(Plain(lane), "127.0.0.1")


def test_more_than_the_credit_is_wrong() -> None:
    assert "and nobody read" in bulk.memory(Plain(Lane(bulk.CREDIT_BYTES + 1, 0, 0, 0)), "127.0.0.1")
