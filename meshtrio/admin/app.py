"""Shell. What the admin port and the control socket answer, by routes.

The admin port only reads. The control socket is the operator's (0600) and also changes things. Every
error is JSON with one sentence and an `x-meshtrio-error` header. Does not know how answers are found.
"""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Protocol

import msgspec
import trio

from meshtrio.admin.balance_routes import BalanceAnswers, balance_routes
from meshtrio.admin.breaker_routes import BreakerAnswers, breaker_routes, forcing_route
from meshtrio.admin.catalog_routes import CatalogAnswers, catalog_routes
from meshtrio.admin.identity_routes import IdentityAnswers, identity_routes, rotation_route
from meshtrio.config.kinds import Acceleration, Label, Port
from meshtrio.intercept.workload import Spec, WorkloadError
from meshtrio.web.message import Disconnected, HTTPException, Request, Response, answer_json
from meshtrio.web.router import Route, Router

BODY_BYTES = 64 * 1024
"""The longest request body. Longer: 413."""
BODY_S = 10.0
"""How long a request body may take to come. Longer: 408."""


class Answers(Protocol):
    """What the agent can say and do."""

    @property
    def catalog(self) -> CatalogAnswers:
        """What answers about the catalog."""

    @property
    def identity(self) -> IdentityAnswers:
        """What answers about certificates."""

    @property
    def breakers(self) -> BreakerAnswers:
        """What answers about breakers."""

    @property
    def balance(self) -> BalanceAnswers:
        """What answers about balancing."""

    def readiness(self) -> list[str]:
        """Say what is still missing for being ready; empty when nothing is."""

    async def metrics(self) -> bytes:
        """Return all metrics in Prometheus's text format."""

    def status(self) -> Any:
        """Return everything that `meshtrio status` shows."""

    def configuration(self) -> Any:
        """Return the configuration that holds."""

    async def connections(self) -> Any:
        """Return live and recent connections."""

    async def add_workload(self, spec: Spec) -> Any:
        """Catch a workload."""

    async def remove_workload(self, name: str) -> Any:
        """Catch a workload no more."""


def admin_app(answers: Answers, more: Sequence[Route] = ()) -> Router:
    """Make the application of the admin port, with these routes besides."""
    return Router([*_reading(answers), *more])


def control_app(answers: Answers, more: Sequence[Route] = ()) -> Router:
    """Make the application of the control socket, with these routes besides."""

    async def add(request: Request) -> Response:
        name = request.path_params["name"]
        body = await read_body(request)
        try:
            msgspec.convert(name, Label)
        except msgspec.ValidationError:
            raise HTTPException(
                400, f"{name!r} is no name for a workload (want a DNS label, as in shop-2)"
            ) from None
        try:
            spec = msgspec.json.decode(body or b"{}", type=_Body).named(name)
        except (msgspec.MsgspecError, UnicodeDecodeError) as wrong:
            raise HTTPException(400, f"workload {name}: {wrong}") from wrong
        try:
            added = await answers.add_workload(spec)
        except WorkloadError as refused:
            raise HTTPException(409, str(refused)) from refused
        return answer_json(added, 201)

    async def remove(request: Request) -> Response:
        try:
            return answer_json(await answers.remove_workload(request.path_params["name"]))
        except WorkloadError as unknown:
            raise HTTPException(404, str(unknown)) from unknown

    changing = [
        Route("/v1/workloads/{name}", add, methods=["PUT"]),
        Route("/v1/workloads/{name}", remove, methods=["DELETE"]),
        rotation_route(lambda: answers.identity, answer_json, read_body),
        forcing_route(lambda: answers.breakers, answer_json, read_body),
    ]
    return Router([*_reading(answers), *changing, *more])


_Text = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*\Z")]


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    cgroup: _Text = ""
    netns: _Text = ""
    ports: tuple[Port, ...] = ()
    on_agent_loss: str = ""
    acceleration: Acceleration = "auto"
    pid: Annotated[int, msgspec.Meta(ge=0, lt=1 << 22)] = 0
    namespace: Label = "default"
    service_account: Label = "default"

    def named(self, name: str) -> Spec:
        return Spec(
            name=name,
            cgroup=self.cgroup,
            netns=self.netns,
            ports=self.ports,
            on_agent_loss=self.on_agent_loss,
            acceleration=self.acceleration,
            pid=self.pid,
            namespace=self.namespace,
            service_account=self.service_account,
        )


def _reading(answers: Answers) -> list[Route]:
    def reading(path: str, answer: Callable[[], Any]) -> Route:
        async def respond(request: Request) -> Response:
            found = answer()
            return answer_json(await found if isinstance(found, Awaitable) else found)

        return Route(path, respond, methods=["GET"])

    async def healthz(request: Request) -> Response:
        return Response(b"ok\n")

    async def readyz(request: Request) -> Response:
        missing = answers.readiness()
        return answer_json({"ready": not missing, "missing": missing}, 503 if missing else 200)

    async def metrics(request: Request) -> Response:
        return Response(await answers.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        reading("/v1/status", answers.status),
        reading("/v1/connections", answers.connections),
        reading("/v1/config", answers.configuration),
        *catalog_routes(lambda: answers.catalog, answer_json, lambda page: answers.balance.beside(page)),
        *identity_routes(lambda: answers.identity, answer_json),
        *breaker_routes(lambda: answers.breakers, answer_json),
        *balance_routes(lambda: answers.balance, answer_json),
    ]


async def read_body(request: Request) -> bytes:
    """Read a whole body; HTTPException if it is too long or too slow, or ends early."""
    body = b""
    try:
        with trio.fail_after(BODY_S):
            async with contextlib.aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > BODY_BYTES:
                        raise HTTPException(413, f"the body is larger than {BODY_BYTES} bytes")
    except Disconnected:
        raise HTTPException(400, "the body ended early") from None
    except trio.TooSlowError:
        raise HTTPException(408, f"the body took longer than {BODY_S:.0f} s") from None
    return body
