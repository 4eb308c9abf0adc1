"""When a silent flow ends."""

import math
import socket

import pytest
import trio

from meshtrio.forward.flow import Ending
from meshtrio.forward.silence import Silence
from meshtrio.outcome import Outcome
from tests.forward.carried import Carried, flow_bytes, running
from tests.forward.peers import FIN, RESET, pattern, pour, read, write

V4, V6 = socket.AF_INET, socket.AF_INET6
SMALL, HUGE = pattern(1000, 1), pattern(40_000_000, 3)


@pytest.mark.parametrize("half_closed", [False, True])
async def test_silence_ends_as_idle(half_closed: bool) -> None:
    async with running() as relay, trio.open_nursery() as nursery:
        with (flow := Carried()) as (a, b):
            nursery.start_soon(flow.run, relay, 0.2)
            await write(a, SMALL)
            if half_closed:
                a.shutdown(socket.SHUT_WR)
            began = trio.current_time()
            assert await read(a) == (b"", RESET)
            assert await read(b) == (SMALL, FIN if half_closed else RESET)
            assert 0.15 < trio.current_time() - began < 1
            await flow.done.wait()
    assert flow.ending == Ending(Outcome.IDLE, len(SMALL), 0)


@pytest.mark.parametrize(("patience_s", "wait_s"), [(64.0, 1.0), (0.0, math.inf), (-1.0, math.inf)])
def test_it_is_looked_at_no_more_often_than_its_patience_asks_for(patience_s: float, wait_s: float) -> None:
    assert Silence(patience_s, 10.0).look_at == 10.0 + wait_s


async def test_traffic_either_way_keeps_a_flow_alive() -> None:
    async with running() as relay, trio.open_nursery() as nursery:
        with (flow := Carried()) as (a, b):
            nursery.start_soon(flow.run, relay, 0.25)
            for _ in range(8):
                await trio.sleep(0.1)
                await write(b, b"tick")
            assert flow.ending is None
            a.shutdown(socket.SHUT_WR)
            b.shutdown(socket.SHUT_WR)
            assert await read(a) == (b"tick" * 8, FIN)
            await flow.done.wait()
    assert flow.ending == Ending(Outcome.CARRIED, 0, 32)


async def test_a_slow_reader_of_queued_bytes_is_not_idle() -> None:
    """No byte comes in any more, but the kernel's queue toward the reader is shrinking."""
    async with running() as relay, trio.open_nursery() as nursery:
        with (flow := Carried()) as (a, b):
            nursery.start_soon(flow.run, relay, 0.3)
            a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            sent = await pour(b, HUGE[:6_000_000])
            moved, got = flow_bytes(relay), 0
            began = trio.current_time()
            while trio.current_time() - began < 1.2:
                got += len(await a.recv(30_000))
                await trio.sleep(0.05)
                assert flow.ending is None
            assert got < sent
            assert moved > 0
            await flow.done.wait()  # now that nobody reads
    assert flow.ending is not None
    assert flow.ending.outcome is Outcome.IDLE
