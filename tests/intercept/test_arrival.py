"""World. A door in real namespaces: what was dialled, and sockets that look like the caller."""

import contextlib
import errno
import os
import resource
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from meshtrio.address import Address
from meshtrio.config.schema import Keepalive
from meshtrio.intercept import arrival, bpf, marks, nft, routing
from meshtrio.intercept.arrival import CALLER_PORTS, Door, room_for_more
from meshtrio.intercept.layout import Origin, listener, port_key
from meshtrio.intercept.netns import Netns, NetnsError
from meshtrio.intercept.nft_plan import InboundCapture, NftPlan, OutboundCapture
from meshtrio.intercept.routing_plan import RoutingPlan
from meshtrio.intercept.tables import OurDials
from meshtrio.messages import OpenDoor
from tests.support.namespace import Namespace, wire
from tests.support.namespace_program import program
from tests.support.worker_side import SHOP, HandMaps, door_in, hand_maps

pytestmark = [pytest.mark.kernel, pytest.mark.world]

CALLER, CALLEE, CALLER6, CALLEE6 = "10.8.0.2", "10.8.0.1", "fd08::2", "fd08::1"
FAMILIES = [socket.AF_INET, socket.AF_INET6]


def as_netns(space: Namespace) -> "contextlib.closing[Netns]":
    return contextlib.closing(Netns.adopt(os.dup(space.fd), named="it"))


@pytest.fixture
def maps() -> Iterator[HandMaps]:
    with hand_maps() as made:
        yield made


@pytest.fixture
def own(maps: HandMaps) -> Iterator[Netns]:
    with contextlib.closing(Netns.current()) as netns:
        yield netns


def came(door: Door, family: int, source: socket.socket) -> tuple[socket.socket, Address]:
    """Connect to the door of this family, and accept there."""
    at = next(one for one in door.listeners if one.family == family)
    source.connect(at.getsockname()[:2])
    [(client, peer)], more = door.accept(at, 5)
    assert more
    return client, Address.of(*peer)


# What was dialled


@pytest.mark.parametrize("family", FAMILIES)
def test_ebpf_outbound_takes_what_the_hook_noted_once(family: int, maps: HandMaps, own: Netns) -> None:
    with door_in(own, maps) as door:
        at = next(one for one in door.addresses if one.is_v4 == (family == socket.AF_INET))
        dialled = Address.of("fd00:96::10", 443)
        with maps.dialling(own.id, at, dialled) as caller:
            client, source = came(door, family, caller)
            with client:
                assert not client.getblocking()
                assert door.origin(client, source) == Origin(dialled, SHOP.id)
                assert door.origin(client, source) is None
        with socket.socket(family) as stranger:
            client, source = came(door, family, stranger)
            with client:
                assert door.origin(client, source) is None


def test_another_namespace_is_another_source(maps: HandMaps, own: Netns) -> None:
    with door_in(own, maps) as door, socket.socket() as caller:
        caller.bind(("127.0.0.1", 0))
        at = next(one for one in door.addresses if one.is_v4)
        maps.remember(own.id + 1, Address.of(*caller.getsockname()), at, Address.of("10.96.0.10", 80))
        client, source = came(door, socket.AF_INET, caller)
        with client:
            assert door.origin(client, source) is None


def test_ebpf_inbound_keeps_the_local_address(maps: HandMaps, own: Netns) -> None:
    with door_in(own, maps, direction="inbound") as door, socket.create_server(("127.0.0.1", 0)) as app:
        port = app.getsockname()[1]
        with socket.create_connection(app.getsockname()) as caller:
            client, peer = app.accept()
            with client:
                source = Address.of(*peer)
                local = Address.of("127.0.0.1", port)
                assert door.origin(client, source) == Origin(local, SHOP.id), (
                    "a configured port is noted by none"
                )
                bpf.update(maps.descriptors[2], port_key(own.id, port), listener(12, 1))
                assert door.origin(client, source) == Origin(local, 12)
            assert caller.recv(1) == b""
        with socket.socket() as direct:
            client, source = came(door, socket.AF_INET, direct)
            with client:
                assert door.origin(client, source) is None, "the door itself was dialled"


