"""What a relay promises about joining, cancelling, stopping, watching and bugs."""

import contextlib
import os
import socket

import pytest
import trio

from meshtrio.forward.flow import Ending
from meshtrio.forward.relay import Relay
from meshtrio.forward.workbench import RelayLimits
from meshtrio.outcome import Outcome
from tests.forward.carried import LIMITS, Carried, running
from tests.forward.peers import RESET, abort, pair, pattern, pour, read, until_acked, write

V4, V6 = socket.AF_INET, socket.AF_INET6
SMALL, HUGE = pattern(1000, 1), pattern(40_000_000, 3)


async def test_counts_are_live() -> None:
    async with running() as relay, trio.open_nursery() as nursery:
        with (flow := Carried()) as (a, b):
            nursery.start_soon(flow.run, relay)
            await write(a, SMALL)
            assert await b.recv(5000) == SMALL
            (one,) = relay.flows
            assert (one.sent_bytes, one.received_bytes) == (len(SMALL), 0)
            abort(a)
            await flow.done.wait()
            assert not relay.flows


async def test_cancelled_carry_resets_both_and_keeps_its_counts() -> None:
    async with running() as relay:
        client, server = pair(V4), pair(V6)
        with client.app, server.app:
            flow = relay.join(client.ours, server.ours, idle_s=0)
            await write(client.app, SMALL)
            with trio.move_on_after(0.1) as scope:
                await relay.ended(flow)
            assert scope.cancelled_caught
            assert flow.ending == Ending(Outcome.DRAINED, len(SMALL), 0)
            assert client.ours.fileno() == server.ours.fileno() == -1
            assert await read(client.app) == (b"", RESET)
            assert await read(server.app) == (SMALL, RESET)


async def test_cancelled_while_dying_ends_as_what_it_died_of() -> None:
    async with running(RelayLimits(drain_s=30)) as relay, trio.open_nursery() as nursery:
        with (flow := Carried()) as (a, b):
            nursery.start_soon(flow.run, relay)
            await pour(a, HUGE)
            abort(a)
            await trio.sleep(0.1)
            (one,) = relay.flows
            flow.scope.cancel()
            await flow.done.wait()
            assert (await read(b))[1] == RESET
    assert one.ending is not None
    assert one.ending.outcome is Outcome.CLIENT_RESET


@pytest.mark.parametrize("after_steps", range(12))
async def test_cancelled_at_each_step_closes_both(after_steps: int) -> None:
    async with running() as relay, trio.open_nursery() as nursery:
        with (flow := Carried()) as (a, b):
            nursery.start_soon(flow.run, relay)
            await write(a, SMALL)
            if after_steps % 2:
                abort(b)
            for _ in range(after_steps):
                await trio.lowlevel.checkpoint()
            flow.scope.cancel()
            await flow.done.wait()
            assert (await read(a))[1] == RESET
            assert not relay.flows


async def test_stopped_relay_ends_every_flow() -> None:
    flows = [Carried() for _ in range(3)]
    relay = Relay(LIMITS)
    with trio.fail_after(5):
        async with trio.open_nursery() as carrying, trio.open_nursery() as running_:
            await running_.start(relay.run)
            for flow in flows:
                carrying.start_soon(flow.run, relay)
            await write(flows[0].client.app, SMALL)
            assert await flows[0].server.app.recv(5000) == SMALL
            running_.cancel_scope.cancel()
        late = Carried()
        await late.run(relay)
    for flow in (*flows, late):
        assert flow.ending == Ending(Outcome.DRAINED, len(SMALL) if flow is flows[0] else 0, 0)
        with flow as (a, b):
            assert await read(a) == await read(b) == (b"", RESET)


async def test_dead_before_it_joins() -> None:
    async with running() as relay:
        for dead in ("client", "server", "both"):
            flow = Carried()
            with flow as (a, b):
                await write(b, SMALL)
                await until_acked(b)
                if dead != "server":
                    abort(a)
                if dead != "client":
                    abort(b)
                await flow.run(relay)
                if dead == "client":
                    assert (await read(b))[1] == RESET
                if dead == "server":
                    assert await read(a) == (SMALL, RESET)
            assert flow.ending is not None
            assert flow.ending.outcome in {
                Outcome.CLIENT_RESET,
                Outcome.UPSTREAM_RESET,
                Outcome.UPSTREAM_RESET_EARLY,
            }


async def test_join_of_a_closed_socket_closes_the_other() -> None:
    async with running() as relay:
        client, server = pair(V4), pair(V4)
        server.ours.close()
        with client.app, server.app:
            with pytest.raises(OSError, match="Bad file descriptor"):
                await relay.carry(client.ours, server.ours, idle_s=0)
            assert client.ours.fileno() == -1
            assert not relay.flows


async def test_watch_sees_client_bytes_until_it_has_enough() -> None:
    seen: list[bytes] = []

    def watch(chunk: bytes) -> bool:
        seen.append(chunk)
        return sum(map(len, seen)) >= 6

    async with running() as relay, trio.open_nursery() as nursery:
        client, server = pair(V4), pair(V4)
        with client.app, server.app:
            nursery.start_soon(lambda: relay.carry(client.ours, server.ours, idle_s=0, watch=watch))
            await write(server.app, b"server first")
            assert await client.app.recv(100) == b"server first"
            for word in (b"one", b"two", b"three"):
                await write(client.app, word)
                assert await server.app.recv(100) == word
            client.app.shutdown(socket.SHUT_WR)
            server.app.shutdown(socket.SHUT_WR)
    assert seen == [b"one", b"two"]


async def test_a_bug_in_one_flow_leaves_the_others_alone() -> None:
    def watch(chunk: bytes) -> bool:
        raise ZeroDivisionError

    async with running() as relay, trio.open_nursery() as nursery:
        client, server = pair(V4), pair(V4)
        with (other := Carried()) as (a, b), client.app, server.app:
            nursery.start_soon(other.run, relay)
            flow = relay.join(client.ours, server.ours, idle_s=0, watch=watch)
            await write(client.app, SMALL)
            with pytest.raises(ZeroDivisionError):
                await relay.ended(flow)
            assert flow.ending == Ending(Outcome.OUR_BUG, 0, 0)
            assert await read(client.app) == await read(server.app) == (b"", RESET)
            await write(a, SMALL)
            assert await b.recv(5000) == SMALL
            abort(a)
            await other.done.wait()


async def test_a_socket_that_lives_on_elsewhere_cannot_speak_for_a_new_one() -> None:
    """Epoll goes on about a closed socket while another process has it, under a number soon in use again."""
    async with running() as relay:
        with contextlib.ExitStack() as stack:
            old, new = [pair(V4), pair(V4)], [pair(V4), pair(V4)]
            numbers = [one.ours.fileno() for one in old]
            for one in old:
                stack.enter_context(one.app)
                stack.enter_context(one.ours.dup())
            for one in new:
                stack.enter_context(one.app)
            relay.join(old[0].ours, old[1].ours, idle_s=0).cut()
            heirs = [moved(one.ours, number) for one, number in zip(new, numbers, strict=True)]
            flow = relay.join(heirs[0], heirs[1], idle_s=0)
            for one in old:
                abort(one.app)
            await trio.sleep(0.05)
            assert list(relay.flows) == [flow]
            flow.cut()


def moved(sock: socket.socket, number: int) -> socket.socket:
    """Give the same socket under another number, which must be free."""
    os.dup2(sock.fileno(), number)
    sock.close()
    return socket.socket(fileno=number)
