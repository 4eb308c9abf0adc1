"""World. What the applications answer, asked by a real client over a real socket."""

import http.client
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
import trio.lowlevel

from meshtrio.admin.app import BODY_BYTES, Answers, admin_app, control_app
from meshtrio.admin.server import serve
from meshtrio.balance_answers import BalanceAnswers
from meshtrio.breaker_answers import BreakerAnswers
from meshtrio.breaker_board import BreakerBoard
from meshtrio.catalog.merge import Merge
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.catalog.vips import Vips
from meshtrio.catalog_answers import CatalogAnswers
from meshtrio.config.identity import Identity
from meshtrio.config.schema import Config
from meshtrio.discover.hub import Hub
from meshtrio.fleet import Fleet
from meshtrio.identities import Identities
from meshtrio.identity_answers import IdentityAnswers
from meshtrio.intercept.workload import Spec, WorkloadError
from meshtrio.outcome import Outcome
from meshtrio.route.directness import Way
from meshtrio.web.router import Router
from tests.support.catalog_desk import nobody

READ = ["/healthz", "/readyz", "/metrics", "/v1/status", "/v1/connections", "/v1/config", "/v1/discovery"]
READ += ["/v1/certs", "/v1/certs/bundle", "/v1/breakers"]


class Agent(Answers):
    """One that says what the test wants."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.board = BreakerBoard(Fleet(1, nobody))
        self.snapshot = Snapshot()
        self.identities = Identities(Identity(), lambda subject, message: None)
        self.added: list[Spec] = []
        self.removed: list[str] = []
        self.fails: Exception | None = None

    @property
    def catalog(self) -> CatalogAnswers:
        return CatalogAnswers(Hub(Merge(Vips()), lambda snapshot: None))

    @property
    def identity(self) -> IdentityAnswers:
        return IdentityAnswers(self.identities)

    @property
    def breakers(self) -> BreakerAnswers:
        return BreakerAnswers(self.board, lambda: self.snapshot)

    @property
    def balance(self) -> BalanceAnswers:
        return BalanceAnswers(
            Fleet(1, nobody), self.board, lambda: (self.snapshot, Config()), lambda key, port: Way("relay")
        )

    def readiness(self) -> list[str]:
        return self.missing

    async def metrics(self) -> bytes:
        return b"meshtrio_ready 1\n"

    def status(self) -> dict[str, object]:
        if self.fails:
            raise self.fails
        return {"outcome": Outcome.CARRIED, "path": Path("/x")}

    def configuration(self) -> dict[str, object]:
        return {"node": "n"}

    async def connections(self) -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        return {"live": [], "ended": []}

    async def add_workload(self, spec: Spec) -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise self.fails
        self.added.append(spec)
        return {"name": spec.name}

    async def remove_workload(self, name: str) -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise self.fails
        self.removed.append(name)
        return {"name": name}


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    def refuses(self, status: int, words: str) -> None:
        """It is an error as every error of ours is."""
        assert self.status == status, self
        assert set(self.json) == {"error"}
        assert words in self.json["error"]
        header = self.headers["x-meshtrio-error"]
        assert header.isascii()
        assert header.isprintable()
        assert words.partition("\n")[0] in header


class Client:
    def __init__(self, port: int) -> None:
        self.port = port

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        return await trio.to_thread.run_sync(self._ask, method, path, body, headers)

    def _ask(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Reply:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            line.request(method, path, body, headers)
            answer = line.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            line.close()


@pytest.fixture
def agent() -> Agent:
    return Agent()


async def serving(app: Router, nursery: trio.Nursery) -> AsyncIterator[Client]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await nursery.start(serve, app, listener)
        yield Client(listener.getsockname()[1])
        nursery.cancel_scope.cancel()


@pytest.fixture
async def admin(agent: Agent, nursery: trio.Nursery) -> AsyncIterator[Client]:
    async for client in serving(admin_app(agent), nursery):
        yield client


@pytest.fixture
async def control(agent: Agent, nursery: trio.Nursery) -> AsyncIterator[Client]:
    async for client in serving(control_app(agent), nursery):
        yield client


@pytest.fixture(params=["admin", "control"])
def either(request: pytest.FixtureRequest) -> Callable[[Agent], Router]:
    return {"admin": admin_app, "control": control_app}[request.param]


async def test_both_answer_what_can_be_read(
    agent: Agent, nursery: trio.Nursery, either: Callable[[Agent], Router]
) -> None:
    async for client in serving(either(agent), nursery):
        replies = {path: await client.ask("GET", path) for path in READ}
        heads = {path: await client.ask("HEAD", path) for path in READ}
        assert {path: one.status for path, one in replies.items()} == dict.fromkeys(READ, 200)
        assert {path: (one.status, one.body) for path, one in heads.items()} == dict.fromkeys(
            READ, (200, b"")
        )
        assert replies["/healthz"].body == b"ok\n"
        assert replies["/readyz"].json == {"ready": True, "missing": []}
        assert replies["/metrics"].body == b"meshtrio_ready 1\n"
        assert replies["/metrics"].headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert replies["/v1/status"].json == {"outcome": "carried", "path": "/x"}
        assert replies["/v1/connections"].json == {"live": [], "ended": []}
        assert replies["/v1/config"].json == {"node": "n"}
        assert "x-meshtrio-error" not in replies["/v1/status"].headers


async def test_not_ready_is_503_and_says_why(admin: Client, agent: Agent) -> None:
    agent.missing = ["draining", "worker 0 is not ready"]
    reply = await admin.ask("GET", "/readyz")
    assert (reply.status, reply.json) == (503, {"ready": False, "missing": agent.missing})
    assert (await admin.ask("GET", "/healthz")).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/workloads", "/v1/workloads/a/b", "/v2/status", "/%ff", "/.."]
)
async def test_unknown_paths(control: Client, path: str) -> None:
    (await control.ask("GET", path)).refuses(404, "Not Found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "BREW"])
async def test_wrong_methods_say_what_is_right(admin: Client, method: str) -> None:
    reply = await admin.ask(method, "/v1/status")
    reply.refuses(405, "Method Not Allowed")
    assert set(reply.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_a_workload_is_not_to_be_read(control: Client) -> None:
    reply = await control.ask("GET", "/v1/workloads/shop")
    reply.refuses(405, "Method Not Allowed")
    assert reply.headers["allow"]


async def test_the_admin_port_changes_nothing(admin: Client, agent: Agent) -> None:
    for method in ("PUT", "DELETE"):
        (await admin.ask(method, "/v1/workloads/shop")).refuses(404, "Not Found")
    assert (agent.added, agent.removed) == ([], [])


async def test_a_workload_comes_and_goes(control: Client, agent: Agent) -> None:
    body = {"cgroup": "/c", "netns": "/n", "ports": [80, 443], "on_agent_loss": "closed", "pid": 7}
    reply = await control.ask("PUT", "/v1/workloads/shop", json.dumps(body))
    assert (reply.status, reply.json) == (201, {"name": "shop"})
    assert agent.added == [
        Spec(name="shop", cgroup="/c", netns="/n", ports=(80, 443), on_agent_loss="closed", pid=7)
    ]
    reply = await control.ask("DELETE", "/v1/workloads/shop")
    assert (reply.status, reply.json) == (200, {"name": "shop"})
    assert agent.removed == ["shop"]


async def test_a_workload_says_who_it_is(control: Client, agent: Agent) -> None:
    body = {"namespace": "shop", "service_account": "cart"}
    assert (await control.ask("PUT", "/v1/workloads/shop", json.dumps(body))).status == 201
    assert agent.added == [Spec(name="shop", on_agent_loss="", namespace="shop", service_account="cart")]
    for field in body:
        reply = await control.ask("PUT", "/v1/workloads/shop", json.dumps({field: "../cart"}))
        reply.refuses(400, f"$.{field}")


@pytest.mark.parametrize("body", [None, "", "{}"])
async def test_an_empty_body_means_the_defaults(control: Client, agent: Agent, body: str | None) -> None:
    assert (await control.ask("PUT", "/v1/workloads/shop", body)).status == 201
    assert agent.added == [Spec(name="shop", on_agent_loss="")]


BAD_BODIES = {
    "not JSON": ("{", "truncated"),
    "a list": ("[]", "Expected `object`"),
    "null": ("null", "Expected `object`"),
    "not UTF-8": (b'{"cgroup": "\xff"}', "utf-8"),
    "an unknown field": ('{"cgruop": "/x"}', "unknown field `cgruop`"),
    "a name": ('{"name": "other"}', "unknown field `name`"),
    "ports as text": ('{"ports": "80"}', "$.ports"),
    "port 0": ('{"ports": [0]}', "$.ports"),
    "port 65536": ('{"ports": [65536]}', "$.ports"),
    "a negative pid": ('{"pid": -1}', "$.pid"),
    "a huge pid": ('{"pid": 99999999999999999999}', "$.pid"),
    "a path with a zero": ('{"netns": "/x\\u0000"}', "$.netns"),
    "deep": ('{"ports": ' + "[" * 30000, "$.ports"),
    "a lone surrogate": ('{"cgroup": "\\ud800 and more"}', "surrogate"),
}


@pytest.mark.parametrize(("body", "words"), BAD_BODIES.values(), ids=BAD_BODIES)
async def test_bad_bodies(control: Client, agent: Agent, body: str | bytes, words: str) -> None:
    (await control.ask("PUT", "/v1/workloads/shop", body)).refuses(400, words)
    assert agent.added == []


@pytest.mark.parametrize(
    "name", ["..", "Shop", "a_b", "%0d%0aX-Y:%20z", "x%00", "%20", "%c3%bc", "-a", "a" * 64]
)
async def test_names_that_are_none(control: Client, agent: Agent, name: str) -> None:
    """A name becomes a folder's name and stands in a header: it must not be able to do more."""
    reply = await control.ask("PUT", f"/v1/workloads/{name}")
    reply.refuses(400, "is no name for a workload")
    assert reply.headers["x-y"] is None
    assert agent.added == []


