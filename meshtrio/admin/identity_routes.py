"""Shell. The questions about certificates, as routes: /v1/certs, /v1/certs/bundle, and their rotation.

Reading is for both applications, rotating for the control socket alone. Does not know how answers are found.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol

import msgspec

from meshtrio.config.kinds import Label
from meshtrio.identities import UnknownWorkload
from meshtrio.issuers.issuer import IssueError
from meshtrio.web.message import HTTPException, Request, Response
from meshtrio.web.router import Route


class IdentityAnswers(Protocol):
    """What the agent can say of its identities, and do."""

    async def certificates(self) -> Any:
        """Return a row for each workload that has an identity."""

    def bundle(self) -> bytes:
        """Return the roots of our own trust domain, as SPIFFE's JSON."""

    async def rotate(self, names: Sequence[str], *, root: bool) -> Any:
        """Replace certificates at once. UnknownWorkload or IssueError if that cannot be."""


class _Wish(msgspec.Struct, forbid_unknown_fields=True):
    workloads: Annotated[tuple[Label, ...], msgspec.Meta(max_length=10_000)] = ()
    root: bool = False


def identity_routes(
    answers: Callable[[], IdentityAnswers], reply: Callable[[object], Response]
) -> list[Route]:
    """Make the routes that only read."""

    async def certificates(request: Request) -> Response:
        return reply({"certificates": await answers().certificates()})

    async def bundle(request: Request) -> Response:
        return Response(answers().bundle(), media_type="application/json")

    return [
        Route("/v1/certs", certificates, methods=["GET"]),
        Route("/v1/certs/bundle", bundle, methods=["GET"]),
    ]


def rotation_route(
    answers: Callable[[], IdentityAnswers],
    reply: Callable[[object], Response],
    body_of: Callable[[Request], Any],
) -> Route:
    """Make the route that rotates. A wrong body is a 400, an unknown workload a 404, what cannot be a 409."""

    async def rotate(request: Request) -> Response:
        try:
            wish = msgspec.json.decode(await body_of(request) or b"{}", type=_Wish)
        except (msgspec.MsgspecError, UnicodeDecodeError) as wrong:
            raise HTTPException(400, f"rotation: {wrong}") from wrong
        if wish.root and wish.workloads:
            raise HTTPException(400, "rotation: a new root is for all workloads, so name none")
        try:
            return reply(await answers().rotate(wish.workloads, root=wish.root))
        except UnknownWorkload as unknown:
            raise HTTPException(404, str(unknown)) from unknown
        except IssueError as refused:
            raise HTTPException(409, str(refused)) from refused

    return Route("/v1/certs/rotate", rotate, methods=["POST"])
