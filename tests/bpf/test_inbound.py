"""World. sk_lookup with real connections: caught, our own, excluded, and with the agent lost."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from meshtrio.address import Address
from meshtrio.intercept.attachment import NetnsHook
from meshtrio.intercept.layout import EXCLUDED_INBOUND, Reason, excluded_port_key
from meshtrio.intercept.tables import OurDials
from tests.bpf.pod import HERE, HERE6, Pod, accept, waiting
from tests.support.namespace import Namespace, wire

pytestmark = [pytest.mark.world, pytest.mark.kernel]

PORT = 8080
SERVE = """
app = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
app.settimeout(3)
def accepted():
    made, peer = app.accept()
    made.close()
    return peer[0].removeprefix("::ffff:"), peer[1]
"""
each_family = pytest.mark.parametrize("host", ["127.0.0.1", "::1", HERE, HERE6])


@pytest.fixture
def server(pod: Pod) -> Pod:
    """A pod whose process serves a port on both families."""
    pod.app.do(SERVE)
    pod.counted()
    return pod


@contextlib.contextmanager
def call(space: Namespace, host: str, *, port: int = PORT, source: str = "") -> Iterator[Address]:
    """Connect from outside the workload; the block has the caller's own address."""
    with space.tcp_socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as caller:
        caller.settimeout(3)
        if source:
            caller.bind((source, 0))
        caller.connect((host, port))
        yield Address.of(*caller.getsockname()[:2])


def reaches_the_app(pod: Pod, host: str) -> None:
    with call(pod.space, host) as caller:
        assert Address.of(*pod.app.do("said = accepted()")) == caller


@each_family
def test_a_connection_is_caught_with_its_addresses_kept(server: Pod, host: str) -> None:
    with server.inbound() as doors, call(server.space, host) as caller:
        door = doors.by_family(socket.AF_INET6 if ":" in host else socket.AF_INET)
        assert door
        assert accept(door) == (caller, Address.of(host, PORT))
    assert server.counted() == {Reason.CAUGHT: 1}


def test_a_connection_from_another_machine_is_caught(server: Pod) -> None:
    with Namespace() as outside, server.inbound() as doors:
        wire(server.space, outside)
        for space, end in ((server.space, 1), (outside, 2)):
            space.add_address(f"10.7.0.{end}/24", "wire")
            space.add_address(f"fd00:7::{end}/64", "wire")
        for host, family in (("10.7.0.1", socket.AF_INET), ("fd00:7::1", socket.AF_INET6)):
            door = doors.by_family(family)
            assert door
            with call(outside, host) as caller:
                assert accept(door) == (caller, Address.of(host, PORT))
    assert server.counted() == {Reason.CAUGHT: 2}


def test_a_port_on_which_nobody_of_ours_listens_passes_uncounted(server: Pod) -> None:
    with server.inbound(), server.space.bound("127.0.0.1", 8081) as other:
        with call(server.space, "127.0.0.1", port=8081) as caller:
            assert accept(other)[0] == caller
        with pytest.raises(ConnectionRefusedError), call(server.space, "127.0.0.1", port=8082):
            pass
    assert server.counted() == {}


def test_a_port_that_is_no_longer_served_passes(server: Pod) -> None:
    with server.inbound():
        server.app.do("app.close()")
        with pytest.raises(ConnectionRefusedError), call(server.space, "127.0.0.1"):
            pass
    assert server.counted() == {}


@each_family
def test_an_excluded_port_passes(server: Pod, host: str) -> None:
    key = excluded_port_key(EXCLUDED_INBOUND, PORT)
    with server.inbound(), server.entry("excluded_ports", key, b"\1"):
        reaches_the_app(server, host)
    assert server.counted() == {}


@each_family
def test_our_own_dial_passes_and_only_that(server: Pod, host: str) -> None:
    ours = OurDials(server.kernel.maps["our_dials"])
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with server.inbound() as doors, server.space.tcp_socket(family) as dial:
        dial.bind((host, 0))
        source = Address.of(*dial.getsockname()[:2])
        ours.add(server.netns.id, source)
        try:
            dial.connect((host, PORT))
        finally:
            ours.discard(server.netns.id, source)
        assert Address.of(*server.app.do("said = accepted()")) == source
        assert server.counted() == {Reason.PASSED_OUR_DIAL: 1}
        with call(server.space, host, source=host):
            door = doors.by_family(family)
            assert door
            accept(door)
    assert server.counted() == {Reason.CAUGHT: 1}


