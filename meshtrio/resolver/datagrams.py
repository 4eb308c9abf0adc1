"""Shell. Queries by UDP: take in what is there, answer at once what can be, run errands for others."""

import socket
from typing import Any

import trio

from meshtrio.resolver.desk import Desk, Errand

AT_ONCE = 64
"""How many queries are taken in before other tasks have their turn: 1 ms of them."""
QUERY_BYTES = 4096
"""Longer queries by UDP are dropped; there are none."""
BREATH_S = 0.1
"""How long a socket rests that has failed."""


async def serve_datagrams(desk: Desk, door: socket.socket) -> None:
    """Answer what comes to this socket, until cancelled."""
    async with trio.open_nursery() as errands:
        while True:
            await trio.lowlevel.wait_readable(door)
            for _ in range(AT_ONCE):
                try:
                    query, source = door.recvfrom(QUERY_BYTES)
                except BlockingIOError:
                    break
                except OSError:
                    await trio.sleep(BREATH_S)
                    break
                found = _begun(desk, query, source)
                if isinstance(found, Errand):
                    errands.start_soon(_run, desk, door, found, source)
                elif found is not None:
                    _send(desk, door, found, source)


def _begun(desk: Desk, query: bytes, source: tuple[Any, ...]) -> bytes | Errand | None:
    if source[1] == 0:
        desk.common.counts.drop("port zero")
    elif desk.own.has(source):
        desk.common.counts.drop("own address")
    elif len(query) == QUERY_BYTES:
        desk.common.counts.drop("garbage")
    else:
        return desk.begin(query, lambda: desk.meant(source), tcp=False)
    return None


async def _run(desk: Desk, door: socket.socket, errand: Errand, source: tuple[Any, ...]) -> None:
    answer = await desk.run(errand)
    if answer is not None:
        _send(desk, door, answer, source)


def _send(desk: Desk, door: socket.socket, answer: bytes, source: tuple[Any, ...]) -> None:
    try:
        door.sendto(answer, source)
    except OSError:
        # Its receiver has gone, or its buffer is full: with UDP it may be lost, and the client asks again.
        desk.common.counts.unsent += 1
