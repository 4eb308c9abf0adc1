"""Shell. What the keeper of direct services needs: the hooks' maps, small ones, and what is wanted."""

import mmap
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Service, ServicePort
from meshtrio.intercept import bpf
from meshtrio.intercept import direct_layout as layout
from meshtrio.intercept.followed_layout import BERTH_BYTES, FOLLOWED_BYTES
from meshtrio.intercept.grant_layout import GRANT_BYTES, GRANTEE_BYTES, PASSAGE_BYTES, PASSENGER_BYTES
from meshtrio.route.directness import Asked

HASH, ARRAY, RING, NO_PREALLOC = 1, 2, 27, 1
VIP, VIP6 = "10.96.0.10", "fd00:96::10"
SIZES = {
    "services": (HASH, 18, layout.SERVICE_BYTES),
    "direct_slots": (HASH, layout.SLOT_KEY_BYTES, layout.SLOT_BYTES),
    "direct_seats": (HASH, layout.MEMBER_KEY_BYTES, layout.SEAT_BYTES),
    "direct_members": (ARRAY, 4, layout.MEMBER_BYTES),
    "direct_berths": (ARRAY, 4, BERTH_BYTES),
    "direct_live": (HASH, 8, FOLLOWED_BYTES),
    "grants": (HASH, GRANTEE_BYTES, GRANT_BYTES),
    "passages": (HASH, PASSAGE_BYTES, PASSENGER_BYTES),
}


def made_maps(entries: int, more: Mapping[str, tuple[int, int, int]]) -> dict[str, int]:
    """Make all of them, and more, each with room for so many."""
    made = {
        name: bpf.create_map(kind, name, (key, value, entries), NO_PREALLOC * (kind == HASH))
        for name, (kind, key, value) in {**SIZES, **more}.items()
    }
    made["direct_ended"] = bpf.create_map(RING, "direct_ended", (0, 0, mmap.PAGESIZE))
    return made


@pytest.fixture
def kernel_maps() -> Iterator[dict[str, int]]:
    made = made_maps(64, {})
    yield made
    for descriptor in made.values():
        os.close(descriptor)


class Said:
    """What is wanted of all traffic."""

    def __init__(self) -> None:
        self.said = Asked(direct=True)
        self.slow: dict[str, int] = {}

    def asked(self, service: Service, port: ServicePort) -> Asked:
        return self.said

    def usable(self, service: Service, port: ServicePort) -> tuple[Endpoint, ...]:
        return tuple(endpoint for endpoint in port.endpoints if endpoint.ready)

    def starting(self, service: Service, port: ServicePort) -> dict[str, int]:
        return self.slow


def endpoint(host: str, **how: Any) -> Endpoint:
    return Endpoint(id=host, address=Address.of(host, 8080), **how)


def web(*endpoints: Endpoint, vips: tuple[str, ...] = (VIP,), name: str = "web") -> Service:
    addresses = tuple(Address.of(vip, 0).ip for vip in vips)
    return Service(name, vips=addresses, ports=(ServicePort("http", 80, endpoints),))
