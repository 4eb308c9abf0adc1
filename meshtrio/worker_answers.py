"""Shell. What a worker answers when the agent asks it something. Changes nothing."""

import time

from msgspec.structs import replace

from meshtrio.balance.explained import explain
from meshtrio.balance.load import load_of, loads_of
from meshtrio.balance.told import ExplainedEndpoint
from meshtrio.messages import Live
from meshtrio.observe import log
from meshtrio.questions import AskLoads, AskPick, Loads, Picked, Report
from meshtrio.worker_site import Site

EXPLAINED = 500
"""How many endpoints one explanation lists: those that would be tried first, then those nearest to it."""
_GROUPS = ("first", "far", "rest", "never")


def answer(site: Site, question: Report | AskLoads | AskPick) -> Live | Loads | Picked:
    """Answer as things are now. An explanation takes time by the endpoints of its port."""
    match question:
        case Report():
            return site.ledger.live(question.number, log.wall_now())
        case AskLoads():
            known = [port for name in question.ports if (port := site.ports.known(name)) is not None]
            return Loads(question.number, loads_of(known, time.monotonic()))
        case AskPick():
            return _picked(site, question)


def _picked(site: Site, question: AskPick) -> Picked:
    service, now = question.service, time.monotonic()
    endpoints = service.port_named(question.port).endpoints
    dialled = site.ports.known(f"{service.key}:{question.port}") is not None
    port = site.ports.of(service, question.port) if dialled else site.ports.fresh(service, question.port)
    told = explain(port.balancer, endpoints, now, question.key)
    listed = sorted(told.endpoints, key=_order)
    return Picked(
        question.number,
        replace(told, endpoints=tuple(listed[:EXPLAINED])),
        load_of(port, now, 0) if dialled else None,
        len(listed[EXPLAINED:]),
    )


def _order(one: ExplainedEndpoint) -> tuple[bool, int, int, str]:
    return not one.position, one.position, _GROUPS.index(one.group), one.address
