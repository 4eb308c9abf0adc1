"""Shell. Queries by UDP, through real sockets."""

import random
import socket
import struct

import dns.message
import pytest
import trio

from meshtrio.resolver.datagrams import AT_ONCE, QUERY_BYTES
from tests.support.dns_counter import Counter
from tests.support.dnswords import lines, query
from tests.support.nameserver import bound, own_address

SERVER_BUSY_S = 0.05


async def test_ours_is_answered_and_the_rest_is_forwarded_unchanged(counter: Counter) -> None:
    assert lines(await counter.ask(query("Orders.Mesh"))) == ["NOERROR", "Orders.Mesh. 30 A 240.240.1.2"]
    raw = query("Www.Example", use_edns=0, payload=1400, want_dnssec=True)
    found = await counter.ask(raw)
    assert counter.nameserver.queries == [(raw, False)]
    said = dns.message.from_wire(found)
    assert dns.message.from_wire(raw).is_response(said)
    assert str(said.answer[0]) == f"Www.Example. 60 IN A {own_address('www.example')}"
    assert (counter.resolver.counts.answered, counter.resolver.counts.forwarded) == (1, 1)


async def test_an_error_without_a_question_and_a_forged_reply(counter: Counter) -> None:
    assert lines(await counter.ask(query("bare.example"))) == ["REFUSED"]
    assert lines(await counter.ask(query("forged.example")))[1].endswith(own_address("forged.example"))


async def test_two_hundred_at_once_each_get_their_own(counter: Counter) -> None:
    """Same ids for other names, same names with other ids: nothing is mixed up, whatever comes first."""
    luck = random.Random(7)
    wanted = [
        query(f"{'slow' if luck.random() < 0.5 else 'fast'}{n % 100}.example", id=1 + n // 2)
        for n in range(200)
    ]
    luck.shuffle(wanted)
    for raw in wanted:
        counter.client.sendto(raw, (counter.door.address.host, counter.door.address.port))
    got: dict[bytes, bytes] = {}
    with trio.fail_after(20):
        while len(got) < len(set(wanted)):
            await trio.lowlevel.wait_readable(counter.client)
            found = counter.client.recv(4096)
            raw = next(one for one in wanted if found[:2] == one[:2] and found[12:].startswith(one[12:]))
            assert raw not in got
            got[raw] = found
    for raw, found in got.items():
        name = dns.message.from_wire(raw).question[0].name.to_text()
        assert lines(found) == ["NOERROR", f"{name} 60 A {own_address(name)}"]
    assert counter.resolver.counts.forwarded == len(got)


async def test_ten_thousand_datagrams_of_garbage_do_no_harm(counter: Counter) -> None:
    luck = random.Random(11)
    good = query("orders.mesh", use_edns=0)
    with bound(socket.SOCK_DGRAM) as enemy:
        for number in range(10_000):
            raw = bytearray(good if number % 2 else luck.randbytes(luck.randrange(1, 200)))
            for _ in range(3):
                raw[luck.randrange(len(raw))] = luck.randrange(256)
            if number % 5:
                raw = raw[: luck.randrange(len(raw) + 1)]
            enemy.sendto(raw, (counter.door.address.host, counter.door.address.port))
            if number % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
    assert lines(await counter.ask(query("orders.mesh")))[0] == "NOERROR"
    assert "bug" not in counter.resolver.counts.dropped


async def test_nobody_without_a_port_and_not_we_ourselves_are_answered(counter: Counter) -> None:
    at = (counter.door.address.host, counter.door.address.port)
    counter.door.udp[0].sendto(query("orders.mesh"), at)
    counter.client.sendto(query("orders.mesh") + bytes(QUERY_BYTES), at)
    assert lines(await counter.ask(query("orders.mesh")))[0] == "NOERROR"
    counts = counter.resolver.counts
    assert counts.dropped == {"own address": 1, "garbage": 1}
    assert counts.answered == 1


@pytest.mark.world
async def test_a_datagram_from_port_zero_gets_no_answer(counter: Counter) -> None:
    raw = query("orders.mesh")
    host, port = counter.door.address.host, counter.door.address.port
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as odd:
        odd.sendto(struct.pack("!HHHH", 0, port, 8 + len(raw), 0) + raw, (host, 0))
    assert lines(await counter.ask(raw))[0] == "NOERROR"
    assert counter.resolver.counts.dropped == {"port zero": 1}


async def test_what_is_not_there_is_remembered_and_what_is_there_is_not(counter: Counter) -> None:
    for name in ("nope.example", "NOPE.Example", "empty.example", "there.example", "there.example"):
        raw = query(name)
        found = await counter.ask(raw)
        assert dns.message.from_wire(raw).is_response(dns.message.from_wire(found))
        assert dns.message.from_wire(found).question[0].name.to_text() == f"{name}."
    assert len(counter.nameserver.queries) == 4
    assert (counter.resolver.counts.remembered, counter.resolver.remembered) == (1, 2)
    assert lines(await counter.ask(query("nope.example", "AAAA")))[0] == "NXDOMAIN"
    assert len(counter.nameserver.queries) == 5


async def test_a_client_that_has_gone_is_nobodys_trouble(counter: Counter) -> None:
    with bound(socket.SOCK_DGRAM) as gone:
        for name in ("orders.mesh", "slow.example"):
            gone.sendto(query(name), (counter.door.address.host, counter.door.address.port))
    await trio.sleep(SERVER_BUSY_S)
    assert lines(await counter.ask(query("orders.mesh")))[0] == "NOERROR"


async def test_a_flood_leaves_others_their_turn(counter: Counter) -> None:
    """More is taken in than one turn may, and another task still runs between the turns."""
    turns = 0
    raw = query("orders.mesh")
    with bound(socket.SOCK_DGRAM) as flood:
        for _ in range(3 * AT_ONCE):
            flood.sendto(raw, (counter.door.address.host, counter.door.address.port))
        while counter.resolver.counts.answered < 3 * AT_ONCE:
            turns += 1
            await trio.lowlevel.checkpoint()
    assert turns >= 3
