"""World. Both kinds of line keep the same promises; what only the socket can
meet stands in test_channel_socket.py."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
import trio
from hypothesis import given
from trio.testing import wait_all_tasks_blocked

from meshtrio import channel
from meshtrio.channel import DESCRIPTORS, Channel, ChannelClosed, SocketChannel, local_pair

Line = Channel[Any, Any]
Ends = tuple[Line, Line]


class Word(msgspec.Struct, frozen=True, tag=True):
    number: int = 0
    text: str = ""


class Blob(msgspec.Struct, frozen=True, tag=True):
    raw: bytes = b""


Spoken = Word | Blob


def over_socket() -> Ends:
    left, right = socket.socketpair()
    return SocketChannel(left, Spoken), SocketChannel(right, Spoken)


def inside() -> Ends:
    return local_pair(4)


KINDS = {"socket": over_socket, "local": inside}


@contextlib.contextmanager
def line(make: Callable[[], Ends]) -> Iterator[Ends]:
    ends = make()
    try:
        yield ends
    finally:
        for end in ends:
            end.close()


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Callable[[], Ends]:
    return KINDS[request.param]


def a_file(text: str) -> int:
    descriptor = os.memfd_create("word")
    os.write(descriptor, text.encode())
    return descriptor


def read(descriptor: int) -> str:
    return os.pread(descriptor, 100, 0).decode()


async def test_messages_arrive_in_order_in_both_directions(make: Callable[[], Ends]) -> None:
    with line(make) as (here, there):
        heard: dict[str, list[int]] = {"here": [], "there": []}

        async def say(end: Line) -> None:
            for number in range(200):
                await end.send(Word(number))

        async def hear(end: Line, name: str) -> None:
            for _ in range(200):
                message, descriptors = await end.receive()
                assert descriptors == []
                heard[name].append(message.number)

        async with trio.open_nursery() as both:
            both.start_soon(say, here)
            both.start_soon(hear, there, "there")
            both.start_soon(say, there)
            both.start_soon(hear, here, "here")
        assert heard == {"here": list(range(200)), "there": list(range(200))}


async def test_descriptors_arrive_with_their_message_and_are_the_receivers(make: Callable[[], Ends]) -> None:
    with line(make) as (here, there):
        for number in range(4):
            sent = [a_file(f"{number}.{which}") for which in range(number)]
            await here.send(Word(number), sent)
            for descriptor in sent:
                assert read(descriptor)  # still the sender's
                os.close(descriptor)
        for number in range(4):
            message, received = await there.receive()
            assert message == Word(number)
            assert [read(descriptor) for descriptor in received] == [f"{number}.{n}" for n in range(number)]
            for descriptor in received:
                assert not os.get_inheritable(descriptor)
                os.close(descriptor)


async def test_the_most_descriptors_fit_and_one_more_is_refused_by_the_sender(
    make: Callable[[], Ends],
) -> None:
    with line(make) as (here, there):
        one = a_file("x")
        with pytest.raises(ValueError, match="65 descriptors"):
            await here.send(Word(), [one] * (DESCRIPTORS + 1))
        await here.send(Word(1), [one] * DESCRIPTORS)
        os.close(one)
        message, received = await there.receive()
        assert message == Word(1)
        assert len(set(received)) == DESCRIPTORS
        channel.close_all(received)


async def test_descriptors_nobody_received_are_closed(make: Callable[[], Ends]) -> None:
    """The fixture that looks for open descriptors is the judge."""
    with line(make) as (here, there):
        one = a_file("x")
        for number in range(3):
            await here.send(Word(number), [one, one])
        os.close(one)
        _, received = await there.receive()
        channel.close_all(received)


async def test_ten_megabytes_arrive_whole(make: Callable[[], Ends]) -> None:
    """In many pieces; its descriptor comes once, and the next message has its own."""
    raw = os.urandom(10 << 20)
    first, second = a_file("first"), a_file("second")
    with line(make) as (here, there):
        async with trio.open_nursery() as both:
            both.start_soon(here.send, Blob(raw), [first])
            message, received = await there.receive()
        await here.send(Word(), [second])
        received += (await there.receive())[1]
        assert message == Blob(raw)
        assert [read(descriptor) for descriptor in received] == ["first", "second"]
        channel.close_all([first, second, *received])


async def test_who_does_not_read_makes_the_sender_wait(make: Callable[[], Ends]) -> None:
    with line(make) as (here, there):
        sent = 0
        with trio.move_on_after(0.2):
            for number in range(1000):
                await here.send(Blob(bytes(100_000)))
                sent = number + 1
        assert 1 <= sent < 100
        for _ in range(sent):
            await there.receive()


@pytest.mark.parametrize("what", ["send", "receive"])
async def test_after_the_other_side_has_gone_the_line_is_closed(make: Callable[[], Ends], what: str) -> None:
    with line(make) as (here, there):
        await there.send(Word(7))
        there.close()
        one = a_file("x")
        with pytest.raises(ChannelClosed):
            await here.send(Word(), [one])
        os.close(one)
        assert await here.receive() == (Word(7), [])  # its last words
        with pytest.raises(ChannelClosed):
            await (here.receive() if what == "receive" else here.send(Word()))


@pytest.mark.parametrize("side", ["own", "other"])
async def test_closing_wakes_who_waits_for_a_message(make: Callable[[], Ends], side: str) -> None:
    with line(make) as (here, there):
        with trio.fail_after(2):
            async with trio.open_nursery() as waiting:

                async def wait() -> None:
                    with pytest.raises(ChannelClosed):
                        await here.receive()

                waiting.start_soon(wait)
                await wait_all_tasks_blocked()
                (here if side == "own" else there).close()
        here.close()  # again: nothing happens
        with pytest.raises(ChannelClosed):
            await here.receive()
        with pytest.raises(ChannelClosed):
            await here.send(Word())


@pytest.mark.parametrize("side", ["own", "other"])
async def test_closing_wakes_who_waits_to_send(make: Callable[[], Ends], side: str) -> None:
    with line(make) as (here, there):
        with trio.fail_after(2):
            async with trio.open_nursery() as waiting:

                async def wait() -> None:
                    with pytest.raises(ChannelClosed):
                        while True:
                            await here.send(Blob(bytes(1 << 20)))

                waiting.start_soon(wait)
                await wait_all_tasks_blocked()
                (here if side == "own" else there).close()


async def test_a_send_that_is_cancelled_before_it_began_changes_nothing(make: Callable[[], Ends]) -> None:
    with line(make) as (here, there):
        one = a_file("x")
        with trio.CancelScope() as scope:
            scope.cancel()
            await here.send(Word(1), [one])
        os.close(one)
        arrived = scope.cancelled_caught
        await here.send(Word(2))
        message, descriptors = await there.receive()
        assert message == (Word(2) if arrived else Word(1))
        channel.close_all(descriptors)


async def test_a_cancelled_receive_loses_nothing(make: Callable[[], Ends]) -> None:
    with line(make) as (here, there):
        for number in range(3):
            with trio.move_on_after(0.01):
                await there.receive()
            await here.send(Word(number))
            assert await there.receive() == (Word(number), [])


words = st.lists(
    st.tuples(
        st.one_of(st.builds(Word, st.integers(-(2**63), 2**63 - 1), st.text()), st.builds(Blob, st.binary())),
        st.integers(0, 3),
    ),
    max_size=20,
)


@pytest.mark.parametrize("kind", KINDS)
@given(said=words)
async def test_whatever_is_said_is_heard(kind: str, said: list[tuple[Spoken, int]]) -> None:
    with line(KINDS[kind]) as (here, there):

        async def say() -> None:
            for message, count in said:
                sent = [a_file(str(which)) for which in range(count)]
                await here.send(message, sent)
                channel.close_all(sent)

        async with trio.open_nursery() as speaker:
            speaker.start_soon(say)
            for message, count in said:
                heard, received = await there.receive()
                assert heard == message
                assert [read(descriptor) for descriptor in received] == [str(n) for n in range(count)]
                channel.close_all(received)


async def test_two_senders_do_not_mix_their_messages() -> None:
    with line(over_socket) as (here, there):
        async with trio.open_nursery() as senders:
            for number in range(5):
                senders.start_soon(here.send, Blob(bytes([number]) * 300_000))
            seen = {(await there.receive())[0].raw for _ in range(5)}
        assert seen == {bytes([number]) * 300_000 for number in range(5)}


async def test_cancelled_while_another_one_sends_the_line_goes_on() -> None:
    with line(over_socket) as (here, there):
        async with trio.open_nursery() as both:
            both.start_soon(here.send, Blob(bytes(1 << 20)))
            await wait_all_tasks_blocked()
            with trio.move_on_after(0.05) as second:
                await here.send(Word(2))
            assert second.cancelled_caught
            assert (await there.receive())[0] == Blob(bytes(1 << 20))
        await here.send(Word(3))
        assert (await there.receive())[0] == Word(3)


async def test_a_local_descriptor_that_is_none_fails_in_the_sender() -> None:
    with line(inside) as (here, _), pytest.raises(OSError):
        await here.send(Word(), [-1])
