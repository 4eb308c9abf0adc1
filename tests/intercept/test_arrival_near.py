"""World. Which sockets of a door send unpaced: those whose other end is on this machine, whatever comes."""

import contextlib
import socket

import pytest

from meshtrio.address import Address
from meshtrio.config.schema import Keepalive
from meshtrio.intercept.netns import Netns
from meshtrio.messages import Direction
from tests.forward.peers import congestion_control
from tests.support.worker_side import door_in, hand_maps

pytestmark = [pytest.mark.kernel, pytest.mark.world]

APP = Address.of("127.0.0.1", 80)


@pytest.mark.parametrize("direction", ["outbound", "inbound"])
def test_only_sockets_to_workloads_are_unpaced(direction: Direction) -> None:
    with socket.socket() as fresh:
        usual = congestion_control(fresh)
    with (
        hand_maps() as maps,
        contextlib.closing(Netns.current()) as own,
        door_in(own, maps, direction=direction) as door,
    ):
        door.tune(Keepalive())
        with door.outbound_socket(APP) as to_endpoint, door.app_socket(APP, APP) as to_app, to_app:
            assert (congestion_control(to_endpoint), congestion_control(to_app)) == (usual, b"reno")
        come_from_workloads = direction == "outbound"
        assert {congestion_control(listener) for listener in door.listeners} == {
            b"reno" if come_from_workloads else usual
        }
