"""Shell. Which addresses are our own, by real sockets; and the real door is one that we serve."""

import contextlib
import os
import socket

import pytest
import trio

from meshtrio.address import Address
from meshtrio.config.discovery import Dns
from meshtrio.intercept.dns_door import DnsDoor as RealDoor
from meshtrio.intercept.netns import Netns
from meshtrio.resolver.door import DnsDoor, OwnAddresses
from meshtrio.resolver.resolver import Resolver
from tests.support.dnswords import lines, query
from tests.support.nameserver import Nameserver, address_of, asked, both, bound, own_address
from tests.support.namespace import Namespace
from tests.support.shop import SHOP


def test_a_bound_address_is_our_own_and_its_neighbours_are_not() -> None:
    with bound(socket.SOCK_DGRAM) as four, bound(socket.SOCK_DGRAM, "::1") as six:
        own = OwnAddresses((four, six))
        port4, port6 = four.getsockname()[1], six.getsockname()[1]
    assert own.has(("127.0.0.1", port4))
    assert own.has(("::1", port6, 0, 0))
    assert own.has_address(Address.of("127.0.0.1", port4))
    assert own.has_address(Address.of("0:0::1", port6))
    assert not own.has(("127.0.0.2", port4))
    assert not own.has(("127.0.0.1", 53))
    assert not own.has_address(Address.of("10.0.0.1", port4))


def test_of_a_port_that_is_bound_everywhere_every_address_is_our_own() -> None:
    with bound(socket.SOCK_DGRAM, "0.0.0.0") as everywhere:
        own, port = OwnAddresses((everywhere,)), everywhere.getsockname()[1]
    assert own.has(("10.9.8.7", port))
    assert own.has_address(Address.of("127.0.0.1", port))
    assert not own.has_address(Address.of("127.0.0.1", port - 1))


@pytest.mark.world
async def test_the_real_door_in_a_namespace_is_served() -> None:
    """It is asked from there by both families, and it is in there that the other resolver is asked."""
    with Namespace() as there, contextlib.ExitStack() as opened:
        door = RealDoor(Netns.adopt(os.dup(there.fd), named="there"), 15053)
        servers = there.run(lambda: opened.enter_context(both("127.0.0.1", 53)))
        clients = there.run(lambda: [bound(socket.SOCK_DGRAM, host) for host in ("127.0.0.1", "::1")])
        served: DnsDoor = door
        resolver = Resolver(lambda: SHOP, Dns(servers=("127.0.0.1",)))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Nameserver(servers).run)
                nursery.start_soon(resolver.serve, served)
                with trio.fail_after(10):
                    for client, at in zip(clients, map(address_of, door.udp), strict=True):
                        found = await asked(client, at, query("orders.shop"))
                        assert lines(found) == ["NOERROR", "orders.shop. 30 A 240.240.1.2"]
                        found = await asked(client, at, query("www.example"))
                        assert lines(found)[1].endswith(own_address("www.example"))
                nursery.cancel_scope.cancel()
        finally:
            netns = door._netns
            door.close()
            netns.close()
            for one in clients:
                one.close()