def test_our_dial_of_another_namespace_does_not_open_this_one(server: Pod) -> None:
    ours = OurDials(server.kernel.maps["our_dials"])
    with server.inbound() as doors, server.space.tcp_socket() as caller:
        caller.bind(("127.0.0.1", 0))
        source = Address.of(*caller.getsockname())
        ours.add(server.netns.id + 1, source)
        try:
            caller.connect(("127.0.0.1", PORT))
        finally:
            ours.discard(server.netns.id + 1, source)
        door = doors.by_family(socket.AF_INET)
        assert door
        accept(door)
    assert server.counted() == {Reason.CAUGHT: 1}


def refused_at_once(pod: Pod, host: str) -> None:
    started = time.monotonic()
    with pytest.raises(ConnectionRefusedError), call(pod.space, host):
        pass
    assert time.monotonic() - started < 1


@each_family
def test_a_lost_agent_follows_the_policy_of_the_namespace(server: Pod, host: str) -> None:
    server.heartbeat.silence()
    with server.inbound() as doors:
        reaches_the_app(server, host)
        assert server.counted() == {Reason.PASSED_AGENT_LOST: 1}
        server.heartbeat.beat()
        with call(server.space, host):
            assert any(waiting(door, 0.1) for door in doors.sockets)
        assert server.counted() == {Reason.CAUGHT: 1}
    server.heartbeat.silence()
    with server.inbound(closed=True):
        refused_at_once(server, host)
    assert server.counted() == {Reason.DROPPED_AGENT_LOST: 1}


def test_a_namespace_can_become_strict_while_it_is_caught(server: Pod) -> None:
    server.heartbeat.silence()
    hook = NetnsHook(server.kernel, server.netns, None, closed=False)
    try:
        reaches_the_app(server, "127.0.0.1")
        hook.close_on_loss(server.netns)
        refused_at_once(server, "127.0.0.1")
    finally:
        hook.detach()
    assert server.counted() == {Reason.PASSED_AGENT_LOST: 1, Reason.DROPPED_AGENT_LOST: 1}


def test_no_door_follows_the_policy_too(server: Pod) -> None:
    with server.inbound(doors=False):
        reaches_the_app(server, "127.0.0.1")
    assert server.counted() == {Reason.PASSED_AGENT_LOST: 1}
    with server.inbound(closed=True, doors=False):
        refused_at_once(server, "127.0.0.1")
    assert server.counted() == {Reason.DROPPED_AGENT_LOST: 1}


def test_a_door_that_closed_follows_the_policy_too(server: Pod) -> None:
    with server.inbound() as doors:
        doors.close()
        reaches_the_app(server, "127.0.0.1")
        reaches_the_app(server, "::1")
    assert server.counted() == {Reason.PASSED_AGENT_LOST: 2}


def test_a_door_of_one_family_serves_that_family(server: Pod) -> None:
    with server.inbound() as doors:
        four = doors.by_family(socket.AF_INET)
        assert four
        four.close()
        reaches_the_app(server, "127.0.0.1")
        with call(server.space, "::1") as caller:
            six = doors.by_family(socket.AF_INET6)
            assert six
            assert accept(six)[0] == caller
    assert server.counted() == {Reason.PASSED_AGENT_LOST: 1, Reason.CAUGHT: 1}


def test_after_detach_nothing_is_caught(server: Pod) -> None:
    with server.inbound():
        pass
    reaches_the_app(server, "127.0.0.1")
    assert server.counted() == {}


def test_a_connection_of_the_workload_to_itself_is_caught_at_both_ends(server: Pod) -> None:
    """The worker in between would dial the app as its own, and so end the chain."""
    with server.inbound() as doors:
        server.dial(HERE, PORT)
        assert server.at_door().origin is not None
        with call(server.space, HERE) as worker:  # a worker that forgot to say that it is one
            door = doors.by_family(socket.AF_INET)
            assert door
            assert accept(door) == (worker, Address.of(HERE, PORT))
    assert server.counted() == {Reason.REDIRECTED: 1, Reason.CAUGHT: 1}
