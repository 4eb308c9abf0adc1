"""Shell. Which function answers a request, by its path and method; and what is answered if none does, or if
it fails. Does not know sockets.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from meshtrio.observe import log
from meshtrio.web.message import HTTPException, Request, Response, answer_error

Handler = Callable[[Request], Awaitable[Response]]
"""Answers a request; raises HTTPException for an error that the caller shall know of."""
App = Callable[[Request], Awaitable[Response]]
"""Answers every request and raises nothing, whatever it is asked."""


class Route(NamedTuple):
    """Who answers at a path, in which `{name}` stands for anything but a slash, by these methods."""

    path: str
    handler: Handler
    methods: Sequence[str]


class Router:
    """An App made of routes. GET answers HEAD too: whoever sends the answer leaves out its body."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Of several routes to a path and method the first is taken."""
        self._routes = [(_pattern(one.path), one) for one in routes]

    async def __call__(self, request: Request) -> Response:
        """Answer. A bug of ours is logged, and told without its words."""
        try:
            handler, params = self._found(request)
            return await handler(replace(request, path_params=params))
        except HTTPException as error:
            return answer_error(error)
        except Exception as bug:  # noqa: BLE001  the border: what fails here is one request
            log.bug("an answer failed by a bug of ours", bug)
            sentence = "this is a bug of ours; the log of the agent has its trace"
            return answer_error(HTTPException(500, sentence))

    def _found(self, request: Request) -> tuple[Handler, dict[str, str]]:
        path, allowed = request.path, list[str]()
        for pattern, route in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            methods = (*route.methods, "HEAD") if "GET" in route.methods else route.methods
            if request.method in methods:
                return route.handler, match.groupdict()
            allowed += methods
        if allowed:
            raise HTTPException(405, headers={"Allow": ", ".join(dict.fromkeys(allowed))})
        raise HTTPException(404)


def _pattern(path: str) -> re.Pattern[str]:
    fixed_and_names = re.split(r"\{(\w+)\}", path)
    pieces = [f"(?P<{one}>[^/]+)" if at % 2 else re.escape(one) for at, one in enumerate(fixed_and_names)]
    return re.compile("".join(pieces))
