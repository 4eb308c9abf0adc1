"""World. What a caller sees of a worker that is killed before it has relayed anything."""

import contextlib
import os
import socket

import pytest

from meshtrio.config.schema import Keepalive
from meshtrio.intercept.netns import Netns
from tests.intercept.test_arrival import came
from tests.support.worker_side import door_in, hand_maps

pytestmark = pytest.mark.world


def test_who_is_accepted_ends_by_a_reset() -> None:
    with (
        contextlib.closing(Netns.current()) as own,
        hand_maps() as maps,
        door_in(own, maps) as door,
        socket.socket() as caller,
    ):
        door.tune(Keepalive())
        client, _ = came(door, socket.AF_INET, caller)
        os.close(client.detach())  # as the kernel does for a process that has gone
        caller.settimeout(5)
        with pytest.raises(ConnectionResetError):
            caller.recv(1)
