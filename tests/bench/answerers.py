"""Shell. Endpoints that answer HTTP with their number: `python -m tests.bench.answerers SLOW_MS PORT...`.

The first one takes SLOW_MS longer. From SIGUSR1 on it resets what asks it, until SIGUSR2. Each request to it
is a line: when (CLOCK_MONOTONIC), and whether it was reset. Ends when it is ended.
"""

import contextlib
import signal
import socket
import struct
import sys
import time
from functools import partial

import trio

ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER: closing is a reset."""


class First:
    """What the first endpoint does now."""

    slow_s = 0.0
    fails = False


async def answer(number: int, first: First, stream: trio.SocketStream) -> None:
    """Serve one connection."""
    async with stream:
        with contextlib.suppress(trio.BrokenResourceError):
            if not await stream.receive_some(4096):
                return
            if number == 0:
                print(time.monotonic(), int(first.fails), flush=True)
                if first.fails:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                    return
                await trio.sleep(first.slow_s)
            await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%d" % number)


async def serve(slow_ms: float, ports: list[int]) -> None:
    """Serve at all ports until cancelled."""
    first = First()
    first.slow_s = slow_ms / 1000
    async with trio.open_nursery() as servers:
        for number, port in enumerate(ports):
            one = partial(answer, number, first)
            servers.start_soon(partial(trio.serve_tcp, one, port, host="127.0.0.1", backlog=1024))
        with trio.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as signals:
            async for said in signals:
                first.fails = said == signal.SIGUSR1


if __name__ == "__main__":
    trio.run(serve, float(sys.argv[1]), [int(word) for word in sys.argv[2:]])
