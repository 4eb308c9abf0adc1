"""Shell. Queries by TCP: many in a connection, many connections, and of neither more than there is room."""

import socket
from collections import OrderedDict

import trio

from meshtrio.address import Address
from meshtrio.resolver.desk import Desk, Errand

CONNECTIONS = 128
"""How many there are of a door. Full: the one idle for longest is closed, or else the new one."""
IDLE_S = 30.0
"""How long a connection may have nothing to do, and how long a query may take to come in whole.
Longer than any errand takes."""
PIPELINED = 32
"""How many errands of one connection run at once. Full: no more is read from it."""
SEND_S = 10.0
"""How long a client may take to take an answer."""
BREATH_S = 0.1
_READ_BYTES = 4096


class _Line:
    """One connection."""

    def __init__(self, connected: socket.socket, meant: Address | None) -> None:
        self.connected = connected
        self.meant = meant
        self.stream = trio.SocketStream(trio.socket.from_stdlib_socket(connected))
        self.scope = trio.CancelScope()
        self.sending = trio.Lock()
        self.errands = trio.Semaphore(PIPELINED)
        self._buffer = bytearray()
        """Never longer than one query and what was read behind it."""

    @property
    def is_idle(self) -> bool:
        return self.errands.value == PIPELINED

    async def query(self) -> bytes | None:
        """Give the next query; None at the end. Nothing is lost if this is cancelled."""
        buffer = self._buffer
        while len(buffer) < 2 or len(buffer) < 2 + int.from_bytes(buffer[:2], "big"):
            some = await self.stream.receive_some(_READ_BYTES)
            if not some:
                return None
            buffer += some
        end = 2 + int.from_bytes(buffer[:2], "big")
        query = bytes(buffer[2:end])
        del buffer[:end]
        return query

    async def send(self, answer: bytes) -> None:
        """Send an answer; if that fails, the connection ends."""
        with trio.move_on_after(SEND_S) as sending:
            try:
                async with self.sending:
                    await self.stream.send_all(len(answer).to_bytes(2, "big") + answer)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.scope.cancel()
        if sending.cancelled_caught:
            self.scope.cancel()  # half an answer may have gone out


class Lines:
    """The connections of one door, the one that was used longest ago first."""

    def __init__(self) -> None:
        """Begin without any."""
        self._lines: OrderedDict[_Line, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._lines)

    def enter(self, line: _Line) -> bool:
        """Take a connection in, at the cost of an idle one if there are too many. False: there is no room."""
        if len(self._lines) >= CONNECTIONS:
            idle = next((one for one in self._lines if one.is_idle), None)
            if idle is None:
                return False
            idle.scope.cancel()
            del self._lines[idle]
        self._lines[line] = None
        return True

    def use(self, line: _Line) -> None:
        """Note that a connection was used."""
        if line in self._lines:
            self._lines.move_to_end(line)

    def leave(self, line: _Line) -> None:
        """Let go of a connection that has ended."""
        self._lines.pop(line, None)


async def serve_streams(desk: Desk, lines: Lines, door: socket.socket) -> None:
    """Answer what comes in by the connections to this socket, until cancelled."""
    async with trio.open_nursery() as conversations:
        while True:
            await trio.lowlevel.wait_readable(door)
            try:
                connected, source = door.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError:
                await trio.sleep(BREATH_S)  # out of descriptors, as a rule
                continue
            connected.setblocking(False)
            line = _Line(connected, desk.meant(source, connected))
            if lines.enter(line):
                conversations.start_soon(_converse, desk, lines, line)
            else:
                connected.close()
                desk.common.counts.drop("connection")


async def _converse(desk: Desk, lines: Lines, line: _Line) -> None:
    try:
        with line.scope:
            await _answer_all(desk, lines, line)
    finally:
        lines.leave(line)
        line.connected.close()


async def _answer_all(desk: Desk, lines: Lines, line: _Line) -> None:
    async with trio.open_nursery() as errands:
        while True:
            query = None
            with trio.move_on_after(IDLE_S):
                try:
                    query = await line.query()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    line.scope.cancel()
            if query is None:
                return  # what it has asked before is still answered
            lines.use(line)
            await line.errands.acquire()
            found = desk.begin(query, lambda: line.meant, tcp=True)
            if isinstance(found, Errand):
                errands.start_soon(_run, desk, line, found)
                continue
            line.errands.release()
            if found is not None:
                await line.send(found)


async def _run(desk: Desk, line: _Line, errand: Errand) -> None:
    try:
        answer = await desk.run(errand)
        if answer is not None:
            await line.send(answer)
    finally:
        line.errands.release()
