"""Shell. The question whom workers would pick, as a route: /v1/balance.

It only reads, so both applications have it. Does not know how answers are found.
"""

from collections.abc import Callable
from typing import Annotated, Any, Protocol

import msgspec

from meshtrio.balance_answers import WhichPort, WrongKey
from meshtrio.breaker_answers import NoSuchPart
from meshtrio.catalog.question import NoSuchService, WhichNamespace
from meshtrio.web.message import HTTPException, Request, Response
from meshtrio.web.router import Route

KEY_BYTES = 4096
"""The longest key that can be asked about. Longer: 400."""


class BalanceAnswers(Protocol):
    """What the agent can say of balancing."""

    async def beside(self, page: dict[str, Any]) -> dict[str, Any]:
        """Return a page of endpoints with what breakers and workers say of each put beside it."""

    async def explain(self, namespace: str, name: str, *, port: str = "", key: str = "") -> Any:
        """Return whom each worker would pick.

        NoSuchService, WhichNamespace, NoSuchPart, WhichPort or WrongKey if that is not to be answered.
        """


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    port: Annotated[str, msgspec.Meta(max_length=512)] = ""
    key: Annotated[str, msgspec.Meta(max_length=KEY_BYTES)] = ""


def balance_routes(answers: Callable[[], BalanceAnswers], reply: Callable[[object], Response]) -> list[Route]:
    """Make the routes. What is asked wrong is a 400, what is not there a 404, what is not clear a 409."""

    async def explain(request: Request) -> Response:
        try:
            asked = msgspec.convert(dict(request.query_params), _Asked, strict=False)
        except msgspec.ValidationError as wrong:
            raise HTTPException(400, f"{request.path}: {wrong}") from None
        namespace, name = request.path_params.get("namespace", ""), request.path_params["name"]
        try:
            found = await answers().explain(namespace, name, port=asked.port, key=asked.key)
        except (NoSuchService, NoSuchPart) as unknown:
            raise HTTPException(404, str(unknown)) from unknown
        except (WhichNamespace, WhichPort) as unclear:
            raise HTTPException(409, str(unclear)) from unclear
        except WrongKey as wrong:
            raise HTTPException(400, str(wrong)) from wrong
        return reply(found)

    return [
        Route("/v1/balance/{name}", explain, methods=["GET"]),
        Route("/v1/balance/{namespace}/{name}", explain, methods=["GET"]),
    ]
