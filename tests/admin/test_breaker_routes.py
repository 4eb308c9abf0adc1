"""World. The routes of breakers: who may read, who may force, and how wrong wishes are answered."""

import json
from collections.abc import AsyncIterator

import pytest
import trio

from meshtrio.admin.app import admin_app, control_app
from meshtrio.balance import board as board_module
from tests.admin.test_app import Client, serving
from tests.support.catalog_desk import Desk, shop


@pytest.fixture
def desk() -> Desk:
    return shop()


@pytest.fixture
async def admin(desk: Desk, nursery: trio.Nursery) -> AsyncIterator[Client]:
    async for client in serving(admin_app(desk), nursery):
        yield client


@pytest.fixture
async def control(desk: Desk, nursery: trio.Nursery) -> AsyncIterator[Client]:
    async for client in serving(control_app(desk), nursery):
        yield client


async def test_the_control_socket_forces_and_both_tell(admin: Client, control: Client) -> None:
    wish = json.dumps({"service": "orders", "endpoint": "10.0.0.2:8080", "state": "open"})
    assert (await admin.ask("POST", "/v1/breakers", wish)).status == 405
    told = (await control.ask("POST", "/v1/breakers", wish)).json
    assert [(row["endpoint"], row["state"]) for row in told["breakers"]] == [("10.0.0.2", "forced_open")]
    for client in (admin, control):
        assert (await client.ask("GET", "/v1/breakers")).json == told
        assert (await client.ask("GET", "/v1/breakers?service=shop/orders")).json == told
        assert (await client.ask("GET", "/v1/breakers?service=printer")).json["breakers"] == []


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("{", 400, "breaker:"),
        ("\udcff", 400, "breaker:"),
        ("", 400, "missing required field `service`"),
        ('{"service": "", "state": "open"}', 400, "length >= 1"),
        ('{"service": "orders", "state": "ajar"}', 400, "Invalid enum value 'ajar'"),
        ('{"service": "orders", "state": "open", "ports": "x"}', 400, "unknown field `ports`"),
        ('{"service": "ordrs", "state": "open"}', 404, "did you mean shop/orders?"),
        ('{"service": "orders", "state": "open", "endpoint": "x"}', 404, "has no endpoint x"),
        ('{"service": "web", "state": "open"}', 409, "web is in 2 namespaces"),
    ],
)
async def test_wrong_wishes(control: Client, body: str, status: int, words: str) -> None:
    raw = body.encode(errors="surrogateescape")
    (await control.ask("POST", "/v1/breakers", raw)).refuses(status, words)
    assert (await control.ask("GET", "/v1/breakers")).json["breakers"] == []


async def test_too_much_is_a_conflict(control: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "FORCED_BOUND", 0)
    wish = json.dumps({"service": "orders", "state": "open"})
    (await control.ask("POST", "/v1/breakers", wish)).refuses(409, "are forced already")


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [("service=nobody", 404, "there is no service nobody"), ("servce=x", 400, "unknown field `servce`")],
)
async def test_wrong_questions(admin: Client, query: str, status: int, words: str) -> None:
    (await admin.ask("GET", f"/v1/breakers?{query}")).refuses(status, words)
