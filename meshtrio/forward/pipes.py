"""Shell. Pipes through which bytes go from socket to socket without being copied here. Does not know sockets.

A pipe is with a lane only while bytes are in it, so one serves all lanes whose sinks take everything at once.
"""

import contextlib
import fcntl
import os

PIPE_BYTES = 1 << 20
"""Of one pipe: what an unprivileged process may have (fs.pipe-max-size)."""
MOST_PIPES = 32
"""So many directions may wait for a slow reader with a pipe; others copy. An ordinary user may have 64."""
MOST_IDLE = 2


class Pipe:
    """Bytes on their way. The length is how many."""

    __slots__ = ("count", "reading", "writing")

    def __init__(self) -> None:
        """Make an empty one. OSError if the kernel gives none of this size."""
        self.count = 0
        self.reading, self.writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            self.close()
            raise

    def __len__(self) -> int:
        """Count the bytes in it."""
        return self.count

    def close(self) -> None:
        """Throw away what is in it."""
        os.close(self.reading)
        os.close(self.writing)


class Pipes:
    """All pipes of one relay."""

    def __init__(self) -> None:
        """Begin with none."""
        self._most = MOST_PIPES
        self._idle: list[Pipe] = []
        self._lent = 0

    def allow(self, most: int) -> None:
        """Lend so many at once from now on. None is taken away: who has one empties it and hands it back."""
        self._most = most
        if not most:
            self.close()

    def lend(self) -> Pipe | None:
        """Give an empty pipe, to be handed back. None: all are in use, or the kernel gives none."""
        if self._lent >= self._most:
            return None
        if not self._idle:
            with contextlib.suppress(OSError):
                self._idle.append(Pipe())
        if not self._idle:
            return None
        self._lent += 1
        return self._idle.pop()

    def hand_back(self, pipe: Pipe) -> None:
        """Take a pipe back, empty or not; what is still in it is thrown away."""
        self._lent -= 1
        if pipe.count or len(self._idle) >= min(MOST_IDLE, self._most):
            pipe.close()
        else:
            self._idle.append(pipe)

    def close(self) -> None:
        """Close those that are not lent."""
        while self._idle:
            self._idle.pop().close()
