"""World. Network namespaces: opened, named, entered and left."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.intercept.netns import Netns, NetnsError
from tests.support.namespace import Namespace

pytestmark = pytest.mark.world


@pytest.fixture
def space() -> Iterator[Namespace]:
    with Namespace() as made:
        yield made


@pytest.fixture
def other(space: Namespace) -> Iterator[Netns]:
    netns = Netns.adopt(os.dup(space.fd), named="it")
    yield netns
    netns.close()


def here() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def test_our_own_namespace_is_known_as_such() -> None:
    by_path = Netns.at("/proc/self/ns/net")
    current = Netns.current()
    assert by_path.is_own
    assert current.is_own
    assert (by_path.id, by_path.inode) == (current.id, current.inode)
    with by_path.entered():
        assert here() == current.inode
    by_path.close()
    current.close()


def test_another_namespace_has_another_id(space: Namespace, other: Netns) -> None:
    by_path = Netns.at(f"/proc/{os.getpid()}/task/{space.tid}/ns/net")
    assert not other.is_own
    assert by_path.id == other.id
    assert other.inode == os.fstat(space.fd).st_ino
    own = Netns.current()
    assert other.id != own.id
    for netns in (by_path, own):
        netns.close()


def test_the_id_is_the_cookie_that_sockets_have(space: Namespace, other: Netns) -> None:
    with space.tcp_socket() as one:
        cookie = int.from_bytes(one.getsockopt(socket.SOL_SOCKET, 71, 8), "little")  # SO_NETNS_COOKIE
    assert other.has_cookie
    assert other.id == cookie


def test_it_is_entered_by_the_calling_thread_and_left(space: Namespace, other: Netns) -> None:
    home = here()
    elsewhere: list[int] = []
    inside, looked = threading.Event(), threading.Event()

    def look() -> None:
        inside.wait()
        elsewhere.append(here())
        looked.set()

    thread = threading.Thread(target=look)
    thread.start()
    with other.entered():
        assert here() == other.inode
        inside.set()
        looked.wait()
    thread.join()
    assert here() == home
    assert elsewhere == [home], "other threads stay where they are"


def test_it_is_left_when_something_fails_inside(other: Netns) -> None:
    home = here()
    with pytest.raises(RuntimeError), other.entered():
        raise RuntimeError
    assert here() == home


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_socket_is_made_inside_and_does_not_block(space: Namespace, other: Netns, family: int) -> None:
    with other.socket(family) as made:
        assert made.getsockopt(socket.SOL_SOCKET, 71, 8) == other.id.to_bytes(8, "little")
        assert (made.family, made.type, made.getblocking()) == (family, socket.SOCK_STREAM, False)
        assert not made.get_inheritable()


def test_a_namespace_lives_as_long_as_it_is_open() -> None:
    with Namespace() as space:
        netns = Netns.adopt(os.dup(space.fd), named="it")
    with netns.socket(socket.AF_INET) as made:
        made.bind(("127.0.0.1", 0))
    netns.close()


def test_what_does_not_exist_is_told() -> None:
    with pytest.raises(NetnsError, match="cannot open network namespace /run/netns/nowhere: No such file"):
        Netns.at("/run/netns/nowhere")


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/ns/mnt", "/dev/null", "/proc/self"])
def test_what_is_no_network_namespace_is_told_and_closed(path: str) -> None:
    """That nothing stays open is what the fixture of every test looks at."""
    for _ in range(3):
        with pytest.raises(NetnsError, match=f"{path} is not a network namespace"):
            Netns.at(path)


def test_opening_and_closing_leaves_nothing_open(space: Namespace) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("/proc/self/ns/net", f"/proc/{os.getpid()}/task/{space.tid}/ns/net"):
        for _ in range(5):
            netns = Netns.at(path)
            netns.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_closing_twice_closes_nothing_of_others(other: Netns) -> None:
    other.close()
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]
    other.close()
    still = [descriptor for descriptor in taken if Path(f"/proc/self/fd/{descriptor}").exists()]
    for descriptor in still:
        os.close(descriptor)
    assert still == taken


def test_a_fresh_one_is_empty_and_somewhere_else() -> None:
    before = here()
    fresh = Netns.fresh()
    assert here() == before
    assert not fresh.is_own and fresh.inode != before
    with fresh.entered():
        assert here() == fresh.inode
        assert len(Path("/proc/thread-self/net/dev").read_text().splitlines()) == 3  # two of heading, and lo
    fresh.close()
