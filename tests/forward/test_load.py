"""Many flows, big flows: fairness and bounds."""

import contextlib
import socket

import trio

from meshtrio.forward.flow import Ending
from meshtrio.forward.pipes import PIPE_BYTES
from meshtrio.forward.workbench import RelayLimits
from meshtrio.outcome import Outcome
from tests.forward.carried import LIMITS, Carried, flow_bytes, running
from tests.forward.peers import FIN, RESET, abort, pattern, pour, read, write

V4, V6 = socket.AF_INET, socket.AF_INET6
SMALL, HUGE = pattern(1000, 1), pattern(40_000_000, 3)


async def test_bulk_starves_neither_a_neighbour_nor_other_tasks() -> None:
    async with running() as relay, trio.open_nursery() as nursery:
        with (bulk := Carried()) as (a, b), (chat := Carried()) as (c, d):
            nursery.start_soon(bulk.run, relay)
            nursery.start_soon(chat.run, relay)

            async def drink() -> None:
                with contextlib.suppress(OSError):
                    while await b.recv(1_000_000):
                        pass

            async def flood() -> None:
                with contextlib.suppress(OSError, trio.ClosedResourceError):
                    while True:
                        await a.send(HUGE[:1_000_000])

            nursery.start_soon(drink)
            nursery.start_soon(flood)
            await trio.sleep(0.1)
            slowest_s = 0.0
            for _ in range(50):
                began = trio.current_time()
                await write(c, b"?")
                await d.recv(1)
                slowest_s = max(slowest_s, trio.current_time() - began)
            assert flow_bytes(relay) > 10_000_000
            abort(a)
            abort(c)
            await bulk.done.wait()
            await chat.done.wait()
    assert slowest_s < 3  # the flood does not end: who had to wait for it would wait for ever


async def test_back_pressure_holds_at_most_one_chunk_or_one_pipe() -> None:
    async with running() as relay, trio.open_nursery() as nursery:
        with (flow := Carried()) as (a, b):
            nursery.start_soon(flow.run, relay)
            sent = await pour(a, HUGE)
            assert sent < len(HUGE)
            (one,) = relay.flows
            assert 0 < one.client_lane.held_bytes <= max(LIMITS.chunk_bytes, PIPE_BYTES)
            a.shutdown(socket.SHUT_WR)
            assert await read(b, piece=1_000_000) == (HUGE[:sent], FIN)
            assert one.client_lane.held_bytes == 0
            b.shutdown(socket.SHUT_WR)
            await flow.done.wait()
    assert flow.ending == Ending(Outcome.CARRIED, sent, 0)


async def test_two_thousand_flows_at_once() -> None:
    async with running(RelayLimits()) as relay, trio.open_nursery() as nursery:
        flows = [Carried(V6 if i % 2 else V4) for i in range(2000)]
        for flow in flows:
            nursery.start_soon(flow.run, relay)

        async def talk(flow: Carried, number: int) -> None:
            with flow as (a, b):
                data = pattern(100 + number, number)
                await write(a, data)
                a.shutdown(socket.SHUT_WR)
                assert await read(b) == (data, FIN)
                if number % 10:
                    await write(b, data[::-1])
                    b.shutdown(socket.SHUT_WR)
                    assert await read(a) == (data[::-1], FIN)
                else:
                    abort(b)
                    assert await read(a) == (b"", RESET)
                await flow.done.wait()

        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as talking:
            for number, flow in enumerate(flows):
                talking.start_soon(talk, flow, number)
    outcomes = [flow.ending.outcome for flow in flows if flow.ending is not None]
    assert outcomes.count(Outcome.CARRIED) == 1800
    assert outcomes.count(Outcome.UPSTREAM_RESET_EARLY) == 200
