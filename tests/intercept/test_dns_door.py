"""World. The door for queries: its sockets, its port, and whom it asks what a query was meant for."""

import contextlib
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.address import Address
from meshtrio.intercept import marks
from meshtrio.intercept.dns_door import RECEIVE_BYTES, DnsDoor
from meshtrio.intercept.doors import DoorError, open_doors
from meshtrio.intercept.netns import Netns
from tests.support.namespace import Namespace

pytestmark = pytest.mark.world

PORT = 15053


class Meant:
    """Knows one resolver."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.closed = 0

    def by_datagram(self, source: Address, here: Address) -> Address | None:
        self.asked.append((source, here))
        return Address.of("10.9.9.9", 53)

    def by_connection(self, client: socket.socket, source: Address) -> Address | None:
        self.asked.append((source, client))
        return None

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def space() -> Iterator[Namespace]:
    with Namespace() as made:
        yield made


@pytest.fixture
def netns(space: Namespace) -> Iterator[Netns]:
    with contextlib.closing(Netns.adopt(os.dup(space.fd), named="it")) as opened:
        yield opened


@pytest.fixture
def door(netns: Netns) -> Iterator[DnsDoor]:
    with contextlib.closing(DnsDoor(netns, PORT)) as opened:
        yield opened


def taken(space: Namespace, kind: int, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = space.run(lambda: socket.socket(family, kind))
    made.bind((host, port))
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


def test_it_is_open_by_udp_and_tcp_on_loopback_of_both_families(space: Namespace, door: DnsDoor) -> None:
    assert door.port == PORT
    for sockets, kind in ((door.udp, socket.SOCK_DGRAM), (door.tcp, socket.SOCK_STREAM)):
        assert [one.getsockname()[:2] for one in sockets] == [("127.0.0.1", PORT), ("::1", PORT)]
        for one in sockets:
            assert one.type == kind
            assert not one.getblocking()
            assert not one.get_inheritable()
            with space.run(lambda family=one.family, kind=kind: socket.socket(family, kind)) as caller:  # type: ignore[misc]
                caller.connect(one.getsockname())
                caller.send(b"x")
                assert select.select([one], [], [], 2)[0]
    assert door.has(socket.AF_INET)
    assert door.has(socket.AF_INET6)
    assert door.workload_namespace == "default"


def test_a_burst_waits_to_be_read(space: Namespace, door: DnsDoor) -> None:
    with space.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as caller:
        for _ in range(700):
            caller.sendto(bytes(60), ("127.0.0.1", PORT))
    assert door.udp[0].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * RECEIVE_BYTES
    for _ in range(700):
        door.udp[0].recv(100)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_is_refused_or_another_is_had(
    space: Namespace, netns: Netns, kind: socket.SocketKind, host: str
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with taken(space, kind, host, PORT):
        with pytest.raises(DoorError, match=f"port {PORT} for queries is taken by another process"):
            DnsDoor(netns, PORT)
        with contextlib.closing(DnsDoor(netns, PORT, any_port=True)) as other:
            assert other.port != PORT
            assert {one.getsockname()[1] for one in (*other.udp, *other.tcp)} == {other.port}
    assert len(os.listdir("/proc/self/fd")) == before, "a half-opened door is closed"
    DnsDoor(netns, PORT).close()


def test_another_agent_cannot_share_it(netns: Netns, door: DnsDoor) -> None:
    with pytest.raises(DoorError, match="door of another meshtrio agent"):
        DnsDoor(netns, PORT)
    with pytest.raises(DoorError, match="door of another meshtrio agent"):
        open_doors(netns, PORT)
    door.close()
    DnsDoor(netns, PORT).close()


def test_where_ipv6_is_off_it_is_open_on_ipv4(space: Namespace, netns: Netns) -> None:
    space.set_sysctl("net.ipv6.conf.all.disable_ipv6", "1")
    with contextlib.closing(DnsDoor(netns, PORT)) as door:
        assert door.workload_namespace == "default"
        door.serves("shop", Meant(), namespace="office")
        assert (door.workload, door.workload_namespace) == ("shop", "office")
        assert door.has(socket.AF_INET)
        assert not door.has(socket.AF_INET6)
        assert door.resolver_of(Address.of("::1", 9)) is None


def test_it_asks_who_knows_with_its_own_address(door: DnsDoor) -> None:
    assert door.resolver_of(Address.of("127.0.0.1", 9)) is None, "nobody knows yet"
    meant = Meant()
    door.serves("shop", meant)
    assert door.workload == "shop"
    for host, here in (("10.1.2.3", "127.0.0.1"), ("fd00::1", "::1")):
        assert door.resolver_of(Address.of(host, 9)) == Address.of("10.9.9.9", 53)
        assert meant.asked.pop() == (Address.of(host, 9), Address.of(here, PORT))
    assert door.resolver_of(Address.of("::1", 9), tcp=door.tcp[0]) is None
    assert meant.asked.pop() == (Address.of("::1", 9), door.tcp[0])
    door.close()
    door.close()
    assert meant.closed == 1
    assert door.resolver_of(Address.of("127.0.0.1", 9)) is None


def test_what_it_asks_with_bears_our_mark_and_is_in_the_namespace(space: Namespace, door: DnsDoor) -> None:
    inode = space.run(lambda: Path("/proc/thread-self/ns/net").stat().st_ino)
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        for family in (socket.AF_INET, socket.AF_INET6):
            with door.socket(kind, family) as made:
                assert (made.type, made.family) == (kind, family)
                assert not made.getblocking()
                assert marks.is_ours(made.getsockopt(socket.SOL_SOCKET, socket.SO_MARK))
                made.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
                port = made.getsockname()[1]
                if kind == socket.SOCK_DGRAM and family == socket.AF_INET:
                    assert f":{port:04X} " in space.run(Path("/proc/thread-self/net/udp").read_text)
    assert inode != Path("/proc/thread-self/ns/net").stat().st_ino