@pytest.mark.parametrize("family", FAMILIES)
def test_only_a_connection_that_has_arrived_is_vouched_for(family: int, maps: HandMaps, own: Netns) -> None:
    """What was dialled may be elsewhere, or its address translated: then nobody here has that connection."""
    with (
        door_in(own, maps, direction="inbound") as door,
        socket.socket(family) as app,
        socket.socket(family) as caller,
    ):
        app.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        app.listen()
        caller.connect(app.getsockname()[:2])
        to, source = Address.of(*app.getsockname()[:2]), Address.of(*caller.getsockname()[:2])
        elsewhere = Address(source.ip, source.port ^ 1)
        assert not door.vouch(elsewhere, to, 7)
        assert door.vouched(elsewhere, to) is None
        assert door.vouch(source, to, 7)
        assert door.vouched(source, to) == 7
        assert door.vouched(source, to) is None


def test_without_maps_nobody_is_vouched_for(own: Netns) -> None:
    with door_in(own, None, rung="nft", direction="inbound") as door:
        here = Address.of("127.0.0.1", 80)
        assert not door.vouch(here, here, 7)
        assert door.vouched(here, here) is None


async def test_nft_asks_conntrack() -> None:
    with Namespace() as space, as_netns(space) as netns, program(space) as app:
        space.route_everything()
        with (
            door_in(netns, None, rung="nft") as outbound,
            door_in(netns, None, rung="nft", direction="inbound", wildcard=True) as inbound,
        ):
            plan = NftPlan(
                workload="shop",
                owner="1.1",
                outbound=OutboundCapture(door=outbound.port),
                inbound=InboundCapture(door=inbound.port, ports=(8080,)),
            )
            await nft.apply(plan, netns.descriptor)
            for host in ("10.96.0.10", "fd00:96::10"):
                app.tell("dial", host=host, port=80, patience=0.2)
                [(client, peer)] = [one for at in outbound.listeners for one in outbound.accept(at, 5)[0]]
                with client:
                    dialled = Address.of(host, 80)
                    assert outbound.origin(client, Address.of(*peer)) == Origin(dialled, SHOP.id)
            for at in outbound.listeners:
                with space.tcp_socket(at.family) as direct:
                    direct.connect(at.getsockname()[:2])
                    [(client, peer)], _ = outbound.accept(at, 5)
                    with client:
                        assert outbound.origin(client, Address.of(*peer)) is None


# Accepting


def test_accepting_has_a_bound_and_a_closed_listener_is_no_trap(maps: HandMaps, own: Netns) -> None:
    with door_in(own, maps) as door, contextlib.ExitStack() as stack:
        at = door.listeners[0]
        for _ in range(5):
            stack.enter_context(socket.create_connection(at.getsockname()))
        for most, want in ((2, 2), (10, 3), (10, 0)):
            accepted, more = door.accept(at, most)
            assert (len(accepted), more) == (want, True)
            for client, _ in accepted:
                client.close()
        door.stop()
        assert door.accept(at, 10) == ([], True)


def test_room_is_what_the_descriptors_allow() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        most = room_for_more(0, doors=2)
        assert 400 < most < 512
        assert room_for_more(100, doors=2) == most - 100
        assert room_for_more(most + 5, doors=2) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# A door's life


def test_a_descriptor_that_is_no_namespace_is_refused_and_all_are_closed(own: Netns) -> None:
    opened = OpenDoor(4, "outbound", "ebpf", own.id, SHOP, 1)
    made = socket.create_server(("127.0.0.1", 0))
    descriptors = [os.open("/dev/null", os.O_RDONLY), made.detach()]
    with pytest.raises(NetnsError, match="door 4 is not a network namespace"):
        Door(opened, descriptors, None)
    for descriptor in descriptors:
        with pytest.raises(OSError) as closed:
            os.fstat(descriptor)
        assert closed.value.errno == errno.EBADF


