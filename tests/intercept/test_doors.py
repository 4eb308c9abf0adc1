"""World. Doors: listening sockets inside a namespace, and what happens when the port is taken."""

import errno
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.intercept.doors import BACKLOG, DoorError, Doors, open_doors
from meshtrio.intercept.netns import Netns
from tests.support.namespace import Namespace

pytestmark = pytest.mark.world

PORT = 15002


@pytest.fixture
def space() -> Iterator[Namespace]:
    with Namespace() as made:
        yield made


@pytest.fixture
def netns(space: Namespace) -> Iterator[Netns]:
    opened = Netns.adopt(os.dup(space.fd), named="it")
    yield opened
    opened.close()


@pytest.fixture
def doors(netns: Netns) -> Iterator[Doors]:
    opened = open_doors(netns, PORT)
    yield opened
    opened.close()


def test_both_families_listen_on_loopback_of_the_namespace(space: Namespace, doors: Doors) -> None:
    assert doors.port == PORT
    names = [door.getsockname()[:2] for door in doors.sockets]
    assert names == [("127.0.0.1", PORT), ("::1", PORT)]
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        door = doors.by_family(family)
        assert door
        with space.tcp_socket(family) as caller:
            caller.connect((host, PORT))
            assert select.select([door], [], [], 2)[0]
            accepted, peer = door.accept()
            with accepted:
                assert peer[:2] == caller.getsockname()[:2]


def test_they_do_not_block_and_are_not_inherited(doors: Doors) -> None:
    for door in doors.sockets:
        assert not door.getblocking()
        assert not door.get_inheritable()
        with pytest.raises(BlockingIOError):
            door.accept()


def test_they_are_not_in_our_own_namespace(doors: Doors) -> None:
    with socket.socket() as caller:
        assert caller.connect_ex(("127.0.0.1", doors.port)) == errno.ECONNREFUSED


def test_a_burst_waits_to_be_accepted(space: Namespace, doors: Doors) -> None:
    """The queue is longer than Python's or nginx's default, so that a slow moment loses nothing."""
    limit = int(space.run(Path("/proc/sys/net/core/somaxconn").read_text))
    assert limit >= BACKLOG
    callers = []
    for _ in range(600):
        caller = space.tcp_socket()
        caller.settimeout(1)
        callers.append(caller)
        caller.connect(("127.0.0.1", PORT))
    for caller in callers:
        caller.close()


def test_the_kernel_can_choose_the_port_for_both(netns: Netns) -> None:
    doors = open_doors(netns, 0)
    assert doors.port > 0
    assert {door.getsockname()[1] for door in doors.sockets} == {doors.port}
    doors.close()


def test_all_addresses_can_be_served(space: Namespace, netns: Netns) -> None:
    space.add_address("10.1.2.3/32", "lo")
    doors = open_doors(netns, PORT, wildcard=True)
    door = doors.by_family(socket.AF_INET)
    assert door
    with space.tcp_socket() as caller:
        caller.connect(("10.1.2.3", PORT))
        select.select([door], [], [], 2)
        door.accept()[0].close()
    doors.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_is_told_with_the_way_to_find_who(
    space: Namespace, netns: Netns, host: str
) -> None:
    with space.bound(host, PORT), pytest.raises(DoorError) as taken:
        open_doors(netns, PORT)
    assert f"port {PORT} is taken by another process" in str(taken.value)
    assert f"sport = {PORT}" in str(taken.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_another_port_is_taken_where_that_is_allowed(space: Namespace, netns: Netns, host: str) -> None:
    with space.bound(host, PORT):
        doors = open_doors(netns, PORT, any_port=True)
        assert doors.port != PORT
        assert len(doors.sockets) == 2
        assert {door.getsockname()[1] for door in doors.sockets} == {doors.port}
        doors.close()


def test_a_port_that_is_not_ours_to_take_is_told(space: Namespace, netns: Netns) -> None:
    space.set_sysctl("net.ipv4.ip_unprivileged_port_start", "1024")
    pid = os.fork()
    if pid == 0:
        try:
            # The namespace is entered as root; only binding is done as nobody.
            with netns.entered():
                os.setuid(65534)
                own = Netns(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
                try:
                    open_doors(own, 80)
                except DoorError as error:
                    os._exit(0 if "cannot listen on port 80: Permission denied" in str(error) else 2)
        finally:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_without_ipv6_there_is_one_door(space: Namespace, netns: Netns) -> None:
    space.set_sysctl("net.ipv6.conf.all.disable_ipv6", "1")
    doors = open_doors(netns, PORT)
    assert [door.family for door in doors.sockets] == [socket.AF_INET]
    assert doors.by_family(socket.AF_INET6) is None
    doors.close()


def test_a_successor_opens_the_same_door(netns: Netns, doors: Doors) -> None:
    """Orphaned workers still hold the sockets of the agent that crashed, but its claim died with it."""
    assert doors.claim is not None
    doors.claim.close()
    successor = open_doors(netns, PORT)
    assert successor.port == PORT
    assert len(successor.sockets) == 2
    successor.close()


def test_a_second_agent_is_told_that_the_door_is_taken(netns: Netns, doors: Doors) -> None:
    with pytest.raises(DoorError, match="another meshtrio agent"):
        open_doors(netns, PORT)


def test_doors_that_may_have_any_port_never_share_one(space: Namespace, netns: Netns) -> None:
    """Two workloads of one namespace, or two agents: each must get its own connections."""
    first = open_doors(netns, PORT, any_port=True)
    second = open_doors(netns, PORT, any_port=True)
    assert first.port == PORT
    assert second.port != PORT
    successor = open_doors(netns, second.port)  # who asks for this very port may still have it
    assert successor.port == second.port
    for doors in (first, second, successor):
        doors.close()


def test_a_door_opens_at_once_after_connections_ended(space: Namespace, netns: Netns) -> None:
    """TIME_WAIT is on our side when a worker closes first."""
    doors = open_doors(netns, PORT)
    door = doors.by_family(socket.AF_INET)
    assert door
    with space.tcp_socket() as caller:
        caller.connect(("127.0.0.1", PORT))
        select.select([door], [], [], 2)
        door.accept()[0].close()
        caller.recv(1)
    doors.close()
    open_doors(netns, PORT).close()


def test_closing_twice_is_fine(netns: Netns) -> None:
    doors = open_doors(netns, 0)
    doors.close()
    doors.close()
