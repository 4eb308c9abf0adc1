"""World. The lab: real sockets, past TCP or not, as the program counts them."""

from pathlib import Path

import msgspec
import pytest
import trio

from meshtrio.intercept import source
from tests.accelerate.inside import run

pytestmark = pytest.mark.kernel


@pytest.fixture
def program(cache: Path) -> bytes:
    return msgspec.msgpack.encode(trio.run(source.compiled, cache, "accelerate.c"))


SENT = """
with lab.pair({host!r}, 10) as (client, server):
    for number in range(4):
        client.sendall(b"abcd")
        server.recv(100)
    server.sendall(b"efg")
    answer = [lab.lane(client), lab.lane(server), client.recv(100).decode()]
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_each_direction_has_its_own_credit_and_counts(group: Path, program: bytes, host: str) -> None:
    there, back, got = run(group, program, SENT.format(host=host))
    assert there == [8, 8, 2, 1]
    assert back == [3, 0, 7, 0]
    assert got == "efg"


LEFT_OUT = """
with lab.only_callers(), lab.pair("127.0.0.1", 10) as (client, server):
    client.sendall(b"one")
    server.sendall(b"two")
    lab.enrol(server)
    client.sendall(b"three")
    server.sendall(b"four")
    answer = [lab.lane(client), lab.lane(server)]
"""


def test_who_is_left_out_gets_its_bytes_by_tcp_then_and_later(group: Path, program: bytes) -> None:
    there, back = run(group, program, LEFT_OUT)
    assert there == [0, 8, 10, 1]
    assert back == [4, 0, 6, 0]  # what it sent before it was enrolled no program saw


EARLY = """
with lab.pair("127.0.0.1", 100, early=b"first ") as (client, server):
    client.sendall(b"second")
    answer = [server.recv(6).decode(), server.recv(6).decode()]
"""


def test_bytes_may_be_sent_before_the_accept(group: Path, program: bytes) -> None:
    assert run(group, program, EARLY) == ["first ", "second"]


NAMESPACE = """
import os
answer = [os.stat("/proc/self/ns/net").st_ino, open("/proc/self/cgroup").read()]
"""


def test_it_is_alone_in_its_namespace_and_group(group: Path, program: bytes) -> None:
    inode, groups = run(group, program, NAMESPACE)
    assert inode != Path("/proc/self/ns/net").stat().st_ino
    assert f"/{group.name}" in groups