def test_a_stopped_door_still_dials(maps: HandMaps, own: Netns) -> None:
    with door_in(own, maps) as door, socket.create_server(("127.0.0.1", 0)) as server:
        at = door.listeners[0].getsockname()
        door.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(at)
        with door.outbound_socket(Address.of("127.0.0.1", 1)) as sock:
            sock.setblocking(True)
            sock.connect(server.getsockname())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_sockets_are_marked_and_tuned(host: str, maps: HandMaps, own: Netns) -> None:
    with door_in(own, maps) as door:
        door.tune(Keepalive(after_s=33, every_s=7, probes=3))
        to = Address.of(host, 80)
        with door.outbound_socket(to) as sock:
            mark = sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)
            assert (mark & marks.MASK, sock.getblocking()) == (marks.OUTBOUND_DIAL, False)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 33
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        with door.app_socket(to, to) as sock, sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) & marks.MASK == marks.APP_DIAL
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        door.tune(Keepalive(after_s=0))
        with door.outbound_socket(to) as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


# Dials to the app


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_dial_to_the_app_is_registered_while_it_lasts(host: str, maps: HandMaps, own: Netns) -> None:
    to = Address.of(host, 80)
    with door_in(own, maps, direction="inbound") as door:
        with door.app_socket(to, to) as sock, sock:
            source = Address.of(*sock.getsockname()[:2])
            assert source.host == ("127.0.0.6" if to.is_v4 else "::1")
            key = OurDials(maps.descriptors[1])
            assert len(maps.our_dials()) == 1
            key.discard(own.id, source)
            assert maps.our_dials() == [], "under its own source, in this namespace"
            key.add(own.id, source)
        assert maps.our_dials() == []
        with pytest.raises(RuntimeError), door.app_socket(to, to) as sock, sock:
            raise RuntimeError
        assert maps.our_dials() == []


def test_a_full_map_is_an_error_and_leaves_no_socket(own: Netns) -> None:
    to = Address.of("127.0.0.1", 80)
    with (
        hand_maps(entries=1) as maps,
        door_in(own, maps, direction="inbound") as door,
        door.app_socket(to, to) as first,
        first,
    ):
        with pytest.raises(OSError) as full, door.app_socket(to, to):
            pass
        assert full.value.errno == errno.E2BIG
        assert len(maps.our_dials()) == 1


def test_on_rung_nft_nothing_is_registered(maps: HandMaps, own: Netns) -> None:
    to = Address.of("127.0.0.1", 80)
    with door_in(own, maps, direction="inbound", rung="nft") as door, door.app_socket(to, to) as sock, sock:
        assert maps.our_dials() == []


# Callers' addresses


class Wired(NamedTuple):
    """The caller's machine, the app's, and a transparent door there."""

    caller: Namespace
    callee: Namespace
    door: Door


@pytest.fixture
async def wired() -> "Iterator[Wired]":  # type: ignore[misc]
    with Namespace() as caller, Namespace() as callee:
        wire(caller, callee)
        for space, last in ((caller, 2), (callee, 1)):
            space.add_address(f"10.8.0.{last}/24", "wire")
            space.add_address(f"fd08::{last}/64", "wire")
        await routing.apply(RoutingPlan(transparent=True), callee.fd)
        with (
            as_netns(callee) as netns,
            hand_maps() as maps,
            door_in(netns, maps, direction="inbound", transparent=True) as door,
        ):
            yield Wired(caller, callee, door)


BOTH = pytest.mark.parametrize(("caller", "callee"), [(CALLER, CALLEE), (CALLER6, CALLEE6)])


def source_of(door: Door, to: Address, caller: Address) -> Address:
    """Say which source a dial to the app would have."""
    with door.app_socket(to, caller) as sock, sock:
        return Address.of(*sock.getsockname()[:2])


