"""Shell. The questions about the catalog, as routes: /v1/services, /v1/endpoints, /v1/discovery.

They only read, so both applications have them. Does not know how answers are found or written.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import msgspec

from meshtrio.catalog.question import (
    EndpointsWanted,
    NoSuchService,
    ServicesWanted,
    WhichNamespace,
    WrongCursor,
)
from meshtrio.web.message import HTTPException, Request, Response
from meshtrio.web.router import Route

W = TypeVar("W")


class CatalogAnswers(Protocol):
    """What the agent can say of its catalog."""

    def services(self, wanted: ServicesWanted) -> Any:
        """Return a page of services."""

    def service(self, namespace: str, name: str) -> Any:
        """Return all of one service. NoSuchService if it is not there."""

    def endpoints(self, wanted: EndpointsWanted) -> Any:
        """Return a page of endpoints. NoSuchService, WhichNamespace or WrongCursor if it cannot."""

    def discovery(self) -> Any:
        """Return how sources and their streams are."""


def catalog_routes(
    answers: Callable[[], CatalogAnswers],
    reply: Callable[[object], Response],
    beside: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]],
) -> list[Route]:
    """Make the routes. What is asked wrong is a 400, what is not there a 404, what is not clear a 409.

    `beside` puts beside a page of endpoints what others than the catalog know of them.
    """

    def asking(path: str, answer: Callable[[Request], Awaitable[Any]]) -> Route:
        async def respond(request: Request) -> Response:
            try:
                return reply(await answer(request))
            except NoSuchService as unknown:
                raise HTTPException(404, str(unknown)) from unknown
            except WhichNamespace as ambiguous:
                raise HTTPException(409, str(ambiguous)) from ambiguous
            except WrongCursor as wrong:
                raise HTTPException(400, str(wrong)) from wrong

        return Route(path, respond, methods=["GET"])

    async def services(request: Request) -> Any:
        return answers().services(_asked(request, ServicesWanted))

    async def service(request: Request) -> Any:
        found = answers().service(**request.path_params)
        return {**found, "serving": await beside(found["serving"])}

    async def endpoints(request: Request) -> Any:
        return await beside(answers().endpoints(_asked(request, EndpointsWanted)))

    async def discovery(request: Request) -> Any:
        return answers().discovery()

    return [
        asking("/v1/services", services),
        asking("/v1/services/{namespace}/{name}", service),
        asking("/v1/endpoints", endpoints),
        asking("/v1/discovery", discovery),
    ]


def _asked(request: Request, kind: type[W]) -> W:
    """Read the question behind the path. A word that is no part of it is refused: it may be misspelt."""
    try:
        return msgspec.convert(dict(request.query_params), kind, strict=False)
    except msgspec.ValidationError as wrong:
        raise HTTPException(400, f"{request.path}: {wrong}") from None
