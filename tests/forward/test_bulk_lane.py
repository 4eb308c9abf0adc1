"""Shell. A lane that splices, driven by hand: when it does, and that nobody can tell."""

import contextlib
import errno
import os
import select
import socket
from collections.abc import Iterator

import pytest

from meshtrio.forward.bulk_lane import BulkLane
from meshtrio.forward.flow import Flow
from meshtrio.forward.lane import Way
from meshtrio.forward.pipes import MOST_PIPES
from meshtrio.forward.tcp import arm_reset
from meshtrio.forward.workbench import RelayLimits, Workbench
from meshtrio.outcome import Outcome
from tests.forward.peers import connected, pattern

pytestmark = pytest.mark.rung("r2")

READABLE = select.EPOLLIN | select.EPOLLOUT
ALWAYS = RelayLimits(bulk_bytes=0, pressed_bytes=1)


class Bench:
    """A flow between two applications; its client lane splices from the first byte on."""

    def __init__(self) -> None:
        self.client, ours = connected(socket.AF_INET)
        self.server, theirs = connected(socket.AF_INET)
        self.workbench = Workbench(ALWAYS)
        self.flow = Flow(ours, theirs, bench=self.workbench, heed=lambda flow: None)
        assert isinstance(self.flow.client_lane, BulkLane)
        self.lane = self.flow.client_lane
        self.lane.bulk = True

    def turn(self, mask: int = READABLE) -> None:
        self.lane.happened(mask)
        while self.workbench.again:
            again, self.workbench.again = self.workbench.again, []
            for lane in again:
                lane.go_on()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.flow.cut()
    made.workbench.pipes.close()
    made.client.close()
    made.server.close()