@BOTH
async def test_the_app_sees_the_caller(wired: Wired, caller: str, callee: str) -> None:
    to, who = Address.of(callee, 8080), Address.of(caller, 40000)
    with program(wired.callee) as app:
        app.tell("listen", host=callee, port=8080, name="app")
        with wired.door.app_socket(to, who) as sock, sock:
            sock.settimeout(2)
            sock.connect((callee, 8080))
            source = Address.of(*sock.getsockname()[:2])
            assert source.host == caller
            assert CALLER_PORTS[0] <= source.port < CALLER_PORTS[1]
            assert f'"peer": ["{caller}", {source.port}]' in sock.makefile("r").readline()


@BOTH
async def test_a_pair_of_addresses_that_is_in_use_is_avoided(
    wired: Wired, caller: str, callee: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, who = Address.of(callee, 8080), Address.of(caller, 40000)
    with wired.callee.bound(callee, 8080) as app, contextlib.ExitStack() as stack:
        family = app.family
        real = [stack.enter_context(wired.caller.tcp_socket(family)) for _ in range(2)]
        for number, sock in enumerate(real):
            sock.bind((caller, 5000 + number))
        # The caller itself uses port 5000 to this app; the range has one other.
        real[0].settimeout(2)
        real[0].connect((callee, 8080))
        monkeypatch.setattr(arrival, "CALLER_PORTS", (5000, 5002))
        assert {source_of(wired.door, to, who).port for _ in range(8)} == {5001}
        # To another port of the app both are free.
        other = Address.of(callee, 8081)
        assert {source_of(wired.door, other, who).port for _ in range(30)} == {5000, 5001}
        # Both in use: a fixed address, rather than breaking a connection.
        real[1].settimeout(2)
        real[1].connect((callee, 8080))
        assert source_of(wired.door, to, who).host == ("127.0.0.6" if to.is_v4 else "::1")


@BOTH
async def test_a_port_that_we_hold_ourselves_is_not_taken_twice(
    wired: Wired, caller: str, callee: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, who = Address.of(callee, 8080), Address.of(caller, 40000)
    monkeypatch.setattr(arrival, "CALLER_PORTS", (5000, 5001))
    with wired.door.app_socket(to, who) as first, first:
        assert first.getsockname()[:2] == (caller, 5000)
        assert source_of(wired.door, to, who).host in ("127.0.0.6", "::1")


@pytest.mark.parametrize(
    ("caller", "callee", "fixed"),
    [
        ("127.0.0.1", CALLEE, "127.0.0.6"),
        ("127.3.2.1", CALLEE, "127.0.0.6"),
        ("::1", CALLEE6, "::1"),
        (CALLER, CALLEE6, "::1"),
        (CALLER6, CALLEE, "127.0.0.6"),
        ("fe80::5", CALLEE6, "::1"),
    ],
)
async def test_who_cannot_be_shown_gets_a_fixed_address(
    wired: Wired, caller: str, callee: str, fixed: str
) -> None:
    assert source_of(wired.door, Address.of(callee, 80), Address.of(caller, 40000)).host == fixed


@pytest.mark.parametrize(
    ("caller", "callee", "fixed"), [(CALLER, CALLEE, "127.0.0.6"), (CALLER6, CALLEE6, "::1")]
)
def test_where_nothing_is_prepared_the_address_is_fixed_and_reaches_the_app(
    maps: HandMaps, caller: str, callee: str, fixed: str
) -> None:
    with Namespace() as space, as_netns(space) as netns:
        space.add_address(f"{callee}/{128 if ':' in callee else 32}", "lo")
        with (
            door_in(netns, maps, direction="inbound") as door,
            space.bound(callee, 8080) as app,
            door.app_socket(Address.of(callee, 8080), Address.of(caller, 1)) as sock,
            sock,
        ):
            sock.settimeout(2)
            sock.connect((callee, 8080))
            accepted, peer = app.accept()
            accepted.close()
            assert peer[0] == fixed
