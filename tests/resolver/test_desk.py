"""Shell. What becomes of a query: answered, remembered, forwarded, failed or dropped, and counted once."""

import random
import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from meshtrio.address import Address
from meshtrio.config.discovery import Dns
from meshtrio.names.answer import Answers
from meshtrio.resolver import desk as module
from meshtrio.resolver.desk import IN_FLIGHT, Common, Desk, Errand
from tests.support.dns_counter import Counter
from tests.support.dnswords import lines, query
from tests.support.nameserver import SLOW_S, LoopbackDoor, address_of, bound, own_address
from tests.support.shop import SHOP

DEFAULT = Dns()
SOURCE = ("127.0.0.1", 5555)


def begun(desk: Desk, raw: bytes) -> bytes | Errand | None:
    return desk.begin(raw, lambda: desk.meant(SOURCE), tcp=False)


def common(settings: Dns = DEFAULT) -> Common:
    return Common(lambda: SHOP, settings, Answers(settings, random.shuffle))


@pytest.fixture
def alone(door_sockets: tuple[socket.socket, socket.socket]) -> Iterator[Desk]:
    """A desk whose resolver nobody is."""
    with bound(socket.SOCK_DGRAM) as silent:
        yield Desk(common(), LoopbackDoor(door_sockets, address_of(silent)), 0)


async def test_ours_is_answered_at_once_and_the_rest_is_an_errand(alone: Desk) -> None:
    found = begun(alone, query("orders.mesh"))
    assert isinstance(found, bytes)
    assert lines(found)[0] == "NOERROR"
    assert alone.common.counts.answered == 1
    errand = begun(alone, query("www.example"))
    assert isinstance(errand, Errand)
    assert isinstance(alone.door, LoopbackDoor)
    assert alone.door.asked == [(Address.of(*SOURCE), False)]


def test_what_gets_no_answer_is_counted_by_reason(alone: Desk) -> None:
    assert begun(alone, b"x") is None
    assert begun(alone, b"\0\0\x80" + bytes(9)) is None
    assert alone.common.counts.dropped == {"garbage": 1, "response": 1}


async def test_more_errands_than_there_is_room_for_are_dropped(alone: Desk) -> None:
    for _ in range(IN_FLIGHT):
        assert isinstance(begun(alone, query("www.example")), Errand)
    assert begun(alone, query("www.example")) is None
    assert alone.common.counts.dropped == {"full": 1}
    assert isinstance(begun(alone, query("orders.mesh")), bytes)


async def test_nobody_to_ask_and_we_ourselves_are_failures(
    door_sockets: tuple[socket.socket, socket.socket],
) -> None:
    for nobody in (None, address_of(door_sockets[0]), address_of(door_sockets[1])):
        desk = Desk(common(), LoopbackDoor(door_sockets, nobody), 0)
        found = begun(desk, query("www.example"))
        assert isinstance(found, bytes)
        assert lines(found) == ["SERVFAIL"]
        assert desk.common.counts.failed == 1


async def test_a_bug_of_ours_costs_one_query(alone: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone.door, "resolver_of", None)
    assert begun(alone, query("www.example")) is None
    assert alone.common.counts.dropped == {"bug": 1}
    assert isinstance(begun(alone, query("orders.mesh")), bytes)


async def test_after_five_seconds_there_is_no_answer_and_room_again(
    alone: Desk, autojump_clock: trio.testing.MockClock
) -> None:
    errands = [begun(alone, query("www.example")) for _ in range(IN_FLIGHT)]
    began = trio.current_time()
    async with trio.open_nursery() as running:
        for errand in errands:
            assert isinstance(errand, Errand)
            running.start_soon(alone.run, errand)
    assert trio.current_time() - began == 5
    assert alone.common.counts.dropped == {"timeout": IN_FLIGHT}
    assert isinstance(begun(alone, query("www.example")), Errand)


async def test_cancelled_it_makes_room_again(alone: Desk) -> None:
    for _ in range(IN_FLIGHT + 1):
        errand = begun(alone, query("www.example"))
        assert isinstance(errand, Errand)
        with trio.CancelScope() as given_up:
            given_up.cancel()
            await alone.run(errand)


async def test_configured_servers_are_asked_in_turn_and_instead(
    door_sockets: tuple[socket.socket, socket.socket], counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 4 * SLOW_S)
    with bound(socket.SOCK_DGRAM) as silent, bound(socket.SOCK_DGRAM) as closed:
        gone = address_of(closed)
        closed.close()
        mine = common(Dns(servers=("127.0.0.1", "127.0.0.2")))
        assert mine.servers == (Address.parse("127.0.0.1:53"), Address.parse("127.0.0.2:53"))
        for first in (gone, address_of(silent)):
            mine.servers = (first, counter.nameserver.address)
            desk = Desk(mine, counter.door, 5)
            errand = begun(desk, query("www.example"))
            assert isinstance(errand, Errand)
            found = await desk.run(errand)
            assert found is not None
            assert lines(found)[1].endswith(own_address("www.example."))
    assert counter.door.asked == []


async def test_where_nobody_listens_there_is_a_failure_and_no_wait(counter: Counter) -> None:
    with bound(socket.SOCK_DGRAM) as closed:
        counter.door.resolver = address_of(closed)
    for name in ("www.example", "paying.mesh"):
        assert lines(await counter.ask(query(name))) == ["SERVFAIL"]
    assert counter.resolver.counts.failed == 2


async def test_an_alias_is_followed_by_udp(counter: Counter) -> None:
    assert lines(await counter.ask(query("paying.mesh"))) == [
        "NOERROR",
        "paying.mesh. 30 CNAME api.example.com.",
        f"api.example.com. 60 A {own_address('api.example.com')}",
    ]


async def test_a_reply_that_is_longer_than_the_client_takes_is_cut(counter: Counter) -> None:
    raw = query("big.example", use_edns=0, payload=600)
    # Another server might not care; this one does, so the query that it sees says something else.
    errand = begun(Desk(common(), counter.door, 9), raw)
    assert isinstance(errand, Errand)
    roomy = query("big.example", use_edns=0, payload=4096, id=int.from_bytes(raw[:2], "big"))
    desk = Desk(common(), counter.door, 9)
    desk._in_flight += 1
    found = await desk.run(Errand(roomy, errand.verdict, errand.servers, False, None))
    assert found is not None
    assert lines(found) == ["NOERROR TC"]
    assert len(found) < 40
