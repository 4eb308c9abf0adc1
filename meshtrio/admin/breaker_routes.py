"""Shell. Breakers as routes: /v1/breakers, to read at both ports, and to force at the control socket.

Does not know how answers are found.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol

import msgspec

from meshtrio.balance.board import BoardFull
from meshtrio.breaker_answers import NoSuchPart
from meshtrio.catalog.question import NoSuchService, WhichNamespace
from meshtrio.web.message import HTTPException, Request, Response
from meshtrio.web.router import Route

_Name = Annotated[str, msgspec.Meta(max_length=512)]


class BreakerAnswers(Protocol):
    """What the agent can say of breakers, and do."""

    def listed(self, service: str = "") -> Any:
        """Return those of a service, or (empty) all. NoSuchService or WhichNamespace if it is not one."""

    def force(
        self, service: str, word: Literal["open", "close", "auto"], *, endpoint: str = "", port: str = ""
    ) -> Any:
        """Force them. Besides the above, NoSuchPart or BoardFull if that cannot be."""


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    service: _Name = ""


class _Wish(msgspec.Struct, forbid_unknown_fields=True):
    service: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    state: Literal["open", "close", "auto"]
    endpoint: _Name = ""
    port: _Name = ""


def breaker_routes(answers: Callable[[], BreakerAnswers], reply: Callable[[object], Response]) -> list[Route]:
    """Make the route that only reads."""

    async def listed(request: Request) -> Response:
        try:
            asked = msgspec.convert(dict(request.query_params), _Asked, strict=False)
        except msgspec.ValidationError as wrong:
            raise HTTPException(400, f"{request.path}: {wrong}") from None
        return reply(_answered(lambda: answers().listed(asked.service)))

    return [Route("/v1/breakers", listed, methods=["GET"])]


def forcing_route(
    answers: Callable[[], BreakerAnswers],
    reply: Callable[[object], Response],
    body_of: Callable[[Request], Any],
) -> Route:
    """Make the route that forces. A wrong body is a 400, what is not there a 404, what cannot be a 409."""

    async def force(request: Request) -> Response:
        try:
            wish = msgspec.json.decode(await body_of(request) or b"{}", type=_Wish)
        except (msgspec.MsgspecError, UnicodeDecodeError) as wrong:
            raise HTTPException(400, f"breaker: {wrong}") from wrong
        found = _answered(
            lambda: answers().force(wish.service, wish.state, endpoint=wish.endpoint, port=wish.port)
        )
        return reply(found)

    return Route("/v1/breakers", force, methods=["POST"])


def _answered(answer: Callable[[], object]) -> object:
    try:
        return answer()
    except (NoSuchService, NoSuchPart) as unknown:
        raise HTTPException(404, str(unknown)) from unknown
    except (WhichNamespace, BoardFull) as refused:
        raise HTTPException(409, str(refused)) from refused
