"""Shell. The way of one connection, top to bottom: arrival, route, endpoint, dial, carry, one outcome.

Knows the stages and their order; each stage knows its own business. Does not start tasks.
"""

import socket
import time
from typing import NamedTuple

import trio

from meshtrio.address import Address
from meshtrio.balance.roundrobin import Turns
from meshtrio.catalog.service import Endpoint, Found
from meshtrio.config.schema import Config
from meshtrio.detect.detected import Detected
from meshtrio.detect.detector import Detector
from meshtrio.forward.dial import DialError, dial
from meshtrio.forward.relay import Relay
from meshtrio.forward.tcp import close_with_reset
from meshtrio.intercept.arrival import Door
from meshtrio.interest import Interest, Unanswered
from meshtrio.observe import log
from meshtrio.observe.ledger import Entry, Ledger
from meshtrio.outcome import Outcome
from meshtrio.route.decision import Kind, Route
from meshtrio.route.doors import Doors
from meshtrio.route.table import RouteTable


class Refused(Exception):
    """The connection ends before a byte was carried."""

    def __init__(self, outcome: Outcome, detail: str = "") -> None:
        """Say how, and for whoever debugs, why."""
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


class Site:
    """What all connections of one worker share. Replaced piece by piece when the agent sends news."""

    def __init__(self, interest: Interest, relay: Relay, *, start: int) -> None:
        """Begin with the default configuration and no door; `start` is where round robins begin."""
        self.config = Config()
        self.interest = interest
        self.relay = relay
        self.ledger = Ledger()
        self.turns = Turns(start)
        self.routes = RouteTable()
        self.names: dict[int, str] = {}
        """Workload ids to names, as the kernel and the agent give them."""
        self.doors: dict[int, Door] = {}
        self.pending = 0

    def rebuild_routes(self) -> None:
        """Forget decisions, because the policy or the doors have changed."""
        addresses = (address for door in self.doors.values() for address in door.addresses)
        self.routes = RouteTable(policy=self.config.passthrough, doors=Doors(addresses))


class Arrival(NamedTuple):
    """A connection that has just come in."""

    door: Door
    client: socket.socket
    source: Address
    entry: Entry


async def carry(site: Site, door: Door, client: socket.socket, peer: tuple[str, int]) -> None:
    """Take one accepted connection to its end; count and log that end once.

    `client` is closed when this returns, however it returns: by RST unless both sides ended cleanly. Raises
    only what is a bug of ours, and Cancelled; the entry is closed in the ledger in every case.
    """
    entry = site.ledger.open(door.opened.direction, door.opened.rung, time.time())
    outcome, detail = Outcome.OUR_BUG, ""
    try:
        source = Address.of(peer[0], peer[1])
        entry.source = str(source)
        outcome = await _carry(site, Arrival(door, client, source, entry))
    except Refused as refused:
        outcome, detail = refused.outcome, refused.detail
    except trio.Cancelled:
        outcome = Outcome.DRAINED
        raise
    finally:
        if client.fileno() >= 0:
            close_with_reset(client)
        log.ended(site.ledger.close(entry, outcome, time.time(), detail))


async def _carry(site: Site, arrival: Arrival) -> Outcome:
    _, client, _, entry = arrival
    if len(site.ledger) > site.config.limits.connections or site.pending >= site.config.limits.pending:
        raise Refused(
            Outcome.LIMIT, "the worker has as many connections as limits.connections or .pending allow"
        )
    site.pending += 1
    try:
        upstream = await _reach(site, arrival)
    finally:
        site.pending -= 1
    detector = Detector()

    def watch(chunk: bytes) -> bool:
        detected = detector.feed(chunk)
        if detected is not None:
            _note(entry, detected)
        return detected is not None

    flow = site.relay.join(client, upstream, idle_s=site.config.timeouts.idle_s, watch=watch)
    entry.bytes_now = lambda: (flow.sent_bytes, flow.received_bytes)
    ending = await site.relay.ended(flow)
    if not entry.protocol:
        _note(entry, detector.eof())
    return ending.outcome


def _note(entry: Entry, detected: Detected) -> None:
    entry.protocol = detected.protocol.value
    entry.sni = detected.sni or ""


async def _reach(site: Site, arrival: Arrival) -> socket.socket:
    """Find out where the connection wants to go, and connect there."""
    door, client, source, entry = arrival
    origin = door.origin(client, source)
    if origin is None:
        raise Refused(Outcome.NO_DESTINATION, "someone dialled the door itself, or the source is not known")
    entry.destination = str(origin.destination)
    workload = site.names.get(origin.workload, door.opened.workload.name)
    if site.ledger.belongs(entry, workload) > site.config.limits.per_workload:
        raise Refused(Outcome.LIMIT, "the workload has as many connections as limits.per_workload allows")
    if door.opened.direction == "inbound":
        return await _dial_app(site, door, origin.destination, source)
    try:
        found: Found | None = await site.interest.find(origin.destination)
    except Unanswered:
        found = None
    route = site.routes.route(origin.destination, found)
    entry.service = route.service
    if route.refusal is not None:
        raise Refused(route.refusal)
    return await _dial_endpoint(site, door, route, entry)


async def _dial_endpoint(site: Site, door: Door, route: Route, entry: Entry) -> socket.socket:
    """Connect to the endpoint whose turn it is, and to the next ones while that fails."""
    timeouts = site.config.timeouts
    turn = site.turns.of(f"{route.service}:{route.port}") if route.kind is Kind.SERVICE else None
    tried: list[str] = []
    failure = ""
    silent = True
    """Nobody has said no so far."""
    with trio.move_on_after(timeouts.connect_s) as deadline:
        while True:
            endpoint = turn.pick(route.candidates, tried) if turn else _only(route, tried)
            if endpoint is None:
                break
            tried.append(endpoint.id)
            entry.endpoint = str(endpoint.address)
            with trio.move_on_after(timeouts.connect_try_s):
                try:
                    sock = door.outbound_socket(endpoint.address)
                    await dial(sock, endpoint.address)
                except DialError as cause:
                    failure = str(cause)
                    silent = silent and cause.timed_out
                    continue
                except OSError as cause:
                    failure = f"no socket for {endpoint.address}: {cause.strerror}"
                    silent = False
                    continue
                return sock
            failure = f"{endpoint.address} did not answer within {timeouts.connect_try_s} s"
    if deadline.cancelled_caught:
        failure = f"no endpoint answered within {timeouts.connect_s} s; last: {entry.endpoint}"
    raise Refused(Outcome.CONNECT_TIMEOUT if silent and tried else Outcome.CONNECT_FAILED, failure)


def _only(route: Route, tried: list[str]) -> Endpoint | None:
    return next((endpoint for endpoint in route.candidates if endpoint.id not in tried), None)


async def _dial_app(site: Site, door: Door, to: Address, caller: Address) -> socket.socket:
    """Connect to the called process itself."""
    timeouts = site.config.timeouts
    with trio.move_on_after(timeouts.connect_s):
        try:
            with door.app_socket(to, caller) as sock:
                await dial(sock, to)
                return sock
        except DialError as cause:
            outcome = Outcome.CONNECT_TIMEOUT if cause.timed_out else Outcome.CONNECT_FAILED
            raise Refused(outcome, str(cause)) from cause
        except OSError as cause:
            raise Refused(Outcome.CONNECT_FAILED, f"cannot dial {to}: {cause.strerror}") from cause
    raise Refused(Outcome.CONNECT_TIMEOUT, f"{to} did not answer within {timeouts.connect_s} s")
