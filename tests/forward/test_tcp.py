"""What we ask of the kernel about one socket."""

import socket

import pytest
import trio

from meshtrio.forward.tcp import (
    arm_reset,
    close_cleanly,
    close_with_reset,
    has_heard_end,
    is_at_mark,
    send_unpaced,
    tune,
    unacked_bytes,
)
from tests.forward.peers import (
    FIN,
    LOOPBACK,
    RESET,
    congestion_control,
    connected,
    pair,
    pattern,
    read,
    until_acked,
)

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])


@FAMILIES
def test_tuned(family: int) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        tune(sock)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        asked = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT]
        assert [sock.getsockopt(socket.IPPROTO_TCP, option) for option in asked] == [60, 15, 4]


@FAMILIES
def test_what_is_accepted_is_unpaced_if_its_listener_is(family: int) -> None:
    with socket.create_server((LOOPBACK[socket.AddressFamily(family)], 0), family=family) as server:
        send_unpaced(server)
        with socket.create_connection(server.getsockname()[:2]), server.accept()[0] as accepted:
            assert congestion_control(accepted) == b"reno"


@FAMILIES
async def test_clean_close_delivers_what_is_queued(family: int) -> None:
    both = pair(family)
    arm_reset(both.ours)
    data = pattern(10_000_000)
    gone = both.ours.send(data)
    assert unacked_bytes(both.ours) > 0
    close_cleanly(both.ours)
    with both.app:
        assert await read(both.app) == (data[:gone], FIN)


@FAMILIES
async def test_armed_close_is_a_reset(family: int) -> None:
    both = pair(family)
    arm_reset(both.ours)
    both.ours.close()
    close_with_reset(both.ours)
    with both.app:
        assert await read(both.app) == (b"", RESET)


async def test_mark_stands_before_the_urgent_byte() -> None:
    both = pair(socket.AF_INET)
    with both.app, both.ours:
        await both.app.send(b"ab")
        await both.app.send(b"!", socket.MSG_OOB)
        await until_acked(both.app)
        await trio.sleep(0.01)
        assert not is_at_mark(both.ours)
        assert both.ours.recv(10) == b"ab"
        assert is_at_mark(both.ours)


@FAMILIES
def test_a_tuned_door_tunes_what_it_accepts(family: int) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as door:
        tune(door)
        door.bind((LOOPBACK[socket.AddressFamily(family)], 0))
        door.listen()
        with socket.create_connection(door.getsockname()[:2]):
            accepted, _ = door.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


@FAMILIES
@pytest.mark.parametrize("resets", [True, False])
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("read_bytes", [0, 3, 5])
def test_an_end_is_known_also_behind_a_reset(family: int, read_bytes: int, ends: bool, resets: bool) -> None:
    app, ours = connected(family)
    with app, ours:
        app.sendall(b"hello")
        if ends:
            app.shutdown(socket.SHUT_WR)
        if resets:
            close_with_reset(app)
        ours.setblocking(True)
        assert len(ours.recv(read_bytes)) == read_bytes
        assert has_heard_end(ours, read_bytes) == ends


@pytest.mark.parametrize("ends", [True, False])
def test_nor_is_urgent_data_that_waits_taken_for_one(ends: bool) -> None:
    app, ours = connected(socket.AF_INET)
    with app, ours:
        app.sendall(b"hello")
        app.send(b"!", socket.MSG_OOB)
        app.sendall(b"again")
        if ends:
            app.shutdown(socket.SHUT_WR)
        close_with_reset(app)
        assert has_heard_end(ours, 0) == ends
        ours.setblocking(True)
        assert ours.recv(100) == b"hello", "reads stop at the mark as before"
        assert has_heard_end(ours, 5) == ends
