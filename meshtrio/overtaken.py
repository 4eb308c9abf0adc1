"""Shell. Connects that a hedge has overtaken: what would have become of them? Does not know the calls.

A hedge wins long before anybody can tell a dead endpoint from a slow one: both have been silent. So who
loses silently is neither blamed nor let go, but waited for as long as it would have been without a hedge. If
it connects it was slow, and nothing is said of it. If not, its Hold says what any other would: without that
a dead endpoint would never be cut off where all calls to it are hedged, and would cost each of them a hedge.

No byte of a client comes here: its call goes on elsewhere.
"""

import socket
import time
from typing import NamedTuple

import trio

from meshtrio.balance.port import Hold
from meshtrio.forward.tcp import close_with_reset
from meshtrio.outcome import Outcome

MOST = 64
"""How many are waited for at once, in one worker. Full: the breakers have enough to go by, or soon will."""


class Late(NamedTuple):
    """A connect that is under way, and the claim on its endpoint."""

    sock: socket.socket
    until: float
    """When its time is over, by trio's clock."""
    hold: Hold


class Overtaken:
    """The connects of one worker that are waited for."""

    def __init__(self) -> None:
        """Take none, until `run` is there to wait for them."""
        self._room = 0
        self._send, self._receive = trio.open_memory_channel[Late](MOST)  # never fuller than there is room

    def take(self, one: Late) -> bool:
        """Wait for this one, close it and end its hold. False: there is no room, so it stays the caller's."""
        if not self._room:
            return False
        self._room -= 1
        self._send.send_nowait(one)
        return True

    async def run(self) -> None:
        """Wait for those that are taken, until cancelled. Nothing is said of those that are left then."""
        self._room = MOST
        try:
            async with trio.open_nursery() as waiting:
                while True:
                    waiting.start_soon(self._wait_for, await self._receive.receive())
        finally:
            while self._room < MOST:
                self._end(self._receive.receive_nowait(), Outcome.DRAINED)
            self._room = 0

    async def _wait_for(self, one: Late) -> None:
        outcome = Outcome.DRAINED
        try:
            with trio.move_on_at(one.until) as patience:
                await trio.lowlevel.wait_writable(one.sock)
                if one.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    outcome = Outcome.CONNECT_FAILED
            if patience.cancelled_caught:
                outcome = Outcome.CONNECT_TIMEOUT
        finally:
            self._end(one, outcome)

    def _end(self, one: Late, outcome: Outcome) -> None:
        self._room += 1
        close_with_reset(one.sock)
        one.hold.ended(outcome, time.monotonic())


class Racing:
    """A try that a hedge may overtake."""

    __slots__ = ("_from", "_hold", "_overtaken", "_until", "left")

    def __init__(self, overtaken: Overtaken, hold: Hold, from_: float, until: float) -> None:
        """Who is given up between these two times was silent for long enough, and not too long."""
        self._overtaken, self._hold, self._from, self._until = overtaken, hold, from_, until
        self.left = False
        """Whether the socket and the hold are somebody else's now."""

    async def heard(self, sock: socket.socket, until: float) -> None:
        """Wait until it is known what becomes of a connect. Cancelled, it is closed or left to others."""
        try:
            await trio.lowlevel.wait_writable(sock)
        except BaseException:
            now = trio.current_time()
            if self._from <= now < min(until, self._until):
                self.left = self._overtaken.take(Late(sock, until, self._hold))
            if not self.left:
                sock.close()
            raise
