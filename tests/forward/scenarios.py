"""Shell. The table of ends: scripts for two TCP peers, `a` doing what is to be passed on to `b`.

Each gives what its peers saw; the same is expected on a plain connection and through the relay.
"""

import contextlib
import socket
from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.forward.peers import abort, at_mark, pattern, pour, read, sees_error, until_acked, write

Sock = trio.socket.SocketType
Scenario = Callable[[Sock, Sock], Awaitable[object]]

SMALL, BIG, HUGE = pattern(1000, 1), pattern(300_000, 2), pattern(40_000_000, 3)
FITS = pattern(50_000, 4)  # into the receive queue of a peer that does not read
BOTH_FINS, A_RESETS, ANY_RESET = "both fins", "a resets", "any reset"


async def fin_then_answer(a: Sock, b: Sock) -> object:
    await write(a, SMALL)
    a.shutdown(socket.SHUT_WR)
    asked = await read(b)
    await write(b, BIG)
    b.shutdown(socket.SHUT_WR)
    return asked, await read(a)


async def fins_without_a_byte(a: Sock, b: Sock) -> object:
    a.shutdown(socket.SHUT_WR)
    seen = await read(b)
    b.shutdown(socket.SHUT_WR)
    return seen, await read(a)


async def fins_cross_big_bytes(a: Sock, b: Sock) -> object:
    seen: dict[str, object] = {}

    async def talk(name: str, sock: Sock, data: bytes) -> None:
        await write(sock, data)
        sock.shutdown(socket.SHUT_WR)
        seen[name] = name

    async def listen(name: str, sock: Sock) -> None:
        seen[name] = await read(sock, piece=100_000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk, "a wrote", a, HUGE[:8_000_000])
        nursery.start_soon(talk, "b wrote", b, HUGE[8_000_000:15_000_000])
        nursery.start_soon(listen, "a read", a)
        nursery.start_soon(listen, "b read", b)
    return seen


async def close_at_once_after_bytes(a: Sock, b: Sock) -> object:
    """FIN in the same breath as the bytes, then the other closes: nothing may be cut."""
    await write(a, BIG)
    a.shutdown(socket.SHUT_WR)
    b.shutdown(socket.SHUT_WR)
    return await read(a), await read(b, piece=10_000, pause_s=0.001)


async def reset_after_bytes(a: Sock, b: Sock) -> object:
    await write(a, FITS)
    await until_acked(a)
    abort(a)
    await trio.sleep(0.05)
    return await read(b)


async def reset_without_a_byte(a: Sock, b: Sock) -> object:
    abort(a)
    return await read(b)


async def reset_while_the_other_reads_slowly(a: Sock, b: Sock) -> object:
    seen: list[object] = []

    async def listen() -> None:
        seen.append(await read(b, piece=50_000, pause_s=0.002))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await write(a, HUGE[:3_000_000])
        await until_acked(a)
        abort(a)
    return seen


async def reset_while_the_other_does_not_read(a: Sock, b: Sock) -> object:
    gone = await pour(a, HUGE)
    abort(a)
    noticed = await sees_error(b)
    got, end = await read(b)
    return noticed, 0 < len(got) <= gone, HUGE.startswith(got), end


async def reset_while_both_are_full(a: Sock, b: Sock) -> object:
    await pour(a, HUGE)
    await pour(b, HUGE)
    abort(a)
    noticed = await sees_error(b)
    got, end = await read(b)
    return noticed, HUGE.startswith(got), end


async def fin_then_reset(a: Sock, b: Sock) -> object:
    await write(a, SMALL)
    a.shutdown(socket.SHUT_WR)
    seen = await read(b)
    abort(a)
    noticed = await sees_error(b)
    with pytest.raises(OSError):
        await b.send(b"x")
    return seen, noticed


async def fin_and_reset_at_once(a: Sock, b: Sock) -> object:
    await write(a, SMALL)
    a.shutdown(socket.SHUT_WR)
    await until_acked(a)
    abort(a)
    return await sees_error(b), await read(b)


async def reset_in_the_answer_after_fin(a: Sock, b: Sock) -> object:
    """A truncated answer to a finished question must not look whole."""
    b.shutdown(socket.SHUT_WR)
    asked = await read(a)
    await write(a, FITS)
    await until_acked(a)
    abort(a)
    return asked, await read(b)


async def close_with_unread_bytes(a: Sock, b: Sock) -> object:
    """The early answer of an HTTP server that does not want the body: its kernel sends RST by itself."""
    await write(b, SMALL)
    await until_acked(b)
    await trio.sleep(0.02)
    await write(a, FITS)
    await until_acked(a)
    a.close()
    return await read(b)


async def write_to_a_closed_peer(a: Sock, b: Sock) -> object:
    await write(a, SMALL)
    a.close()
    seen = await read(b)
    with contextlib.suppress(OSError):
        await write(b, BIG)
    return seen, await sees_error(b)


async def both_reset(a: Sock, b: Sock) -> object:
    await write(a, SMALL)
    await write(b, SMALL)
    abort(a)
    abort(b)
    return None


async def urgent_bytes_keep_their_place(a: Sock, b: Sock) -> object:
    seen = []
    for round_ in range(3):
        await write(a, SMALL)
        await a.send(b"!", socket.MSG_OOB)
        await write(a, SMALL)
        await trio.sleep(0.02)
        before = await b.recv(5000)
        seen.append((before, at_mark(b), await b.recv(1, socket.MSG_OOB), await b.recv(5000), round_))
    a.shutdown(socket.SHUT_WR)
    b.shutdown(socket.SHUT_WR)
    return seen, await read(a), await read(b)


TABLE: list[tuple[Scenario, str]] = [
    (fin_then_answer, BOTH_FINS),
    (fins_without_a_byte, BOTH_FINS),
    (fins_cross_big_bytes, BOTH_FINS),
    (close_at_once_after_bytes, BOTH_FINS),
    (reset_after_bytes, A_RESETS),
    (reset_without_a_byte, A_RESETS),
    (reset_while_the_other_reads_slowly, A_RESETS),
    (reset_while_the_other_does_not_read, A_RESETS),
    (reset_while_both_are_full, A_RESETS),
    (fin_then_reset, A_RESETS),
    (fin_and_reset_at_once, A_RESETS),
    (reset_in_the_answer_after_fin, A_RESETS),
    (close_with_unread_bytes, A_RESETS),
    (write_to_a_closed_peer, A_RESETS),
    (both_reset, ANY_RESET),
    (urgent_bytes_keep_their_place, BOTH_FINS),
]
