"""Doors for queries are served while they are open, and hooks know whether anybody serves them."""

import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from meshtrio.config.discovery import Dns
from meshtrio.intercept import bpf
from meshtrio.intercept.dns_door import DnsDoor
from meshtrio.intercept.netns import Netns
from meshtrio.naming import Naming
from meshtrio.resolver.resolver import Resolver
from tests.support.dnswords import lines, query
from tests.support.shop import SHOP

NAME = "orders.mesh"


@pytest.fixture
def door() -> Iterator[DnsDoor]:
    netns = Netns.current()
    made = DnsDoor(netns, 0, any_port=True)
    yield made
    made.close()
    netns.close()


@asynccontextmanager
async def running(naming: Naming) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(naming.run)
        yield
        nursery.cancel_scope.cancel()


async def ask(door: DnsDoor, within_s: float = 1.0, *, name: str = NAME) -> list[str]:
    """Ask at a door; nothing if nobody answers."""
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await sock.connect(("127.0.0.1", door.port))
        await sock.send(query(name))
        with trio.move_on_after(within_s):
            return lines(await sock.recv(2048))
    return []


def made() -> Naming:
    return Naming(Resolver(lambda: SHOP, Dns()))


async def test_a_door_is_served_from_when_it_opens_until_it_closes(door: DnsDoor) -> None:
    naming = made()
    async with running(naming):
        naming.opened(door)
        assert naming.doors == 1
        assert await ask(door) != []
        naming.closed(door)
        naming.closed(door)
        await trio.testing.wait_all_tasks_blocked()
        assert naming.doors == 0
        assert await ask(door, 0.1) == []


async def test_a_door_that_opened_before_is_served_too(door: DnsDoor) -> None:
    naming = made()
    naming.opened(door)
    async with running(naming):
        assert await ask(door) != []


async def test_a_door_that_closed_before_it_was_served_is_not(door: DnsDoor) -> None:
    naming = made()
    naming.opened(door)
    naming.closed(door)
    async with running(naming):
        assert await ask(door, 0.1) == []


async def test_other_settings_hold_for_the_next_query(door: DnsDoor) -> None:
    naming = made()
    naming.opened(door)
    async with running(naming):
        assert (await ask(door, name="web.service.north.consul"))[:1] == ["SERVFAIL"], "nobody to be asked"
        naming.replace(Dns(ttl_s=7), datacenter="north")
        code, first, *_ = await ask(door, name="web.service.north.consul")
        assert (code, first.split()[1]) == ("NOERROR", "7")


async def test_a_bug_at_one_door_harms_no_other_and_it_begins_anew(
    door: DnsDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    naming = made()
    served, failed = naming.resolver.serve, 0

    async def serve(one: DnsDoor) -> None:
        nonlocal failed
        failed += 1
        if failed == 1:
            raise KeyError("a bug")
        await served(one)

    monkeypatch.setattr(naming.resolver, "serve", serve)
    monkeypatch.setattr("meshtrio.naming.RESTART_S", 0.01)
    async with running(naming):
        naming.opened(door)
        with trio.fail_after(3):
            while failed < 2:
                await trio.sleep(0.01)
        assert await ask(door) != []


@pytest.mark.kernel
async def test_hooks_see_a_sign_of_life_and_at_the_end_that_there_is_none() -> None:
    naming = made()
    table = bpf.create_map(2, "beats", (4, 8, 2))
    naming.use_map(table)

    def beat(slot: int) -> int:
        raw = bpf.look_up(table, struct.pack("<I", slot), 8)
        assert raw is not None
        return int(struct.unpack("<Q", raw)[0])

    try:
        async with running(naming):
            await trio.testing.wait_all_tasks_blocked()
            assert 0 <= time.monotonic_ns() - beat(1) < 1e9
            assert beat(0) == 0
        assert beat(1) == 0
    finally:
        os.close(table)
