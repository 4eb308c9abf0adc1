"""Shell. The server that is called, as a process of its own."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from meshtrio.benchmark import responder

Address = tuple[str, int]


@pytest.fixture
def address() -> Iterator[Address]:
    words = [sys.executable, "-I", "-S", responder.__file__, "127.0.0.1", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield "127.0.0.1", int(process.stdout.readline())
        process.terminate()


def taken(line: socket.socket, count: int) -> bytes:
    whole = b""
    while len(whole) < count:
        more = line.recv(count - len(whole))
        assert more, whole
        whole += more
    return whole


def test_one_byte_comes_back_and_the_end_is_seen(address: Address) -> None:
    with socket.create_connection(address, 5) as line:
        line.sendall(b"c")
        assert line.recv(9) == b"c"
        line.shutdown(socket.SHUT_WR)
        assert line.recv(9) == b""


def test_everything_comes_back_also_when_nobody_reads_for_a_while(address: Address) -> None:
    said = bytes(range(256)) * 40_000  # ten megabytes: more than both kernels keep
    with socket.create_connection(address, 5) as line:
        line.sendall(b"e")
        line.setblocking(False)
        sent = 0
        try:
            while sent < len(said):
                sent += line.send(said[sent : sent + 65536])
        except BlockingIOError:
            pass
        assert sent > 65536
        line.settimeout(5)
        assert taken(line, sent) == said[:sent]
        line.sendall(b"more")
        assert taken(line, 4) == b"more"


def test_what_is_taken_is_counted(address: Address) -> None:
    with socket.create_connection(address, 5) as line:
        line.sendall(b"s" + bytes(1_000_003))
        line.shutdown(socket.SHUT_WR)
        assert int.from_bytes(taken(line, 8), "big") == 1_000_003
        assert line.recv(1) == b""


def test_bytes_come_without_end_and_who_leaves_harms_nobody(address: Address) -> None:
    with socket.create_connection(address, 5) as line:
        line.sendall(b"d")
        taken(line, 5_000_000)
    with socket.create_connection(address, 5) as line:
        line.sendall(b"c")
        assert line.recv(1) == b"c"
