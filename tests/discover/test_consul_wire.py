"""python-consul2's methods over our wire: what they send, and what becomes of answers it cannot read."""

from typing import Any

import pytest

from meshtrio.config.discovery import Consul
from meshtrio.discover.consul_wire import Api, Failed, Response, Why, Wire

SETTINGS = Consul(address="http://127.0.0.1:8500")


class Exchange:
    """Sends nothing, and answers what the test says."""

    def __init__(self, body: bytes = b"[]", headers: Any = None) -> None:
        self.answer = Response(200, {"X-Consul-Index": "7"} if headers is None else headers, body, body)
        self.sent: list[tuple[str, str, Any, str]] = []

    async def __call__(self, method: str, uri: str, headers: Any, data: str) -> Any:
        self.sent.append((method, uri, headers, data))
        return self.answer


def api(exchange: Exchange, settings: Consul = SETTINGS) -> Api:
    return Api(Wire(exchange, settings), settings)


async def test_its_methods_are_awaitables_of_what_they_return() -> None:
    exchange = Exchange(b'[{"Node": 1}]')
    assert await api(exchange).health.service("web", index=3, wait="5s") == ("7", [{"Node": 1}])
    [(method, uri, headers, data)] = exchange.sent
    assert (method, headers, data) == ("GET", {}, "")
    assert uri == "http://127.0.0.1:8500/v1/health/service/web?index=3&wait=5s&stale=1"


async def test_a_token_goes_into_a_header_and_nowhere_else() -> None:
    exchange = Exchange()
    asked = api(exchange)
    asked.token = "secret"
    await asked.catalog.services()
    assert exchange.sent[0][2] == {"X-Consul-Token": "secret"}
    assert "secret" not in exchange.sent[0][1]


async def test_what_is_put_is_sent() -> None:
    exchange = Exchange(b"")
    assert await api(exchange).agent.service.deregister("web/1 2") is True
    assert exchange.sent[0][:2] == ("PUT", "http://127.0.0.1:8500/v1/agent/service/deregister/web/1%202")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
async def test_what_it_cannot_read_is_garbled(body: bytes) -> None:
    with pytest.raises(Failed) as failed:
        await api(Exchange(body)).health.service("web")
    assert failed.value.why is Why.GARBLED
    assert len(str(failed.value)) < 200


async def test_an_answer_without_an_index_is_garbled() -> None:
    with pytest.raises(Failed, match="the answer is none"):
        await api(Exchange(headers={})).health.service("web")


async def test_the_environment_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "nonsense")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "other")
    exchange = Exchange()
    await api(exchange).catalog.services()
    assert exchange.sent[0][1].startswith("http://127.0.0.1:8500/")
    assert exchange.sent[0][2] == {}
