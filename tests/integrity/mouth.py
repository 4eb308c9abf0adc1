"""Shell. The sending half of one side: next cut, next pause. Knows one socket; not how the side ends."""

import random
import socket
from typing import Protocol

from tests.integrity.script import Part


class Source(Protocol):
    """Where the bytes come from."""

    def pieces(self, at: int, size_bytes: int) -> list[memoryview]:
        """Give the bytes [at, at + size_bytes)."""


class Mouth:
    """Says an opening (header or greeting), then the payload, in random cuts."""

    def __init__(self, source: Source | None, part: Part, *, opening: bytes, luck: random.Random) -> None:
        self._source = source
        self._part = part
        self._opening = memoryview(opening)
        self._luck = luck
        self._pauses = [part.sends * turn // (part.manner.write_pauses + 1) for turn in _turns(part)]
        self._cut_left = 0
        self.opening_sent = 0
        self.sent = 0
        self.broken = ""
        self.resume_at = 0.0

    @property
    def said_all(self) -> bool:
        """Say whether the kernel has taken everything."""
        return self.opening_sent == len(self._opening) and self.sent == self._part.sends

    def has_words(self, heard: int, *, eof: bool) -> bool:
        """Say whether there is something that may be sent now, pauses aside."""
        if self.broken:
            return False
        if self.opening_sent < len(self._opening):
            return True
        return self.sent < self._part.may_send(heard, eof=eof)

    def speak(self, sock: socket.socket, heard: int, *, eof: bool, now: float) -> bool:
        """Send one cut, or the rest of one. Say whether there may be room for more.

        A broken connection is noted, not raised.
        """
        may_send = self._part.may_send(heard, eof=eof)
        if self._cut_left <= 0:
            self._cut_left = self._luck.randint(1, self._part.manner.cut_bytes)
        opening = self._opening[self.opening_sent : self.opening_sent + self._cut_left]
        payload = min(self._cut_left - len(opening), may_send - self.sent)
        if self._pauses and payload > 0:
            payload = min(payload, max(self._pauses[0] - self.sent, 1))
        views = [opening] if len(opening) else []
        if payload > 0 and self._source and self.opening_sent + len(opening) == len(self._opening):
            views += self._source.pieces(self.sent, payload)
        try:
            taken = sock.sendmsg(views)
        except (BlockingIOError, InterruptedError):
            return False
        except (ConnectionResetError, BrokenPipeError) as error:
            self.broken = type(error).__name__
            return False
        except OSError as error:
            self.broken = f"errno {error.errno}"
            return False
        self._cut_left -= taken
        self.opening_sent += min(taken, len(opening))
        self.sent += max(taken - len(opening), 0)
        if self._pauses and self.sent >= self._pauses[0]:
            self._pauses.pop(0)
            self.resume_at = now + self._part.manner.pause_s
        return True


def _turns(part: Part) -> range:
    return range(1, part.manner.write_pauses + 1)
