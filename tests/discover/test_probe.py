"""One probe from beginning to end, of each type, against real sockets."""

import pytest
import trio

from meshtrio.address import Address
from meshtrio.catalog.probing import Finding, Manner, Target
from meshtrio.discover import probe as module
from meshtrio.discover.probe import ask
from tests.support.probed import HealthService, Serve, black_hole, endless, refusing, saying, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def target(address: Address, kind: str, timeout_s: float = 2.0) -> Target:
    return Target(address, Manner(kind, path="/health", host="orders", timeout_s=timeout_s))


async def quiet(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("kind", "serve", "text"),
    [
        ("tcp", quiet, "connected"),
        ("http", saying(OK), "HTTP 200"),
        ("grpc", HealthService({"": 1}).serve, "SERVING"),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_each_type_asks_its_question(kind: str, serve: Serve, text: str, host: str) -> None:
    async with serving(serve, host) as address:
        answer = await ask(target(address, kind))
    assert (answer.finding, answer.text) == (Finding.PASSED, text)
    assert 0 < answer.latency_s < 2


@pytest.mark.parametrize("kind", ["http", "grpc"])
async def test_who_connects_and_says_nothing_is_silent(kind: str) -> None:
    async with serving(quiet) as address:
        with trio.fail_after(2):
            answer = await ask(target(address, kind, 0.05))
    assert (answer.finding, answer.text) == (Finding.SILENT, "connected, but no answer within 0.05 s")
    assert 0.05 <= answer.latency_s < 0.2, "the goodbye does not count"


async def test_who_says_a_little_at_a_time_is_silent_too() -> None:
    async def drip(stream: trio.SocketStream) -> None:
        for byte in OK:
            await stream.send_all(bytes((byte,)))
            await trio.sleep(0.01)

    async with serving(drip) as address:
        assert (await ask(target(address, "http", 0.1))).finding is Finding.SILENT


@pytest.mark.parametrize("kind", ["tcp", "http", "grpc"])
async def test_a_black_hole_is_silent(kind: str) -> None:
    with black_hole() as address:
        answer = await ask(target(address, kind, 0.05))
    assert (answer.finding, answer.text) == (Finding.SILENT, "no connection within 0.05 s")


@pytest.mark.parametrize("kind", ["tcp", "http", "grpc"])
async def test_a_refusal_is_said_at_once(kind: str) -> None:
    with refusing() as address:
        answer = await ask(target(address, kind))
    assert answer.finding is Finding.FAILED
    assert answer.text == f"cannot connect to {address}: Connection refused"


async def test_endless_bytes_end_with_the_answer() -> None:
    async with serving(endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536)) as address:
        with trio.fail_after(2):
            assert (await ask(target(address, "http"))).finding is Finding.PASSED


async def test_words_are_bounded_and_printable() -> None:
    async with serving(saying(b"HTTP/1.1 \x1b[31m" + b"x" * 3000 + b"\r\n\r\n")) as address:
        answer = await ask(target(address, "http"))
    assert answer.finding is Finding.FAILED
    assert len(answer.text) <= 200
    assert answer.text.isprintable()


async def test_a_fault_of_a_parser_blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stumble(sock: object, target: Target) -> None:
        await trio.lowlevel.checkpoint()
        raise IndexError("list index out of range")

    monkeypatch.setattr(module, "_ASK", {"tcp": stumble})
    async with serving(quiet) as address:
        answer = await ask(target(address, "tcp"))
    assert answer.finding is Finding.VOID
    assert answer.text == "a fault of ours: IndexError('list index out of range')"


@pytest.mark.parametrize("kind", ["tcp", "http", "grpc"])
async def test_whenever_it_is_cancelled_nothing_stays_open(kind: str) -> None:
    """The descriptors are counted by the fixture of every test."""
    async with serving(quiet) as address:
        for count in range(12):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ask, target(address, kind))
                    for _ in range(count):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            assert scope.cancelled_caught
