"""The demo's wire: what goes over it is seen, whole, and nothing is left of it."""

import os
import socket
from pathlib import Path

import pytest

from meshtrio.cli import wire as module
from meshtrio.cli.complaint import Complaint
from meshtrio.cli.wire import LEFT, RIGHT, wired
from meshtrio.intercept.netns import Netns, NetnsError

pytestmark = pytest.mark.world


def here() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def test_both_directions_are_seen() -> None:
    before, open_before = here(), len(os.listdir("/proc/self/fd"))
    with wired() as wire:
        assert here() == before
        left, right = Netns.at(wire.left), Netns.at(wire.right)
        with right.entered():
            listener = socket.create_server((RIGHT, 80))
        assert (wire.listens(80), wire.listens(81)) == (True, False)
        with left.entered():
            caller = socket.create_connection((RIGHT, 80), 5, (LEFT, 0))
        called, _ = listener.accept()
        with listener, caller, called:
            caller.sendall(b"there and")
            assert called.recv(99) == b"there and"
            called.sendall(b"back again")
            assert caller.recv(99) == b"back again"
            seen = wire.seen()
        assert b"there and" in seen and b"back again" in seen
        assert wire.seen().startswith(seen)  # it grows, and forgets nothing
        assert wire.frames >= 5 and wire.lost == 0
        left.close()
        right.close()
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_frames_that_are_lost_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROOM_BYTES", 4096)
    with wired() as wire:
        left = Netns.at(wire.left)
        with left.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(500):
                sock.sendto(b"x" * 1000, (RIGHT, 9))
        left.close()
        wire.seen()
        assert wire.lost > 0


def test_where_no_cable_can_be_laid_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Netns:
        raise NetnsError("cannot make a network namespace: Operation not permitted")

    monkeypatch.setattr(Netns, "fresh", refuse)
    with pytest.raises(Complaint, match=r"no cable .* Operation not permitted"), wired():
        pytest.fail("there is one")
