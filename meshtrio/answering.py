"""Shell. The agent's two ports: which routes each has, and who answers. Does not know how they are served."""

from functools import partial

import trio

from meshtrio.admin.app import Answers, admin_app, control_app
from meshtrio.admin.kernel_routes import kernel_routes
from meshtrio.admin.registration import file_token, registration_routes
from meshtrio.admin.server import Sockets, serve
from meshtrio.control import Parts
from meshtrio.workload_answers import rules


async def answer(nursery: trio.Nursery, answers: Answers, parts: Parts, sockets: Sockets) -> None:
    """Let both ports answer from now on, in this nursery.

    Whoever has the token of discovery.registration may register endpoints by the admin port; without one
    nobody may. The control socket is the operator's and asks for none.
    """
    registrar, token_file = (
        parts.sources.registering.registrar,
        parts.config.discovery.registration.token_file,
    )
    with_token = registration_routes(registrar, file_token(token_file)) if token_file else ()
    await nursery.start(serve, admin_app(answers, with_token), sockets.admin)
    asking_the_kernel = kernel_routes(parts.direct.close, partial(rules, parts.registry))
    routes = [*registration_routes(registrar, None), *asking_the_kernel]
    await nursery.start(serve, control_app(answers, routes), sockets.control)
