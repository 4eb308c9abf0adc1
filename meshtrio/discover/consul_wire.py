"""Shell. python-consul2 with a wire of ours: its methods ask through an exchange that does not block.

python-consul2 knows how Consul's API is spoken, and leaves the bytes to an HTTPClient. With this one each of
its methods gives an awaitable of what it is said to return, and raises Failed where there is no answer. Does
not know HTTP.
"""

import enum
from collections.abc import Awaitable, Callable
from typing import Any

import consul.base

from meshtrio.config.discovery import Consul

Response = consul.base.Response
"""What an exchange gives: status, headers, body as text or bytes, and once more as bytes."""
Exchange = Callable[[str, str, Any, str], Awaitable[Any]]
"""Sends method, URL, headers and body. Gives a Response with status 200, or raises Failed."""


class Why(enum.Enum):
    """The kinds of failure, which are waited out in different ways."""

    NETWORK = enum.auto()
    SERVER = enum.auto()
    """Consul answers that it cannot: 5xx, no leader, too many questions."""
    REFUSED = enum.auto()
    EMPTY = enum.auto()
    """There is an answer, but with nothing in it where there is always something."""
    MISSING = enum.auto()
    GARBLED = enum.auto()
    """The answer is none: no index, no JSON."""
    TOO_LARGE = enum.auto()


REFUSALS = frozenset((Why.REFUSED, Why.EMPTY))
"""What failures of rights look like. Some versions of Consul show nothing to those who may see nothing."""


class Failed(Exception):
    """A question without an answer. The text is for people, and has no secret in it."""

    def __init__(self, why: Why, says: str) -> None:
        self.why = why
        super().__init__(says)


class Wire(consul.base.HTTPClient):  # type: ignore[misc]
    """What python-consul2 sends through; its methods so give awaitables of what they are said to return."""

    def __init__(self, exchange: Exchange, settings: Consul) -> None:
        self.base_uri = settings.address
        self._exchange = exchange
        self._stale = settings.stale_reads

    def get(self, callback: Any, path: str, params: Any = None, headers: Any = None) -> Any:
        # python-consul2 says nothing of consistency where it asks for health.
        if self._stale and path.startswith(("/v1/catalog/", "/v1/health/")):
            params = [*(params or []), ("stale", "1")]
        return self._called_back(callback, self._exchange("GET", self.uri(path, params), headers, ""))

    def put(self, callback: Any, path: str, params: Any = None, data: str = "", headers: Any = None) -> Any:  # noqa: PLR0917
        return self._called_back(callback, self._exchange("PUT", self.uri(path, params), headers, data))

    def post(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing that we ask for is a POST")

    delete = post

    async def _called_back(self, callback: Any, exchange: Awaitable[Any]) -> Any:
        answer = await exchange
        try:
            return callback(answer)
        except (ValueError, KeyError, RecursionError) as wrong:
            raise Failed(
                Why.GARBLED, f"the answer is none: {type(wrong).__name__} {str(wrong)[:80]}"
            ) from None


class Api(consul.base.Consul):  # type: ignore[misc]
    """The parts of python-consul2's API that are used here. `token` may be set at any time."""

    token: str | None

    def __init__(self, wire: Wire, settings: Consul) -> None:
        # Not by the constructor that we override: it takes CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN and others
        # from the environment before what it is told, and fails if it does not like them.
        self.http, self.dc, self.token = wire, settings.datacenter or None, None
        self.consistency = "default"
        self.agent, self.catalog = self.Agent(self), self.Catalog(self)
        self.health, self.status = self.Health(self), self.Status(self)
