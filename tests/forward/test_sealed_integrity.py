"""Any conversation through two relays with TLS between them: as tests/forward/test_integrity.py."""

import socket

import pytest
import trio
from hypothesis import HealthCheck, given, settings

from meshtrio.forward.sealed import Sealed
from meshtrio.forward.workbench import RelayLimits
from meshtrio.outcome import Outcome
from tests.forward.carried import running
from tests.forward.peers import pair
from tests.forward.test_integrity import Part, Side, check, limits, part
from tests.forward.tls_app import secured
from tests.support.rings import ring

pytestmark = pytest.mark.usefixtures("either_records")
RING = ring()


@given(client_part=part, server_part=part, limits=limits)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_conversation(client_part: Part, server_part: Part, limits: RelayLimits) -> None:
    outcomes: list[Outcome] = []
    client, server = pair(socket.AF_INET), pair(socket.AF_INET)
    dialling, dialled = await secured(RING)
    async with running(limits) as relay, trio.open_nursery() as nursery:

        async def carry(one: socket.socket | Sealed, other: socket.socket | Sealed) -> None:
            outcomes.append((await relay.carry(one, other, idle_s=0)).outcome)

        with client.app, server.app:
            one, other = Side(client_part, client.app, 1), Side(server_part, server.app, 2)
            async with trio.open_nursery() as talking:
                talking.start_soon(carry, client.ours, dialling.end)
                talking.start_soon(carry, dialled.end, server.ours)
                for side in (one, other):
                    talking.start_soon(side.speak)
                    talking.start_soon(side.listen)
        nursery.cancel_scope.cancel()
    check(one, other)
    check(other, one)
    possible = {Outcome.CLIENT_RESET} if client_part.aborts else set()
    possible |= {Outcome.UPSTREAM_RESET, Outcome.UPSTREAM_RESET_EARLY} if server_part.aborts else set()
    assert set(outcomes) <= (possible or {Outcome.CARRIED})
