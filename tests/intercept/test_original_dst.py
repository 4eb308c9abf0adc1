"""World. SO_ORIGINAL_DST on real sockets. That it finds what was redirected is shown in test_nft.py."""

import socket
import struct

import pytest

from meshtrio.address import Address
from meshtrio.intercept import nft
from meshtrio.intercept.nft_plan import NftPlan, OutboundCapture
from meshtrio.intercept.original_dst import original_destination
from tests.support.namespace import Namespace

pytestmark = pytest.mark.world


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize(
    ("listen", "dial"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("", "127.0.0.1"), ("", "::1")]
)
async def test_who_dials_the_socket_itself_has_no_original_destination(
    listen: str, dial: str, *, tracked: bool
) -> None:
    with Namespace() as space, space.bound(listen, 15002) as door:
        if tracked:
            plan = NftPlan(workload="w", owner="1.1", outbound=OutboundCapture(door=15002))
            await nft.apply(plan, space.fd)
        with space.tcp_socket(socket.AF_INET6 if ":" in dial else socket.AF_INET) as caller:
            caller.connect((dial, 15002))
            accepted, _ = door.accept()
            with accepted:
                assert original_destination(accepted) is None


@pytest.mark.parametrize(
    ("listen", "dial"),
    [("127.0.0.1", "10.1.2.3"), ("::1", "fd99::3"), ("", "10.1.2.3"), ("", "::ffff:10.1.2.3")],
)
async def test_every_kind_of_socket_finds_what_was_dialled(listen: str, dial: str) -> None:
    with Namespace() as space, space.bound(listen, 15002) as door:
        space.route_everything()
        plan = NftPlan(workload="w", owner="1.1", outbound=OutboundCapture(door=15002))
        await nft.apply(plan, space.fd)
        with space.tcp_socket(socket.AF_INET6 if ":" in dial else socket.AF_INET) as caller:
            caller.connect((dial, 40000))
            accepted, _ = door.accept()
            with accepted:
                assert original_destination(accepted) == Address.of(dial, 40000)


async def test_a_caller_that_is_gone_is_still_known() -> None:
    with Namespace() as space, space.bound("", 15002) as door:
        space.route_everything()
        await nft.apply(NftPlan(workload="w", owner="1.1", outbound=OutboundCapture(door=15002)), space.fd)
        with space.tcp_socket() as caller:
            caller.connect(("10.1.2.3", 40000))
            # Closing with no linger resets.
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted, _ = door.accept()
        with accepted:
            assert original_destination(accepted) == Address.of("10.1.2.3", 40000)


def test_a_socket_that_is_not_connected_has_none() -> None:
    for family in (socket.AF_INET, socket.AF_INET6):
        with socket.socket(family) as alone:
            assert original_destination(alone) is None
