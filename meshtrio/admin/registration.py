"""Shell. The routes by which endpoints register themselves. Does not know how they are held or kept.

PUT registers, and is the heartbeat if it says the same again. At the control socket whoever can open it may
do so; at the admin port only who brings the token.
"""

import hmac
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from meshtrio.admin.app import read_body
from meshtrio.catalog.registered import Answer, Full, NotOpen
from meshtrio.catalog.registrant import (
    Name,
    RegistrationFault,
    Where,
    described,
    name_of,
    read_registrant,
)
from meshtrio.config.environ import read_text
from meshtrio.config.fault import Faults
from meshtrio.observe import log
from meshtrio.web.message import HTTPException, Request, Response, answer_json
from meshtrio.web.router import Route

if TYPE_CHECKING:
    # It brings SQLite with it, which an agent to whom nobody registers does not carry.
    from meshtrio.discover.registered import Registrar

Find = Callable[[], Awaitable["Registrar"]]
"""Gives the registrar when it is open. NotOpen if it will not be."""

TOKEN_BYTES = 4096
"""The longest token."""

Token = Callable[[], str]
"""Gives the token that must be brought, as it is now; empty: nobody may do anything."""

_PATH = "/v1/services/{name}/endpoints/{id}"


def registration_routes(registrar: Find, token: Token | None) -> list[Route]:
    """Make the routes. Without a token (None) everybody who can connect may use them."""

    async def put(request: Request) -> Response:
        body = await read_body(request)
        one = read_registrant(_where(request), body)
        answer = await (await registrar()).put(one)
        return answer_json(_shown(answer), 201 if answer.created else 200)

    async def heartbeat(request: Request) -> Response:
        name = name_of(_where(request))
        return answer_json(_shown(_there(await (await registrar()).renew(name), name)))

    async def delete(request: Request) -> Response:
        name = name_of(_where(request))
        if not await (await registrar()).delete(name):
            raise _unknown(name)
        return answer_json({"deleted": f"{name.key} {name.id}"})

    async def get(request: Request) -> Response:
        name = name_of(_where(request))
        return answer_json(_shown(_there((await registrar()).find(name), name)))

    def route(path: str, method: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
        async def respond(request: Request) -> Response:
            if token is not None:
                _let_in(request, token())
            try:
                return await answer(request)
            except RegistrationFault as fault:
                raise HTTPException(400, f"registration: {fault}") from fault
            except Full as full:
                raise HTTPException(429, str(full), {"Retry-After": "10"}) from full
            except NotOpen as closed:
                raise HTTPException(503, str(closed), {"Retry-After": "1"}) from closed

        return Route(path, respond, methods=[method])

    return [
        route(_PATH, "PUT", put),
        route(_PATH, "DELETE", delete),
        route(_PATH, "GET", get),
        route(f"{_PATH}/heartbeat", "POST", heartbeat),
    ]


def file_token(path: str) -> Token:
    """Give the token in a file, read anew each time. A file that cannot be read lets nobody in."""

    def token() -> str:
        try:
            return read_text(path, TOKEN_BYTES).strip()
        except Faults as unreadable:
            log.rarely("nobody can register at the admin port", why=str(unreadable))
            return ""

    return token


def _let_in(request: Request, token: str) -> None:
    scheme, _, brought = request.headers.get("authorization", "").partition(" ")
    # Headers are read as Latin-1; so this is the very bytes that came.
    same = hmac.compare_digest(brought.strip().encode("latin-1"), token.encode())
    if not (same and token and scheme.lower() == "bearer"):
        raise HTTPException(
            401,
            "registering here needs the token: Authorization: Bearer <token>",
            {"WWW-Authenticate": 'Bearer realm="meshtrio"'},
        )


def _where(request: Request) -> Where:
    for word in request.query_params:
        if word != "namespace":
            raise RegistrationFault(f"{word} is not known in the query (want namespace)")
    return Where(
        request.path_params["name"], request.path_params["id"], request.query_params.get("namespace", "")
    )


def _there(answer: Answer | None, name: Name) -> Answer:
    if answer is None:
        raise _unknown(name)
    return answer


def _unknown(name: Name) -> HTTPException:
    return HTTPException(404, f"no endpoint {name.id} of {name.key} is registered; register it first (PUT)")


def _shown(answer: Answer) -> dict[str, object]:
    one = answer.registrant
    ends = not math.isinf(answer.remaining_s)
    return {
        "service": one.name.key.partition("/")[2],
        "id": one.name.id,
        **described(one),
        "remaining_s": round(answer.remaining_s, 1) if ends else None,
        "durable": answer.durable,
    }