async def test_a_body_may_be_this_long_and_no_longer(control: Client, agent: Agent) -> None:
    fits = '{"cgroup": "' + "x" * (BODY_BYTES - 14) + '"}'
    assert len(fits) == BODY_BYTES
    assert (await control.ask("PUT", "/v1/workloads/shop", fits)).status == 201
    (await control.ask("PUT", "/v1/workloads/shop", fits + " ")).refuses(
        413, f"larger than {BODY_BYTES} bytes"
    )
    assert len(agent.added) == 1


async def test_a_body_may_take_this_long_and_no_longer(
    control: Client, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever begins many holds as many descriptors, for ever."""
    monkeypatch.setattr("meshtrio.admin.app.BODY_S", 0.1)
    with trio.fail_after(5):
        async with await trio.open_tcp_stream("127.0.0.1", control.port) as line:
            await line.send_all(b"PUT /v1/workloads/shop HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            said = b"".join([some async for some in line])
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"took longer" in said
    assert agent.added == []


async def test_refusals_are_409_and_404(control: Client, agent: Agent) -> None:
    agent.fails = WorkloadError("workload shop: no room\nat all, für uns")
    (await control.ask("PUT", "/v1/workloads/shop")).refuses(409, "workload shop: no room")
    (await control.ask("DELETE", "/v1/workloads/shop")).refuses(404, "workload shop: no room")
    agent.fails = WorkloadError(" \n")
    assert (await control.ask("PUT", "/v1/workloads/shop")).status == 409
    agent.fails = WorkloadError("x" * 10_000)
    reply = await control.ask("PUT", "/v1/workloads/shop")
    assert len(reply.json["error"]) == 10_000
    assert len(reply.headers["x-meshtrio-error"]) == 500


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/status"), ("PUT", "/v1/workloads/a")])
async def test_a_bug_of_ours_is_said_and_logged(
    control: Client, agent: Agent, caplog: pytest.LogCaptureFixture, method: str, path: str
) -> None:
    agent.fails = ZeroDivisionError("secret")
    reply = await control.ask(method, path)
    reply.refuses(500, "a bug of ours")
    assert b"secret" not in reply.body
    assert [record.exc_info is not None for record in caplog.records] == [True]
    agent.fails = None
    assert (await control.ask(method, path)).status in (200, 201)


async def test_a_client_that_goes_away_amid_its_body_is_no_bug(
    control: Client, agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", control.port)
    await stream.send_all(b"PUT /v1/workloads/shop HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    await trio.sleep(0.05)
    await stream.aclose()
    await trio.sleep(0.05)
    assert (await control.ask("GET", "/healthz")).status == 200
    assert agent.added == []
    assert caplog.records == []
