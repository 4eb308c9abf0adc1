"""World. What the control socket asks of the kernel, and the codes of what cannot be had."""

from collections.abc import AsyncIterator

import pytest
import trio

from meshtrio.admin.app import control_app
from meshtrio.admin.kernel_routes import kernel_routes
from meshtrio.intercept.nft_request import NftRefused, Refusal
from meshtrio.intercept.workload import WorkloadError
from tests.admin.test_app import Client, serving
from tests.support.catalog_desk import shop

COUNTED = {"rung": "nft", "rules": [{"rule": "outbound: redirect", "packets": 2, "octets": 120}]}


def close(to: str) -> int:
    if to == "web":
        raise ValueError("'web' is not ip:port")
    if to == "x/y":
        raise OSError(95, "Operation not supported")
    return len(to)


async def rules(name: str) -> object:
    if name == "gone":
        raise WorkloadError("workload gone is not known")
    if name == "flushed":
        raise NftRefused(Refusal(feature="table meshtrio_flushed (ENOENT)", advice="apply it again"))
    return COUNTED


@pytest.fixture
async def client(nursery: trio.Nursery) -> AsyncIterator[Client]:
    async for made in serving(control_app(shop(), kernel_routes(close, rules)), nursery):
        yield made


async def test_direct_connections_are_closed(client: Client) -> None:
    reply = await client.ask("DELETE", "/v1/connections?to=shop%2Forders")
    assert (reply.status, reply.json) == (200, {"closed": len("shop/orders")})
    (await client.ask("DELETE", "/v1/connections?to=web")).refuses(400, "'web' is not ip:port")
    (await client.ask("DELETE", "/v1/connections?to=x/y")).refuses(501, "CONFIG_INET_DIAG_DESTROY")


async def test_rules_are_told(client: Client) -> None:
    reply = await client.ask("GET", "/v1/workloads/shop/rules")
    assert (reply.status, reply.json) == (200, COUNTED)
    (await client.ask("GET", "/v1/workloads/gone/rules")).refuses(404, "workload gone is not known")
    (await client.ask("GET", "/v1/workloads/flushed/rules")).refuses(409, "apply it again")
