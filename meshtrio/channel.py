"""Shell. The line between agent and worker: messages in order, each with its file descriptors.

Over a process border it is a Unix socket pair: a length and a count of descriptors, then msgpack;
descriptors by SCM_RIGHTS, which the kernel never moves to another message's bytes. Inside one
process it is a pair of trio channels with the same promises. Does not know what the messages mean.
"""

import array
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import msgspec
import trio

MESSAGE_BYTES = 64 << 20
"""A longer message is refused: by its sender with ValueError, else its reader hangs up."""
DESCRIPTORS = 64
"""The most descriptors of one message, refused alike. The kernel's own bound (SCM_MAX_FD) is 253."""
_HEAD = struct.Struct("<IB")

In = TypeVar("In")
Out = TypeVar("Out")
Heard = TypeVar("Heard", covariant=True)
Said = TypeVar("Said", contravariant=True)


class ChannelClosed(Exception):
    """The other side has gone."""


class Channel(Protocol[Heard, Said]):
    """Both kinds of line. Descriptors that are sent stay the sender's; those received are the receiver's."""

    async def send(self, message: Said, descriptors: Sequence[int] = ()) -> None:
        """Send, waiting while the other side does not read. ChannelClosed if it has gone.

        ValueError, and nothing is sent, if the message is larger than the bounds.
        """

    async def receive(self) -> tuple[Heard, list[int]]:
        """Wait for the next message. ChannelClosed if the other side has gone."""

    def close(self) -> None:
        """Hang up. Descriptors that nobody received are closed."""


class SocketChannel(Generic[In, Out]):
    """The line over a Unix stream socket."""

    def __init__(self, sock: socket.socket, kind: object) -> None:
        """Take the socket over. `kind` is the union of messages that may come in."""
        sock.setblocking(False)
        self._socket = sock
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._encoder = msgspec.msgpack.Encoder()
        self._sending = trio.Lock()
        self._buffer = bytearray()
        self._descriptors: deque[int] = deque()

    async def send(self, message: Out, descriptors: Sequence[int] = ()) -> None:
        """See Channel. A message is sent whole or, if cancelled in its middle, the line is closed."""
        body = self._encoder.encode(message)
        _refuse_above_bounds(len(body), len(descriptors))
        data = memoryview(_HEAD.pack(len(body), len(descriptors)) + body)
        rights = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        )
        async with self._sending:
            begun = False
            try:
                while data:
                    try:
                        sent = self._socket.sendmsg([data], [] if begun else rights, socket.MSG_NOSIGNAL)
                        begun = True
                        data = data[sent:]
                    except BlockingIOError:
                        await trio.lowlevel.wait_writable(self._socket)
            except (OSError, trio.ClosedResourceError) as cause:
                # The other side has gone, but its last words may still be here to be received. After
                # anything else (ETOOMANYREFS) one direction alone would go on.
                if not isinstance(cause, BrokenPipeError | ConnectionResetError):
                    self.close()
                raise ChannelClosed(str(cause)) from cause
            except trio.Cancelled:
                if begun:
                    self.close()
                raise

    async def receive(self) -> tuple[In, list[int]]:
        """See Channel. Only one task may receive. A malformed message closes the line."""
        while True:
            if len(self._buffer) >= _HEAD.size:
                length, count = _HEAD.unpack_from(self._buffer)
                if length > MESSAGE_BYTES or count > DESCRIPTORS:
                    self.close()
                    raise ChannelClosed(f"message of {length} bytes and {count} descriptors is too large")
                end = _HEAD.size + length
                if len(self._buffer) >= end:
                    body = bytes(memoryview(self._buffer)[_HEAD.size : end])
                    del self._buffer[:end]
                    if len(self._descriptors) < count:
                        self.close()
                        raise ChannelClosed("malformed message: it lacks descriptors")
                    descriptors = [self._descriptors.popleft() for _ in range(count)]
                    try:
                        return self._decoder.decode(body), descriptors
                    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
                        close_all(descriptors)
                        self.close()
                        raise ChannelClosed(f"malformed message: {cause}") from cause
            await self._read()

    async def _read(self) -> None:
        room = socket.CMSG_SPACE(DESCRIPTORS * 4)
        try:
            while True:
                try:
                    data, ancillary, _, _ = self._socket.recvmsg(1 << 18, room, socket.MSG_CMSG_CLOEXEC)
                    break
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(self._socket)
        except (OSError, trio.ClosedResourceError) as cause:
            raise ChannelClosed(str(cause)) from cause
        for level, kind, raw in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(raw[: len(raw) - len(raw) % numbers.itemsize])
                self._descriptors.extend(numbers)
        if not data:
            raise ChannelClosed("the other side has gone")
        self._buffer += data

    def close(self) -> None:
        """See Channel. Whoever waits in `send` or `receive` gets ChannelClosed."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        close_all(self._descriptors)
        self._descriptors.clear()


class LocalChannel(Generic[In, Out]):
    """The line inside one process. Descriptors are duplicated, so both sides own theirs."""

    def __init__(
        self,
        send: trio.MemorySendChannel[tuple[Out, list[int]]],
        receive: trio.MemoryReceiveChannel[tuple[In, list[int]]],
    ) -> None:
        """Take both ends over; `local_pair` makes them."""
        self._send = send
        self._receive = receive

    async def send(self, message: Out, descriptors: Sequence[int] = ()) -> None:
        """See Channel."""
        _refuse_above_bounds(0, len(descriptors))
        copies = [os.dup(descriptor) for descriptor in descriptors]
        try:
            await self._send.send((message, copies))
        except BaseException as failed:
            close_all(copies)
            if isinstance(failed, trio.BrokenResourceError | trio.ClosedResourceError):
                raise ChannelClosed("the other side has gone") from failed
            raise

    async def receive(self) -> tuple[In, list[int]]:
        """See Channel."""
        try:
            return await self._receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError) as cause:
            raise ChannelClosed("the other side has gone") from cause

    def close(self) -> None:
        """See Channel."""
        with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            while True:
                close_all(self._receive.receive_nowait()[1])
        self._send.close()
        self._receive.close()


def local_pair(bound: int = 1024) -> tuple[LocalChannel[In, Out], LocalChannel[Out, In]]:
    """Make a line inside one process. Full means that the other side is behind: the sender waits."""
    down_send, down_receive = trio.open_memory_channel[tuple[Out, list[int]]](bound)
    up_send, up_receive = trio.open_memory_channel[tuple[In, list[int]]](bound)
    return LocalChannel(down_send, up_receive), LocalChannel(up_send, down_receive)


def _refuse_above_bounds(length: int, count: int) -> None:
    if length > MESSAGE_BYTES or count > DESCRIPTORS:
        raise ValueError(f"message of {length} bytes and {count} descriptors is too large")


def close_all(descriptors: Sequence[int] | deque[int]) -> None:
    """Close descriptors that nobody wants."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
