"""World. The questions to sock_diag, about real sockets."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept.netns import Netns
from meshtrio.intercept.sockdiag import LOOPBACK_INDEX, SockDiag
from tests.support.namespace import Namespace

pytestmark = pytest.mark.world

SO_COOKIE = 57
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@contextlib.contextmanager
def asking(space: Namespace) -> Iterator[SockDiag]:
    with (
        contextlib.closing(Netns.adopt(os.dup(space.fd), named="it")) as netns,
        contextlib.closing(SockDiag(netns)) as diag,
    ):
        yield diag


def ends(sock: socket.socket) -> tuple[Address, Address]:
    return Address.of(*sock.getsockname()[:2]), Address.of(*sock.getpeername()[:2])


@pytest.fixture
def space() -> Iterator[Namespace]:
    with Namespace() as made:
        yield made


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_sees_both_ends_as_long_as_there_is_a_connection(space: Namespace, host: str) -> None:
    with asking(space) as diag, space.bound(host, 0) as listener:
        with space.tcp_socket(listener.family) as caller:
            caller.connect(listener.getsockname())
            caller_end, listener_end = ends(caller)
            assert diag.connected(caller_end, listener_end)
            assert diag.connected(listener_end, caller_end), "in the backlog, nobody accepted it"
            accepted, _ = listener.accept()
            with accepted:
                assert diag.connected(listener_end, caller_end)
            assert not diag.connected(listener_end, Address(caller_end.ip, caller_end.port ^ 1))
        assert not diag.connected(Address(caller_end.ip, caller_end.port ^ 1), caller_end)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_tells_the_bytes_of_each_that_is_asked_for(space: Namespace, host: str) -> None:
    with asking(space) as diag, space.bound(host, 0) as listener, contextlib.ExitStack() as stack:
        asked = []
        for count in range(100):  # more than go into one question
            caller = stack.enter_context(space.tcp_socket(listener.family))
            caller.connect(listener.getsockname())
            caller.send(b"x" * count)
            accepted = stack.enter_context(listener.accept()[0])
            accepted.recv(count, socket.MSG_WAITALL)
            cookie = int.from_bytes(caller.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")
            asked.append((*ends(caller), cookie))
        found = diag.counted(asked)
        assert [(one.state, one.acked - 1, one.received) for one in found if one] == [
            (1, count, 0) for count in range(100)
        ]
        local, remote, cookie = asked[7]
        another, nobody = (local, remote, cookie + 1), (remote, Address(local.ip, 1), cookie)
        assert diag.counted([another, nobody, asked[8]]) == [None, None, found[8]]
        assert diag.counted([]) == []


def test_a_connection_that_has_just_ended_counts(space: Namespace) -> None:
    """TIME_WAIT: the same pair of addresses again would meet it."""
    with asking(space) as diag, space.bound("127.0.0.1", 0) as listener:
        with space.tcp_socket() as caller:
            caller.connect(listener.getsockname())
            caller_end, listener_end = ends(caller)
            accepted, _ = listener.accept()
        accepted.close()
        assert diag.connected(caller_end, listener_end)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", ""])
def test_a_listener_alone_is_no_connection(space: Namespace, host: str) -> None:
    with asking(space) as diag, space.bound(host, 0) as listener:
        local = Address.of(host or "127.0.0.1", listener.getsockname()[1])
        assert not diag.connected(local, Address(local.ip, 4000))
    assert not diag_after_close(space, local)


def diag_after_close(space: Namespace, local: Address) -> bool:
    with asking(space) as diag:
        return diag.connected(local, Address(local.ip, 4000))


def test_an_ipv4_connection_of_an_ipv6_socket_is_an_ipv4_connection(space: Namespace) -> None:
    with asking(space) as diag, space.bound("", 0) as listener, space.tcp_socket() as caller:
        caller.connect(("127.0.0.1", listener.getsockname()[1]))
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.family == socket.AF_INET6
            assert diag.connected(*ends(accepted))
            assert diag.connected(*ends(caller))


def test_it_asks_in_its_own_namespace_only(space: Namespace) -> None:
    with (
        Namespace() as elsewhere,
        asking(elsewhere) as other,
        asking(space) as diag,
        space.bound("127.0.0.1", 0) as listener,
        space.tcp_socket() as caller,
    ):
        caller.connect(listener.getsockname())
        assert diag.connected(*ends(caller))
        assert not other.connected(*ends(caller))


def test_many_questions_get_their_own_answers(space: Namespace) -> None:
    with asking(space) as diag, space.bound("127.0.0.1", 0) as listener, contextlib.ExitStack() as stack:
        callers = [stack.enter_context(space.tcp_socket()) for _ in range(20)]
        for caller in callers[::2]:
            caller.connect(listener.getsockname())
        for caller in callers[1::2]:
            caller.bind(("127.0.0.1", 0))
        server = Address.of(*listener.getsockname())
        answers = [diag.connected(Address.of(*caller.getsockname()), server) for caller in callers]
        assert answers == [True, False] * 10


def udp(space: Namespace, family: int) -> socket.socket:
    made = space.run(lambda: socket.socket(family, socket.SOCK_DGRAM))
    made.settimeout(2)
    return made


def cookie_of(sock: socket.socket) -> int:
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")


FAMILIES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::ffff:127.0.0.1")]


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize(("family", "host"), FAMILIES)
def test_it_knows_a_udp_socket_by_where_its_datagram_came_from(
    space: Namespace, family: int, host: str, connected: bool
) -> None:
    door_family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    with asking(space) as diag, udp(space, door_family) as door, contextlib.ExitStack() as stack:
        door.bind((LOOPBACK[door_family], 0))
        callers = [stack.enter_context(udp(space, family)) for _ in range(5)]
        here = Address.of(*door.getsockname()[:2])
        for caller in callers:
            if connected:
                caller.connect((host, here.port))
                caller.send(b"x")
            else:
                caller.sendto(b"x", (host, here.port))
            source = Address.of(*door.recvfrom(10)[1][:2])
            assert diag.udp_cookie(here, source) == cookie_of(caller)
        callers[-1].close()
        assert diag.udp_cookie(here, source) is None
        if connected:
            stranger = Address(here.ip, here.port ^ 1)
            assert diag.udp_cookie(stranger, Address.of(*callers[0].getsockname()[:2])) is None


def test_a_udp_socket_of_another_namespace_is_none(space: Namespace) -> None:
    with Namespace() as elsewhere, asking(elsewhere) as other, udp(space, socket.AF_INET) as caller:
        caller.bind(("127.0.0.1", 0))
        assert other.udp_cookie(Address.of("127.0.0.1", 9), Address.of(*caller.getsockname())) is None


def test_listeners_are_told_with_address_port_and_inode(space: Namespace) -> None:
    with asking(space) as diag, space.bound("127.0.0.1", 0) as one, space.bound("::1", 0) as other:
        with space.tcp_socket() as caller:
            caller.connect(one.getsockname())
            found = {(found.ip, found.port, found.inode) for found in diag.listeners()}
        assert found == {
            (socket.inet_pton(sock.family, sock.getsockname()[0]), sock.getsockname()[1], inode)
            for sock in (one, other)
            for inode in (os.fstat(sock.fileno()).st_ino,)
        }


def test_an_error_within_an_answer_is_raised(space: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a protocol that no module of the kernel knows, which is what it says without tcp_diag."""
    monkeypatch.setattr(socket, "IPPROTO_TCP", 254)
    with asking(space) as diag, pytest.raises(OSError, match="No such file"):
        list(diag.listeners())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_is_ended_for_both_sides_and_only_that_one(space: Namespace, host: str) -> None:
    with asking(space) as diag, contextlib.ExitStack() as stack:
        listener = stack.enter_context(space.bound(host, 0))
        caller, other = (stack.enter_context(space.tcp_socket(listener.family)) for _ in range(2))
        for one in (caller, other):
            one.connect(listener.getsockname())
        accepted, peer = listener.accept()
        stack.enter_context(accepted)
        assert peer == caller.getsockname()
        cookie = int.from_bytes(caller.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")
        assert not diag.destroy(*ends(caller), cookie + 1), "another socket, which has gone"
        assert diag.destroy(*ends(caller), cookie)
        with pytest.raises(ConnectionAbortedError):
            caller.recv(1)
        accepted.settimeout(3)
        with pytest.raises(ConnectionResetError):
            accepted.recv(1)
        assert diag.connected(*ends(other))
        assert not diag.destroy(Address.of(host, 1), Address.of(host, 2), cookie)


def test_one_that_is_bound_to_an_interface_is_found_by_that(space: Namespace) -> None:
    with asking(space) as diag, contextlib.ExitStack() as stack:
        listener = stack.enter_context(space.bound("127.0.0.1", 0))
        caller = stack.enter_context(space.tcp_socket(listener.family))
        caller.connect(listener.getsockname())
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        cookie = int.from_bytes(caller.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")
        assert not diag.destroy(*ends(caller), cookie)
        assert diag.destroy(*ends(caller), cookie, interface=LOOPBACK_INDEX)