def there(sock: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(BlockingIOError):
        while data := sock.recv(1_000_000):
            got += data
    return got


def test_bytes_go_through_the_pipe(bench: Bench, spliced: list[int]) -> None:
    data = pattern(100_000)
    bench.client.sendall(data)
    bench.turn()
    assert there(bench.server) == data
    assert sum(spliced) == 2 * len(data)
    assert bench.flow.sent_bytes == len(data)
    assert bench.lane.held is None


def test_much_in_a_turn_begins_it_and_little_ends_it(bench: Bench, spliced: list[int]) -> None:
    bench.workbench.limits = RelayLimits(bulk_bytes=100_000)
    bench.lane.bulk = False
    bench.client.setblocking(False)
    sent, got = 0, b""
    while not spliced:
        with contextlib.suppress(BlockingIOError):
            while True:  # all that fits, so that much waits
                sent += bench.client.send(pattern(65_536))
        bench.turn()
        got += there(bench.server)
        assert sent < 1 << 28
    while len(got) < sent:
        bench.flow.upstream_lane.happened(select.EPOLLOUT)
        bench.turn()
        got += there(bench.server)
    for _ in range(2):
        bench.client.send(b"little")
        bench.turn()
        assert there(bench.server) == b"little"
    count = len(spliced)
    bench.client.send(b"little")
    bench.turn()
    assert there(bench.server) == b"little"
    assert len(spliced) == count


def fill(bench: Bench) -> int:
    """Send until the relay holds bytes for a server that does not read; return how many were sent."""
    bench.client.setblocking(False)
    sent = 0
    while bench.lane.held is None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += bench.client.send(pattern(1_000_000, sent)[:65_536])
        bench.turn()
        assert sent < 1 << 28
    return sent


def test_what_the_sink_does_not_take_waits_in_the_pipe_and_is_counted(bench: Bench) -> None:
    fill(bench)
    assert bench.lane.piped is not None
    assert bench.lane.held_bytes == len(bench.lane.piped) > 0
    held, moved = bench.lane.held_bytes, bench.flow.sent_bytes
    bench.turn()  # nothing is read meanwhile
    assert (bench.lane.held_bytes, bench.flow.sent_bytes) == (held, moved)


def test_a_slow_reader_gets_every_byte_and_the_end(bench: Bench) -> None:
    sent = fill(bench)
    bench.client.shutdown(socket.SHUT_WR)
    got = 0
    while True:
        with contextlib.suppress(BlockingIOError):
            while data := bench.server.recv(65_536):
                got += len(data)
            break
        bench.flow.upstream_lane.happened(select.EPOLLOUT)
        bench.turn(READABLE | select.EPOLLRDHUP)
    assert got == sent == bench.flow.sent_bytes
    assert bench.lane.way is Way.SHUT


def test_a_flow_that_is_cut_gives_its_pipe_back(bench: Bench) -> None:
    fill(bench)
    pipe = bench.lane.piped
    assert pipe is not None
    bench.flow.cut()
    assert bench.lane.piped is None
    with pytest.raises(OSError):
        os.fstat(pipe.reading)


def test_a_sink_that_died_ends_the_flow_and_gives_the_pipe_back(bench: Bench) -> None:
    fill(bench)
    arm_reset(bench.server)
    bench.server.close()
    bench.flow.upstream_lane.happened(READABLE | select.EPOLLERR | select.EPOLLHUP)
    bench.turn()
    assert bench.lane.piped is None
    assert bench.flow.dead is bench.flow.upstream_lane


def test_a_source_that_died_behind_its_bytes(bench: Bench) -> None:
    data = pattern(50_000)
    bench.client.sendall(data)
    arm_reset(bench.client)
    bench.client.close()
    bench.turn(READABLE | select.EPOLLERR | select.EPOLLHUP | select.EPOLLRDHUP)
    got = b""
    with contextlib.suppress(ConnectionResetError, BlockingIOError):
        while more := bench.server.recv(65_536):
            got += more
    assert got == data
    bench.flow.cut()
    assert bench.flow.ending is not None
    assert bench.flow.ending.outcome is Outcome.CLIENT_RESET


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_urgent_data_is_passed_as_such_and_hides_nothing_behind_it(
    bench: Bench, ends: bool, told: bool
) -> None:
    bench.client.sendall(b"before")
    bench.client.send(b"!", socket.MSG_OOB)
    bench.client.sendall(b"behind")
    if ends:
        bench.client.shutdown(socket.SHUT_WR)
    bench.turn(READABLE | (select.EPOLLPRI if told else 0))
    bench.turn(READABLE | (select.EPOLLRDHUP if ends else 0))
    assert bench.server.recv(100) == b"before"
    assert bench.server.recv(1, socket.MSG_OOB) == b"!"
    assert bench.server.recv(100) == b"behind"
    if ends:
        assert bench.server.recv(100) == b""


def test_without_a_pipe_it_copies(bench: Bench, spliced: list[int]) -> None:
    lent = [bench.workbench.pipes.lend() for _ in range(MOST_PIPES)]
    bench.client.sendall(b"copied")
    bench.turn()
    assert there(bench.server) == b"copied"
    assert spliced == []
    for pipe in lent:
        assert pipe is not None
        bench.workbench.pipes.hand_back(pipe)


@pytest.mark.parametrize("splices", [True, False])
@pytest.mark.parametrize("ends_first", [True, False])
def test_a_reset_that_a_splice_has_used_up_is_no_end(bench: Bench, splices: bool, ends_first: bool) -> None:
    """Part of a splice went, then came the RST: the kernel tells of the part, and the error is gone."""
    answer = pattern(50_000)
    bench.lane.splices = splices
    bench.server.sendall(answer)
    if ends_first:
        bench.server.shutdown(socket.SHUT_WR)
    arm_reset(bench.server)
    bench.server.close()
    theirs = bench.lane.sink
    assert isinstance(theirs, socket.socket)
    assert theirs.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == (
        errno.EPIPE if ends_first else errno.ECONNRESET
    )
    bench.client.sendall(b"a question that nobody reads")
    bench.turn()
    bench.client.settimeout(5)
    got = b""
    while len(got) < len(answer):
        got += bench.client.recv(1_000_000)
    assert got == answer
    if ends_first:
        assert bench.client.recv(1) == b""
    else:
        with pytest.raises(ConnectionResetError):
            while True:
                bench.flow.settle()  # once all was acknowledged it passes the reset on
                with contextlib.suppress(BlockingIOError):
                    assert bench.client.recv(1, socket.MSG_DONTWAIT)
    while bench.flow.ending is None:
        bench.flow.settle()
    assert bench.flow.ending.outcome is Outcome.UPSTREAM_RESET
