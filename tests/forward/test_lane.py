"""One lane driven by hand: what it reads and sends after each word of epoll."""

import contextlib
import select
import socket
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from meshtrio.forward.flow import Flow
from meshtrio.forward.lane import INTEREST, Way
from meshtrio.forward.workbench import RelayLimits, Workbench
from tests.forward.peers import connected, pattern

READABLE = select.EPOLLIN | select.EPOLLOUT
LIMITS = RelayLimits(chunk_bytes=4096, pressed_bytes=1024, turn_bytes=16_384, turn_reads=4)


class Bench:
    """A flow between two applications whose sockets are plain ones."""

    def __init__(self) -> None:
        self.client, ours = connected(socket.AF_INET)
        self.server, theirs = connected(socket.AF_INET)
        self.workbench = Workbench(LIMITS)
        self.flow = Flow(ours, theirs, bench=self.workbench, heed=lambda flow: None)
        self.lane = self.flow.client_lane

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self.flow.cut()
        self.client.close()
        self.server.close()


def all_there(sock: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(BlockingIOError):
        while data := sock.recv(1_000_000):
            got += data
    return got


def test_a_turn_is_cut_short_and_goes_on() -> None:
    with Bench() as bench:
        data = pattern(40_000)
        bench.client.send(data)
        bench.lane.happened(READABLE)
        assert bench.workbench.again == [bench.lane]
        assert all_there(bench.server) == data[:16_384]
        bench.lane.happened(READABLE)  # it has its place in the list already
        assert bench.workbench.again == [bench.lane]
        bench.workbench.again.clear()
        bench.lane.go_on()
        bench.workbench.again.clear()
        bench.lane.go_on()
        assert bench.workbench.again == []
        assert all_there(bench.server) == data[16_384:]


def test_nothing_is_read_while_bytes_wait_for_the_sink() -> None:
    with Bench() as bench:
        bench.lane.sink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        gone = bench.client.send(pattern(1_000_000))
        bench.lane.happened(READABLE)
        while bench.lane.held is None:
            bench.lane.go_on()
        moved = bench.lane.moved_bytes
        assert moved < gone
        assert bench.lane.read_bytes == LIMITS.pressed_bytes
        bench.lane.happened(READABLE)
        bench.lane.pump()
        assert bench.lane.moved_bytes == moved
        got = all_there(bench.server)
        until = time.monotonic() + 5
        while len(got) < gone and time.monotonic() < until:
            time.sleep(0.0005)  # the sink's kernel waits for acknowledgements
            bench.flow.upstream_lane.happened(select.EPOLLOUT)
            bench.lane.go_on()
            got += all_there(bench.server)
        assert got == pattern(1_000_000)[:gone]
        assert bench.lane.held is None


def test_bytes_and_fin_in_one_word() -> None:
    with Bench() as bench:
        bench.client.send(b"last")
        bench.client.shutdown(socket.SHUT_WR)
        bench.lane.happened(READABLE | select.EPOLLRDHUP)
        assert bench.lane.way is Way.SHUT
        assert bench.server.recv(100) == b"last"
        assert bench.server.recv(100) == b""


words = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 30_000)),
        st.tuples(st.just("poll"), st.integers(1, 4)),
        st.tuples(st.just("read"), st.integers(1, 60_000)),
    ),
    max_size=30,
)


@given(words)
@settings(max_examples=40, deadline=None)
def test_the_kernel_never_owes_a_word(script: list[tuple[str, int]]) -> None:
    """Whatever the order of writes, events and reads: after the last event nothing stays behind."""
    with Bench() as bench, select.epoll() as epoll:
        lanes = {lane.source.fileno(): lane for lane in (bench.lane, bench.flow.upstream_lane)}
        for fd in lanes:
            epoll.register(fd, INTEREST)
        written, got = b"", b""

        def turn(most: int) -> bool:
            events = epoll.poll(0, most)
            for fd, mask in events:
                lanes[fd].happened(mask)
            turns, bench.workbench.again = bench.workbench.again, []
            for lane in turns:
                lane.go_on()
            return bool(events or turns)

        for verb, size in script:
            if verb == "write":
                data = pattern(size, len(written))
                written += data[: bench.client.send(data)]
            elif verb == "poll":
                turn(size)
            else:
                with contextlib.suppress(BlockingIOError):
                    got += bench.server.recv(size)
        bench.client.shutdown(socket.SHUT_WR)
        until = time.monotonic() + 2
        while bench.lane.way is not Way.SHUT and time.monotonic() < until:
            if not turn(8):
                time.sleep(0.0005)  # Nagle holds the last bytes until the kernel's delayed acknowledgement
            got += all_there(bench.server)
        assert got + all_there(bench.server) == written
