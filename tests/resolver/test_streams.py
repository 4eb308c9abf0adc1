"""Shell. Queries by TCP: in pieces, many at once, too many, too slow, and not at all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.message
import pytest
import trio
import trio.testing

from meshtrio.resolver import streams
from tests.support.dns_counter import Counter
from tests.support.dnswords import lines, query
from tests.support.nameserver import own_address


def framed(*queries: bytes) -> bytes:
    return b"".join(len(raw).to_bytes(2, "big") + raw for raw in queries)


class Client:
    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._received = b""

    async def answer(self) -> bytes:
        """Wait for the next answer; b"" at the end."""
        with trio.fail_after(60):
            while len(self._received) < 2 or len(self._received) < 2 + int.from_bytes(
                self._received[:2], "big"
            ):
                some = await self.stream.receive_some(65_536)
                if not some:
                    return b""
                self._received += some
        end = 2 + int.from_bytes(self._received[:2], "big")
        found, self._received = self._received[2:end], self._received[end:]
        return found


@asynccontextmanager
async def connected(counter: Counter) -> AsyncIterator[Client]:
    async with await counter.connect() as stream:
        yield Client(stream)


async def test_ours_and_others_and_what_is_too_long_for_udp(counter: Counter) -> None:
    assert lines(await counter.ask(query("big.example")))[0] == "NOERROR TC"
    async with connected(counter) as client:
        for name, count in (
            ("orders.mesh", 1),
            ("many.default", 100),
            ("big.example", 100),
            ("paying.mesh", 2),
        ):
            await client.stream.send_all(framed(query(name)))
            found = lines(await client.answer())
            assert (found[0], len(found) - 1) == ("NOERROR", count)
    assert [tcp for _, tcp in counter.nameserver.queries] == [False, True, True]
    assert [tcp for _, tcp in counter.door.asked] == [False, True]  # once a connection


@pytest.mark.parametrize("piece", [1, 2, 7])
async def test_torn_into_pieces_it_is_the_same(counter: Counter, piece: int) -> None:
    whole = framed(query("orders.mesh"), query("there.example"))
    async with connected(counter) as client:
        for at in range(0, len(whole), piece):
            await client.stream.send_all(whole[at : at + piece])
            await trio.lowlevel.checkpoint()
        assert {lines(await client.answer())[1] for _ in range(2)} == {
            "orders.mesh. 30 A 240.240.1.2",
            f"there.example. 60 A {own_address('there.example')}",
        }


async def test_what_is_quick_overtakes_what_is_slow(counter: Counter) -> None:
    async with connected(counter) as client:
        await client.stream.send_all(
            framed(query("slow.example"), query("orders.mesh"), query("there.example"))
        )
        names = [str(dns.message.from_wire(await client.answer()).question[0].name) for _ in range(3)]
    assert names == ["orders.mesh.", "there.example.", "slow.example."]


async def test_a_hundred_in_one_go_are_all_answered(counter: Counter) -> None:
    async with connected(counter) as client:
        await client.stream.send_all(framed(*(query(f"n{n}.example", id=n) for n in range(100))))
        assert {dns.message.from_wire(await client.answer()).id for _ in range(100)} == set(range(100))


async def test_no_more_is_read_from_a_client_than_can_be_done_for_it(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PIPELINED", 2)
    async with connected(counter) as client:
        await client.stream.send_all(framed(*(query(f"slow{n}.example") for n in "12"), query("orders.mesh")))
        names = [str(dns.message.from_wire(await client.answer()).question[0].name) for _ in range(3)]
    assert sorted(names[:2]) == ["slow1.example.", "slow2.example."] or names[1] == "orders.mesh."
    assert names[0] != "orders.mesh."


async def test_after_its_end_the_client_still_gets_what_it_asked(counter: Counter) -> None:
    async with connected(counter) as client:
        await client.stream.send_all(framed(query("slow.example")))
        await client.stream.send_eof()
        assert lines(await client.answer())[0] == "NOERROR"
        assert await client.answer() == b""


@pytest.mark.parametrize("garbage", [b"\0\0" * 50, b"\0\x05abcde" * 50, b"\xff\xff" + b"x" * 65_535])
async def test_garbage_between_queries_is_passed_over(counter: Counter, garbage: bytes) -> None:
    async with connected(counter) as client:
        await client.stream.send_all(garbage + framed(query("orders.mesh")))
        while lines(found := await client.answer())[0] != "NOERROR":
            assert found
    assert "bug" not in counter.resolver.counts.dropped


async def test_a_transfer_of_a_zone_is_refused(counter: Counter) -> None:
    async with connected(counter) as client:
        await client.stream.send_all(framed(query("example.com", "AXFR")))
        assert lines(await client.answer()) == ["REFUSED"]


async def test_with_nothing_to_do_it_is_closed(
    counter: Counter, autojump_clock: trio.testing.MockClock
) -> None:
    async with connected(counter) as client:
        await client.stream.send_all(framed(query("orders.mesh"))[:5])  # half a query is nothing
        began = trio.current_time()
        assert await client.answer() == b""
        assert trio.current_time() - began == pytest.approx(streams.IDLE_S)


async def test_the_idlest_gives_way_when_there_are_too_many(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CONNECTIONS", 3)
    async with connected(counter) as busy, connected(counter) as first, connected(counter) as second:
        await busy.stream.send_all(framed(query("silent.example")))
        for one in (second, first):
            await one.stream.send_all(framed(query("orders.mesh")))
            assert await one.answer()
        async with connected(counter) as third:
            assert await second.answer() == b""
            for one in (first, third):
                await one.stream.send_all(framed(query("orders.mesh")))
                assert await one.answer()


async def test_if_all_are_busy_the_new_one_is_closed(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CONNECTIONS", 1)
    async with connected(counter) as busy:
        await busy.stream.send_all(framed(query("silent.example")))
        while not counter.nameserver.queries:
            await trio.sleep(0.001)
        async with connected(counter) as late:
            assert await late.answer() == b""
    assert counter.resolver.counts.dropped == {"connection": 1}


async def test_a_client_that_reads_nothing_costs_only_itself(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SEND_S", 0.1)
    async with connected(counter) as greedy:
        whole = framed(*(query("many.default", id=n) for n in range(500)))
        with pytest.raises(trio.BrokenResourceError):
            with trio.fail_after(20):
                while True:
                    await greedy.stream.send_all(whole)
        assert lines(await counter.ask(query("orders.mesh")))[0] == "NOERROR"


async def test_a_client_that_resets_takes_its_errands_with_it(counter: Counter) -> None:
    for _ in range(20):
        async with connected(counter) as client:
            await client.stream.send_all(framed(query("slow.example"), query("orders.mesh")))
            client.stream.setsockopt(1, 13, bytes((1, 0, 0, 0)) + bytes(4))  # SO_LINGER, 0 s: a reset
    assert lines(await counter.ask(query("orders.mesh")))[0] == "NOERROR"
    assert "bug" not in counter.resolver.counts.dropped
