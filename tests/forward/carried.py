"""Shell. Flows under way through a real relay, for the tests of `forward`."""

import contextlib
import socket
from collections.abc import AsyncIterator

import trio

from meshtrio.forward.flow import Ending
from meshtrio.forward.relay import Relay
from meshtrio.forward.workbench import RelayLimits
from tests.forward.peers import pair

LIMITS = RelayLimits(sweep_s=0.05, drain_s=0.25)


@contextlib.asynccontextmanager
async def running(limits: RelayLimits = LIMITS) -> AsyncIterator[Relay]:
    relay = Relay(limits)
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            await nursery.start(relay.run)
            yield relay
            nursery.cancel_scope.cancel()


class Carried:
    """A flow under way between two applications, and later its ending."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        self.client, self.server = pair(family), pair(family)
        self.ending: Ending | None = None
        self.scope = trio.CancelScope()
        self.done = trio.Event()

    async def run(self, relay: Relay, idle_s: float = 0) -> None:
        with self.scope:
            self.ending = await relay.carry(self.client.ours, self.server.ours, idle_s=idle_s)
        self.done.set()

    def __enter__(self) -> tuple[trio.socket.SocketType, trio.socket.SocketType]:
        return self.client.app, self.server.app

    def __exit__(self, *_: object) -> None:
        for one in (self.client, self.server):
            one.app.close()
            assert one.ours.fileno() == -1


def flow_bytes(relay: Relay) -> int:
    return sum(flow.sent_bytes + flow.received_bytes for flow in relay.flows)
