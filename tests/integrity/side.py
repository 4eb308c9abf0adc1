"""Shell. One side of one connection, played as its part says; non-blocking, driven by loop.py.

What makes the record exact is how Linux tells of a reset: a send may eat the error, and then recv gives 0
bytes as if it were EOF. ECONNRESET from a send therefore means "reset"; EPIPE means that a FIN had come
before, so the 0 is a true EOF. Bytes already in the receive queue can still be read after both.
"""

import errno
import os
import random
import socket
import struct

from tests.integrity.ear import Ear
from tests.integrity.mouth import Mouth
from tests.integrity.record import Record
from tests.integrity.script import End, Part
from tests.integrity.stream import Stream

RST_ON_CLOSE = struct.pack("ii", 1, 0)
_FIN_ACKNOWLEDGED = (5, 6, 7)  # TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_CLOSE
_ACKNOWLEDGED_S = 0.005  # how often to look for it
_BUFFER = memoryview(bytearray(1 << 18))  # one for the process: what is read is checked before the next read
_ROUNDS = 4  # reads and writes a side may do before the others have their turn


class Side:
    """Plays one part. `record` is there once the socket is closed."""

    def __init__(self, sock: socket.socket, role: str, *, now: float) -> None:
        self.sock = sock
        self.record: Record | None = None
        self.ear = Ear()
        self.number = -1
        self.greeting = -1
        self.wake_at: float | None = None
        self._role = role
        self.began = now
        self._part: Part | None = None
        self._mouth: Mouth | None = None
        self._read_resume_at = 0.0
        self._read_pauses: list[int] = []
        self._ended = ""
        self._shut = False
        self._done = False

    def say(self, opening: bytes) -> None:
        """Say these bytes while the part is not known yet."""
        self._mouth = Mouth(None, Part(0, 0), opening=opening, luck=random.Random(0))

    def play(
        self, part: Part, *, opening: bytes, streams: tuple[Stream, Stream], luck: random.Random
    ) -> None:
        """Take up the part; streams are what to say and what to hear."""
        self._part = part
        self._mouth = Mouth(streams[0], part, opening=opening, luck=luck)
        self._mouth.resume_at = self.began + part.manner.silence_s
        self.ear.expect_payload(streams[1], part.hears)
        pauses = part.manner.read_pauses
        self._read_pauses = [part.hears * turn // (pauses + 1) for turn in range(1, pauses + 1)]
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, part.manner.nodelay)
        if part.manner.small_buffers:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)

    def wants(self, now: float) -> tuple[bool, bool]:
        """Say whether it waits for reading and for writing; `wake_at` says when to ask again."""
        if self.record:
            return False, False
        read, write, waits = not self._ended, False, []
        if read and now < self._read_resume_at:
            read = False
            waits.append(self._read_resume_at)
        if read and self._full():
            read = self._mouth is not None and self._mouth.said_all
        if self._mouth and self._mouth.has_words(self.ear.heard, eof=self._ended == "eof"):
            write = now >= self._mouth.resume_at
            if not write:
                waits.append(self._mouth.resume_at)
        if self._shut and self._part and self._part.end is End.FIN_RESET:
            waits.append(now + _ACKNOWLEDGED_S)
        self.wake_at = min(waits, default=None)
        return read, write

    def step(self, now: float, *, readable: bool, writable: bool) -> None:
        """Do what can be done without waiting."""
        for _ in range(_ROUNDS):
            read, write = self.wants(now)
            if writable and write and self._mouth:
                writable = self._mouth.speak(self.sock, self.ear.heard, eof=self._ended == "eof", now=now)
            if readable and read:
                readable = self._read(now)
            self._act()
            if self.record or not (readable or writable):
                return

    def note_connect(self) -> None:
        """Learn how connect() went. A reset that came right behind a good connect is kept as a reset."""
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error in (errno.ECONNRESET, errno.EPIPE):
            if self._mouth is None:
                self.say(b"")
            if self._mouth:
                name = "ConnectionResetError" if error == errno.ECONNRESET else "BrokenPipeError"
                self._mouth.broken = name
        elif error:
            self.fail(f"connect: {os.strerror(error)}")

    def fail(self, why: str) -> None:
        """End it here, with this as the end; nothing if it has ended."""
        if self.record is None:
            self._finish(why, reset=True)

    def timed(self, now: float) -> Record:
        """Give the record, with its seconds."""
        if self.record is None:
            raise RuntimeError("the connection is not over")
        return self.record._replace(seconds=round(now - self.began, 3))

    def _full(self) -> bool:
        """Say whether it must read no further: unread bytes are what its end is about."""
        part = self._part
        return part is not None and part.end is End.UNREAD and self.ear.heard >= part.after

    def _read(self, now: float) -> bool:
        """Read once. Say whether there may be more."""
        if self._full():
            room, flags = 1, int(socket.MSG_PEEK)
        else:
            room, flags = self.ear.room(self._most()), 0
        try:
            count = self.sock.recv_into(_BUFFER, room, flags)
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionResetError:
            self._ended = "reset"
            return False
        except OSError as error:
            self._ended = f"errno {error.errno}"
            return False
        if count == 0:
            broken = self._mouth.broken if self._mouth else ""
            self._ended = "reset" if broken == "ConnectionResetError" else "eof"
            return False
        if flags:
            self._done = True
            self._finish("left")
            return False
        self.ear.hear(_BUFFER[:count])
        if self._read_pauses and self.ear.heard >= self._read_pauses[0] and self._part:
            self._read_pauses.pop(0)
            self._read_resume_at = now + self._part.manner.pause_s
        return True

    def _most(self) -> int:
        if self._part is None:
            return len(_BUFFER)
        most = self._part.manner.read_bytes
        return min(most, self._part.after - self.ear.heard) if self._part.end is End.UNREAD else most

    def _act(self) -> None:
        """End, or half-close, if it is time."""
        if self.record:
            return
        part, mouth = self._part, self._mouth
        eof = self._ended == "eof"
        if self._ended and (not eof or part is None or mouth is None or mouth.broken):
            self._finish(self._ended)
            return
        if part is None or mouth is None or mouth.broken:
            return
        heard_enough = self.ear.heard >= part.after
        if mouth.said_all and part.end in (End.FIN, End.FIN_RESET) and (eof or not part.fin_after_eof):
            self._half_close()
        leaves = part.end in (End.CLOSE, End.RESET) or (part.end is End.FIN_RESET and self._acknowledged())
        if mouth.said_all and heard_enough and leaves:
            self._done = True
            self._finish("eof" if eof else "left", reset=part.end is not End.CLOSE)
        elif eof and (mouth.said_all or not mouth.has_words(self.ear.heard, eof=True)):
            # All is said and done; or the other side ended before it said what this side waits for.
            self._finish("eof")

    def _acknowledged(self) -> bool:
        """Say whether the FIN has been: bytes before it can then be lost no more."""
        return (
            self._shut
            and self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _FIN_ACKNOWLEDGED
        )

    def _half_close(self) -> None:
        if self._shut:
            return
        self._shut = True
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:  # a reset has come before; reading will say so
            return
        self._done = self._part is not None and self._part.end is End.FIN

    def _finish(self, ended: str, *, reset: bool = False) -> None:
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
        self.sock.close()
        self.record = Record(
            role=self._role,
            number=self.number,
            sent=self._mouth.sent if self._mouth else 0,
            heard=self.ear.heard,
            ended=ended,
            broken=self._mouth.broken if self._mouth else "",
            wrong=self.ear.wrong,
            done=self._done,
            greeting=self.greeting,
        )
