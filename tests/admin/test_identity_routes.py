"""Ring 2. The routes of certificates: who may read, who may rotate, and how wrong wishes are answered."""

import json
from collections.abc import AsyncIterator

import pytest
import trio

from meshtrio.admin.app import admin_app, control_app
from meshtrio.identity.bundle import read_bundle
from tests.admin.test_app import Agent, Client, serving
from tests.support.bearers import WEB, Node, living


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    made.clerk.takes_s = 0
    async with living(made):
        await made.enter()
        await made.enter(2, "cart")
        yield made


@pytest.fixture
def agent(node: Node) -> Agent:
    made = Agent()
    made.identities = node.identities
    return made


@pytest.fixture
async def admin(agent: Agent, nursery: trio.Nursery) -> AsyncIterator[Client]:
    async for client in serving(admin_app(agent), nursery):
        yield client


@pytest.fixture
async def control(agent: Agent, nursery: trio.Nursery) -> AsyncIterator[Client]:
    async for client in serving(control_app(agent), nursery):
        yield client


async def test_both_ports_say_how_it_stands(node: Node, admin: Client, control: Client) -> None:
    for client in (admin, control):
        rows = (await client.ask("GET", "/v1/certs")).json["certificates"]
        assert [(row["workload"], row["state"], row["serves"]) for row in rows] == [
            ("web", "fresh", True),
            ("cart", "fresh", True),
        ]
        assert rows[0]["spiffe_id"] == WEB
        told = await client.ask("GET", "/v1/certs/bundle")
        anchors = read_bundle("td", told.body).anchors
        assert anchors == (node.clerk.authority.certificate,)


async def test_only_the_control_socket_rotates(node: Node, admin: Client, control: Client) -> None:
    assert (await admin.ask("POST", "/v1/certs/rotate")).status == 404
    before = {number: told.chain for number, told in node.credentials.items()}
    reply = await control.ask("POST", "/v1/certs/rotate", json.dumps({"workloads": ["cart"]}))
    assert [row["workload"] for row in reply.json["certificates"]] == ["cart"]
    assert [node.credentials[n].chain != before[n] for n in (1, 2)] == [False, True]
    assert (await control.ask("POST", "/v1/certs/rotate")).status == 200
    assert node.credentials[1].chain != before[1]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("{", 400, "rotation:"),
        ('{"workload": "web"}', 400, "unknown field"),
        ('{"workloads": ["UPPER"]}', 400, "rotation:"),
        ('{"workloads": ["web"], "root": true}', 400, "name none"),
        ('{"workloads": ["nobody"]}', 404, "no workload nobody has an identity here"),
        ('{"root": true}', 409, "the root is not ours to rotate"),
    ],
)
async def test_wrong_wishes(node: Node, control: Client, body: str, status: int, words: str) -> None:
    before = dict(node.credentials)
    (await control.ask("POST", "/v1/certs/rotate", body)).refuses(status, words)
    assert node.credentials == before
