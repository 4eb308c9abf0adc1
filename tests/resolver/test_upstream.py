"""Shell. Only the right reply is taken, from the one who was asked; and what the network says is heard."""

import socket
from collections.abc import Awaitable, Callable

import pytest
import trio

from meshtrio.address import Address
from meshtrio.names.question import read
from meshtrio.names.reply import is_reply
from meshtrio.resolver.upstream import ask_by_tcp, ask_by_udp
from tests.support.dns_counter import Counter
from tests.support.dnswords import lines, query
from tests.support.nameserver import address_of, bound, own_address

Ask = Callable[..., Awaitable[bytes]]
each_way = pytest.mark.parametrize("ask", [ask_by_udp, ask_by_tcp])


async def asked(ask: Ask, counter: Counter, name: str, server: Address | None = None) -> bytes:
    raw = query(name)
    with trio.fail_after(5):
        return await ask(
            counter.door,
            server or counter.nameserver.address,
            raw,
            lambda said: is_reply(said, raw, read(raw)),
        )


@each_way
@pytest.mark.parametrize("name", ["there.example.", "slow.example.", "forged.example."])
async def test_the_right_reply_is_taken(ask: Ask, counter: Counter, name: str) -> None:
    assert lines(await asked(ask, counter, name)) == ["NOERROR", f"{name} 60 A {own_address(name)}"]


async def test_each_query_has_a_port_of_its_own(counter: Counter) -> None:
    for _ in range(20):
        await asked(ask_by_udp, counter, "there.example")
    assert len(set(counter.nameserver.ports)) > 10


@each_way
async def test_nobody_there_is_an_error_at_once(ask: Ask, counter: Counter) -> None:
    with bound(socket.SOCK_DGRAM) as gone:
        nobody = address_of(gone)
    with pytest.raises(ConnectionRefusedError):
        await asked(ask, counter, "there.example", nobody)


async def test_a_connection_that_ends_early_is_an_error(counter: Counter) -> None:
    with pytest.raises(ConnectionResetError):
        await asked(ask_by_tcp, counter, "cut.example")


@each_way
async def test_cancelled_it_leaves_nothing_open(ask: Ask, counter: Counter) -> None:
    with trio.move_on_after(0.05) as waited:
        await asked(ask, counter, "silent.example")
    assert waited.cancelled_caught
