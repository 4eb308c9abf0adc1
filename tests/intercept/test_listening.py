"""World. Which TCP ports processes listen on, of real ones."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.intercept import listening
from meshtrio.intercept.listening import KEPT_S, ListeningPorts, ports_in_netns, ports_of_processes
from meshtrio.intercept.sockdiag import Listener, SockDiag
from tests.bpf.app import App, app_in
from tests.support.namespace import Namespace
from tests.support.namespace_door import cgroup

pytestmark = pytest.mark.world

LISTEN = """
def listening(host, port):
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
"""


@contextlib.contextmanager
def server(space: Namespace, group: Path) -> Iterator[App]:
    with app_in(space, group) as app:
        app.do(LISTEN)
        yield app


@pytest.fixture
def space() -> Iterator[Namespace]:
    with Namespace() as made:
        yield made


@pytest.fixture
def group() -> Iterator[Path]:
    with cgroup() as made:
        yield made


def test_ports_of_both_families_are_found(space: Namespace, group: Path) -> None:
    with server(space, group) as app:
        app.do("held = [listening('127.0.0.1', 80), listening('::1', 81), listening('::', 65535)]")
        assert ports_of_processes([app.pid]) == {80, 81, 65535}
        assert set(ports_in_netns(app.pid)) == {80, 81, 65535}


def test_those_that_only_the_machine_itself_can_reach_are_told_apart(space: Namespace, group: Path) -> None:
    with server(space, group) as app:
        app.do(
            "held = [listening(host, port) for port, host in enumerate(hosts, 80)]\n"
            "both = socket.socket(socket.AF_INET6); both.bind(('::ffff:127.0.0.1', 90)); both.listen()",
            hosts=["127.0.0.1", "127.9.8.7", "::1", "0.0.0.0", "::"],
        )
        assert ports_of_processes([app.pid]) == {80, 81, 82, 83, 84, 90}
        assert ports_of_processes([app.pid], loopback=False) == {83, 84}
        assert set(ports_in_netns(app.pid, loopback=False)) == {83, 84}


def test_a_listen_without_bind_is_found(space: Namespace, group: Path) -> None:
    """The hooks do not see it, so this must."""
    with server(space, group) as app:
        port = app.do("one = socket.socket(); one.listen(); said = one.getsockname()[1]")
        assert ports_of_processes([app.pid]) == {port}


def test_only_listening_sockets_count(space: Namespace, group: Path) -> None:
    with server(space, group) as app:
        app.do(
            """
one = listening('127.0.0.1', 80)
bound = socket.socket(); bound.bind(('127.0.0.1', 81))
caller = socket.create_connection(('127.0.0.1', 80), source_address=('127.0.0.1', 82))
called = one.accept()[0]
udp = socket.socket(type=socket.SOCK_DGRAM); udp.bind(('127.0.0.1', 83))
"""
        )
        assert ports_of_processes([app.pid]) == {80}
        app.do("one.close()")
        assert ports_of_processes([app.pid]) == set()


def test_each_process_has_its_own_ports(space: Namespace, group: Path) -> None:
    with server(space, group) as one, server(space, group) as other:
        one.do("held = listening('127.0.0.1', 80)")
        other.do("held = listening('127.0.0.1', 81)")
        assert ports_of_processes([one.pid]) == {80}
        assert ports_of_processes([one.pid, other.pid]) == {80, 81}
        inodes = ports_in_netns(one.pid)
        assert set(inodes) == {80, 81}, "the table is the namespace's"
        assert inodes[80].isdisjoint(inodes[81])


def test_sockets_that_share_a_port_are_both_there(space: Namespace, group: Path) -> None:
    with server(space, group) as app:
        app.do(
            """
held = []
for _ in range(2):
    held.append(socket.create_server(('127.0.0.1', 80), reuse_port=True))
"""
        )
        assert len(ports_in_netns(app.pid)[80]) == 2
        assert ports_of_processes([app.pid]) == {80}


def test_processes_of_two_namespaces_are_each_read_in_their_own(space: Namespace, group: Path) -> None:
    with Namespace() as far, server(space, group) as one, server(far, group) as other:
        one.do("held = listening('127.0.0.1', 80)")
        other.do("held = listening('127.0.0.1', 81)")
        assert ports_of_processes([one.pid, other.pid]) == {80, 81}
        assert set(ports_in_netns(one.pid)) == {80}


def test_a_process_that_is_gone_is_passed_over(space: Namespace, group: Path) -> None:
    with server(space, group) as one, server(space, group) as other:
        one.do("held = listening('127.0.0.1', 80)")
        other.kill()
        assert ports_of_processes([other.pid, one.pid]) == {80}
        assert ports_in_netns(other.pid) == {}


MANY = """
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(300)]
held += [socket.create_server(("::1", 0), family=socket.AF_INET6) for _ in range(300)]
callers = [socket.create_connection(one.getsockname()[:2]) for one in held[::100]]
said = sorted({one.getsockname()[1] for one in held})
"""


def test_more_than_an_answer_of_the_kernel_holds_are_all_found(space: Namespace, group: Path) -> None:
    with server(space, group) as app:
        ports = app.do(MANY)
        assert sorted(ports_in_netns(app.pid)) == ports
        assert len(ports) > 300


def test_a_kernel_that_cannot_be_asked_is_read(
    space: Namespace, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: SockDiag) -> Iterator[Listener]:
        raise OSError(errno.ENOENT, "no tcp_diag")

    with server(space, group) as app:
        app.do(MANY)
        app.do("held.append(listening('0.0.0.0', 80)); held.append(listening('::', 81))")
        asked = [ports_in_netns(app.pid, loopback=loopback) for loopback in (True, False)]
        monkeypatch.setattr(SockDiag, "listeners", refuses)
        assert [ports_in_netns(app.pid, loopback=loopback) for loopback in (True, False)] == asked
        assert set(asked[1]) == {80, 81}


def test_the_calling_thread_is_asked_by_default() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        port = mine.getsockname()[1]
        inode = os.fstat(mine.fileno()).st_ino
        assert inode in ports_in_netns()[port]
        assert port in ports_of_processes([os.getpid()])


def test_who_asks_again_reads_what_is_open_only_if_something_is_otherwise(
    space: Namespace, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real, now = listening._socket_inodes, [100.0]

    def inodes(pid: int) -> set[int]:
        read.append(pid)
        return real(pid)

    monkeypatch.setattr(listening, "_socket_inodes", inodes)
    asked = ListeningPorts(lambda: now[0])
    with server(space, group) as one, server(space, group) as other:

        def found(*apps: App) -> tuple[set[int], int]:
            read.clear()
            return asked.of(app.pid for app in apps), len(read)

        one.do("first = listening('127.0.0.1', 80)")
        assert found(one) == ({80}, 1)
        assert found(one) == ({80}, 0)
        other.do("first = listening('::', 81)")
        assert found(one) == ({80}, 1), "it may be its own"
        assert found(one, other) == ({80, 81}, 2)
        one.do("second = listening('127.0.0.1', 82)")
        assert found(one, other) == ({80, 81, 82}, 2)
        one.do("first.close()")
        assert found(one, other) == ({81, 82}, 2)
        assert found(one, other) == ({81, 82}, 0)
        now[0] += KEPT_S
        assert found(one, other) == ({81, 82}, 2), "it may have been handed over"
