"""Shell. What an operator asks of the kernel through the agent: that it end direct connections, and what the
rules of a workload have counted. On the control socket alone.
"""

from collections.abc import Awaitable, Callable, Sequence

from meshtrio.intercept.nft_request import ErrandRefused
from meshtrio.intercept.workload import WorkloadError
from meshtrio.web.message import HTTPException, Request, Response, answer_json
from meshtrio.web.router import Route

Close = Callable[[str], int]
"""Ends direct connections to a service ("namespace/name") or ip:port, and says how many."""
Rules = Callable[[str], Awaitable[object]]
"""Tells the rules of a workload. WorkloadError if there is no such workload."""


def kernel_routes(close: Close, rules: Rules) -> Sequence[Route]:
    """Make the routes."""

    async def end(request: Request) -> Response:
        wanted = request.query_params.get("to", "")
        try:
            return answer_json({"closed": close(wanted)})
        except ValueError as wrong:
            raise HTTPException(400, f"want a service (namespace/name) or ip:port: {wrong}") from wrong
        except OSError as cannot:
            why = "this kernel does not end connections of others (CONFIG_INET_DIAG_DESTROY)"
            raise HTTPException(501, f"{why}: {cannot.strerror}") from cannot

    async def counted(request: Request) -> Response:
        try:
            return answer_json(await rules(request.path_params["name"]))
        except WorkloadError as unknown:
            raise HTTPException(404, str(unknown)) from unknown
        except ErrandRefused as refused:
            raise HTTPException(409, str(refused)) from refused

    return (
        Route("/v1/connections", end, methods=["DELETE"]),
        Route("/v1/workloads/{name}/rules", counted, methods=["GET"]),
    )
