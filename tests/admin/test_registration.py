"""Shell. Registering over real HTTP: at the control socket, and at the admin port with a token."""

import http.client
import json
import math
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
import trio.lowlevel

from meshtrio.admin.app import BODY_BYTES
from meshtrio.admin.registration import TOKEN_BYTES, file_token, registration_routes
from meshtrio.admin.server import open_sockets, serve
from meshtrio.catalog.merge import Merge
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.catalog.vips import Vips
from meshtrio.config.discovery import Registration
from meshtrio.discover.hub import Hub
from meshtrio.discover.registered import Registrar
from meshtrio.discover.state import Store
from meshtrio.web.router import Router

SETTINGS = Registration()
PATH = "/v1/services/orders/endpoints/orders-1"
SAID = {"address": "10.0.0.1:8080", "port": 80, "port_name": "http", "labels": {"tier": "gold"}}


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    json: Any

    def refuses(self, status: int, words: str) -> None:
        assert self.status == status, self
        assert set(self.json) == {"error"}
        assert words in self.json["error"]
        assert words in self.headers["x-meshtrio-error"]


class Line(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class Client:
    def __init__(self, control: Path | None = None, port: int = 0) -> None:
        self._control = control
        self._port = port

    async def ask(self, method: str, path: str = PATH, body: Any = None, **headers: str) -> Reply:
        if isinstance(body, dict):
            body = json.dumps(body)
        return await trio.to_thread.run_sync(self._ask, method, path, body, headers)

    def _ask(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Reply:
        line = Line(self._control) if self._control else http.client.HTTPConnection("127.0.0.1", self._port)
        try:
            line.request(method, path, body, headers)
            answer = line.getresponse()
            return Reply(answer.status, answer.headers, json.loads(answer.read()))
        finally:
            line.close()


class Agent:
    """A registrar behind both doors, on a real disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = folder / "token"
        self.hub = Hub(Merge(Vips()), self._publish)
        self.registrar: Registrar
        self.control: Client
        self.admin: Client

    async def find(self) -> Registrar:
        await trio.lowlevel.checkpoint()
        return self.registrar

    def _publish(self, snapshot: Snapshot) -> None:
        """Nobody reads it here."""

    def endpoints(self, key: str = "default/orders") -> list[str]:
        service = self.hub.merge.merged(key)
        return [str(one.address) for one in service.endpoints] if service else []


@asynccontextmanager
async def agent(folder: Path, settings: Registration = SETTINGS) -> AsyncIterator[Agent]:
    made = Agent(folder)
    store = Store(str(folder / "state.db"))
    sockets = open_sockets(folder / "control.sock", "127.0.0.1", 0)
    async with AsyncExitStack() as undo:
        undo.callback(sockets.close)
        undo.push_async_callback(store.aclose)
        made.registrar = Registrar(settings, made.hub.sink("registered"), store)
        made.control = Client(folder / "control.sock")
        made.admin = Client(port=sockets.admin.getsockname()[1])
        async with trio.open_nursery() as nursery:
            routes = registration_routes(made.find, None)
            await nursery.start(serve, Router(routes), sockets.control)
            routes = registration_routes(made.find, file_token(str(made.token)))
            await nursery.start(serve, Router(routes), sockets.admin)
            await nursery.start(made.registrar.run)
            yield made
            nursery.cancel_scope.cancel()


async def test_the_life_of_a_registration(tmp_path: Path) -> None:
    async with agent(tmp_path) as made:
        ask = made.control.ask
        first = await ask("PUT", body=SAID)
        assert first.status == 201
        assert first.json == {
            "service": "orders",
            "id": "orders-1",
            "address": "10.0.0.1:8080",
            "namespace": "default",
            "port_name": "http",
            "port": 80,
            "protocol": "tcp",
            "weight": 1,
            "zone": "",
            "version": "",
            "labels": {"tier": "gold"},
            "meshed": False,
            "identity": "",
            "draining": False,
            "health": "healthy",
            "ttl_s": 30,
            "remaining_s": pytest.approx(30, abs=1),
            "durable": True,
        }
        await trio.sleep(0.05)
        assert made.endpoints() == ["10.0.0.1:8080"]
        assert (await ask("PUT", body=SAID)).status == 200
        assert (await ask("POST", f"{PATH}/heartbeat")).status == 200
        changed = await ask("PUT", body={**SAID, "address": "10.0.0.2:8080", "ttl_s": 0})
        assert (changed.status, changed.json["remaining_s"]) == (200, None)
        found = await ask("GET")
        assert (found.status, found.json) == (200, changed.json)
        # What GET shows can be put again, but for what is not the client's to say.
        again = {k: v for k, v in found.json.items() if k not in ("service", "id", "remaining_s", "durable")}
        assert (await ask("PUT", body=again)).json == changed.json
        await trio.sleep(0.05)
        assert made.endpoints() == ["10.0.0.2:8080"]
        assert (await ask("DELETE")).json == {"deleted": "default/orders orders-1"}
        await trio.sleep(0.05)
        assert made.endpoints() == []


async def test_who_is_not_there_is_404_and_told_what_to_do(tmp_path: Path) -> None:
    async with agent(tmp_path) as made:
        for method, path in (("DELETE", PATH), ("GET", PATH), ("POST", f"{PATH}/heartbeat")):
            reply = await made.control.ask(method, path)
            reply.refuses(404, "no endpoint orders-1 of default/orders is registered; register it first")


async def test_a_namespace_by_query_or_by_body(tmp_path: Path) -> None:
    async with agent(tmp_path) as made:
        ask = made.control.ask
        assert (await ask("PUT", f"{PATH}?namespace=shop", SAID)).status == 201
        assert (await ask("PUT", body={**SAID, "namespace": "shop"})).status == 200
        assert (await ask("GET", f"{PATH}?namespace=shop")).json["namespace"] == "shop"
        assert (await ask("GET")).status == 404
        assert (await ask("DELETE", f"{PATH}?namespace=shop")).status == 200
        (await ask("GET", f"{PATH}?namspace=shop")).refuses(400, "namspace is not known in the query")
        (await ask("GET", f"{PATH}?namespace=Shop")).refuses(400, 'namespace is "Shop" (want a DNS label')


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (
            {"address": "10.0.0.1:8080", "weight": -1},
            400,
            "registration: weight is -1 (want a weight, 0 to 1000)",
        ),
        ({}, 400, "address is missing"),
        (b"\xff", 400, "the body is not JSON"),
        (None, 400, "the body is not JSON"),
        (b" " * (BODY_BYTES + 1), 413, f"larger than {BODY_BYTES} bytes"),
    ],
)
async def test_what_cannot_be_understood(tmp_path: Path, body: Any, status: int, words: str) -> None:
    async with agent(tmp_path) as made:
        (await made.control.ask("PUT", body=body)).refuses(status, words)
        assert (await made.control.ask("GET")).status == 404


async def test_names_that_are_none(tmp_path: Path) -> None:
    async with agent(tmp_path) as made:
        for path in (
            "/v1/services/Orders/endpoints/a",
            "/v1/services/o/endpoints/-a",
            "/v1/services/o/endpoints/%0a",
        ):
            for method in ("PUT", "GET", "DELETE"):
                (await made.control.ask(method, path, SAID)).refuses(400, "registration: ")


async def test_too_many(tmp_path: Path) -> None:
    async with agent(tmp_path, Registration(endpoints=1)) as made:
        assert (await made.control.ask("PUT", body=SAID)).status == 201
        reply = await made.control.ask("PUT", PATH + "0", SAID)
        reply.refuses(429, "1 endpoints are registered")
        assert reply.headers["retry-after"] == "10"
        assert (await made.control.ask("PUT", body=SAID)).status == 200


async def test_before_the_registrar_runs_it_is_503(tmp_path: Path) -> None:
    async with agent(tmp_path) as made:
        made.registrar = Registrar(Registration(), made.hub.sink("registered"), None)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with trio.open_nursery() as nursery:
                await nursery.start(serve, Router(registration_routes(made.find, None)), listener)
                reply = await Client(port=listener.getsockname()[1]).ask("PUT", body=SAID)
                nursery.cancel_scope.cancel()
        reply.refuses(503, "starting or stopping")
        assert reply.headers["retry-after"] == "1"


async def test_the_admin_port_wants_the_token(tmp_path: Path) -> None:
    async with agent(tmp_path) as made:
        made.token.write_text("s3cret-é\n")
        right = "Bearer s3cret-é".encode().decode("latin-1")
        for wrong in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Basic s3cret-é"},
            {"authorization": "Bearer"},
        ):
            for method, path in (
                ("PUT", PATH),
                ("GET", PATH),
                ("DELETE", PATH),
                ("POST", f"{PATH}/heartbeat"),
            ):
                reply = await made.admin.ask(method, path, SAID, **wrong)
                reply.refuses(401, "needs the token")
                assert reply.headers["www-authenticate"] == 'Bearer realm="meshtrio"'
                assert "s3cret" not in str(reply)
        assert (await made.admin.ask("PUT", body=SAID, authorization=right)).status == 201
        assert (await made.admin.ask("GET", authorization=right.replace("Bearer", "bearer"))).status == 200
        made.token.write_text("another")
        assert (await made.admin.ask("GET", authorization=right)).status == 401
        assert (await made.admin.ask("GET", authorization="Bearer another")).status == 200


@pytest.mark.parametrize("content", [None, b"", b" \n", b"x" * (TOKEN_BYTES + 1), b"\xff"])
async def test_without_a_good_token_file_nobody_is_let_in(tmp_path: Path, content: bytes | None) -> None:
    async with agent(tmp_path) as made:
        if content is not None:
            made.token.write_bytes(content)
        for brought in ("Bearer", "Bearer ", "Bearer \xff", "Bearer " + "x" * (TOKEN_BYTES + 1)):
            (await made.admin.ask("GET", authorization=brought)).refuses(401, "needs the token")


async def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    async with agent(tmp_path) as made:
        for number in range(20):
            path, said = f"/v1/services/orders/endpoints/{number}", {"address": f"10.0.0.{number + 1}:80"}
            assert (await made.control.ask("PUT", path, said)).json["durable"]
    async with agent(tmp_path) as made:
        assert len(made.endpoints()) == 20
        left_s = (await made.control.ask("GET", "/v1/services/orders/endpoints/7")).json["remaining_s"]
        assert 20 < left_s < 30
        assert not math.isinf(left_s)
