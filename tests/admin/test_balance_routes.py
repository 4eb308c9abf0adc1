"""World. /v1/balance: its answers, and the codes of what cannot be answered."""

from collections.abc import AsyncIterator

import pytest
import trio

from meshtrio.admin.app import admin_app, control_app
from tests.admin.test_app import Client, serving
from tests.support.catalog_desk import Desk, shop


@pytest.fixture
def desk() -> Desk:
    made = shop()
    made.seat()
    return made


@pytest.fixture(params=[admin_app, control_app])
async def client(desk: Desk, request: pytest.FixtureRequest, nursery: trio.Nursery) -> AsyncIterator[Client]:
    async for made in serving(request.param(desk), nursery):
        yield made


@pytest.mark.parametrize("path", ["orders", "shop/orders", "shop/orders?port=80", "orders?port=http"])
async def test_it_is_answered(client: Client, path: str) -> None:
    told = (await client.ask("GET", f"/v1/balance/{path}")).json
    assert (told["namespace"], told["service"], told["port"]) == ("shop", "orders", "http")
    assert [one["picked"] for one in told["workers"]] == ["10.0.0.1", "10.0.0.1"]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("ordrs", 404, "did you mean shop/orders?"),
        ("web", 409, "web is in 2 namespaces"),
        ("orders?port=x", 404, "has no port x"),
        ("orders?key=x", 400, "knows no keys"),
        ("orders?kay=x", 400, "unknown field `kay`"),
        (f"orders?key={'x' * 5000}", 400, "length <= 4096"),
    ],
)
async def test_what_is_wrong(client: Client, path: str, status: int, words: str) -> None:
    (await client.ask("GET", f"/v1/balance/{path}")).refuses(status, words)


async def test_endpoints_and_services_say_how_workers_see_them(client: Client) -> None:
    for path in ("/v1/endpoints?service=orders", "/v1/services/shop/orders"):
        told = (await client.ask("GET", path)).json
        page = told.get("serving", told)
        assert page["silent_workers"] == 0
        assert {(row["breaker"], row["active"], row["ejected"]) for row in page["endpoints"]} == {
            ("closed", 0, False)
        }
