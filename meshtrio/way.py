"""Shell. The way of one connection, top to bottom: arrival, route, endpoint, dial, carry, one outcome.

Knows the stages and their order; each stage knows its own business. Does not start tasks.
"""

import socket
import time
from collections.abc import Awaitable
from typing import NamedTuple

import trio

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Found
from meshtrio.detect.detected import Detected
from meshtrio.detect.detector import Detector
from meshtrio.forward.dial import DialError, dial
from meshtrio.forward.sealed import Sealed
from meshtrio.forward.tcp import close_with_reset
from meshtrio.intercept.arrival import Door
from meshtrio.interest import Unanswered
from meshtrio.messages import Direction, WorkloadName
from meshtrio.observe import log
from meshtrio.observe.ledger import Entry
from meshtrio.outcome import Outcome
from meshtrio.route.decision import Kind, Route
from meshtrio.secure.border import BY_KERNEL, Passage, Unsafe
from meshtrio.worker_site import Site


class Refused(Exception):
    """The connection ends before a byte was carried."""

    def __init__(self, outcome: Outcome, detail: str = "") -> None:
        """Say how, and for whoever debugs, why."""
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


class Arrival(NamedTuple):
    """A connection that has just come in."""

    door: Door
    client: socket.socket
    source: Address
    entry: Entry


class Ends(NamedTuple):
    """The two ends between which bytes will go."""

    client: socket.socket | Sealed
    upstream: socket.socket | Sealed


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
    except Unsafe as unsafe:
        outcome, detail = unsafe.outcome, str(unsafe)
    except trio.Cancelled:
        outcome = Outcome.DRAINED
        raise
    finally:
        if client.fileno() >= 0:
            close_with_reset(client)
        log.ended(site.ledger.close(entry, outcome, time.time(), detail))


async def _carry(site: Site, arrival: Arrival) -> Outcome:
    entry = arrival.entry
    if len(site.ledger) > site.config.limits.connections or site.pending >= site.config.limits.pending:
        raise Refused(
            Outcome.LIMIT, "the worker has as many connections as limits.connections or .pending allow"
        )
    site.pending += 1
    try:
        ends = await _reach(site, arrival)
    finally:
        site.pending -= 1
    detector = Detector()

    def watch(chunk: bytes) -> bool:
        detected = detector.feed(chunk)
        if detected is not None:
            _note(entry, detected)
        return detected is not None

    flow = site.relay.join(*ends, idle_s=site.config.timeouts.idle_s, watch=watch)
    entry.bytes_now = lambda: (flow.sent_bytes, flow.received_bytes)
    entry.cut = flow.cut
    ending = await site.relay.ended(flow)
    if not entry.protocol:
        _note(entry, detector.eof())
    return ending.outcome


def _note(entry: Entry, detected: Detected) -> None:
    entry.protocol = detected.protocol.value
    entry.sni = detected.sni or ""


async def _reach(site: Site, arrival: Arrival) -> Ends:
    """Find out where the connection wants to go, and connect there."""
    door, client, source, entry = arrival
    origin = door.origin(client, source)
    if origin is None:
        raise Refused(Outcome.NO_DESTINATION, "someone dialled the door itself, or the source is not known")
    entry.destination = str(origin.destination)
    workload = site.names.get(origin.workload, door.opened.workload)
    if site.ledger.belongs(entry, workload.name) > site.config.limits.per_workload:
        raise Refused(Outcome.LIMIT, "the workload has as many connections as limits.per_workload allows")
    if door.opened.direction == "inbound":
        caller = await _admit(site, arrival, workload, origin.destination)
        return Ends(caller, await _dial_app(site, door, origin.destination, source))
    try:
        found: Found | None = await site.interest.find(origin.destination)
    except Unanswered:
        found = None
    route = site.routes.route(origin.destination, found)
    entry.service = route.service
    if route.refusal is not None:
        raise Refused(route.refusal)
    return Ends(client, await _dial_endpoint(site, arrival, route, workload))


async def _admit(site: Site, arrival: Arrival, called: WorkloadName, to: Address) -> socket.socket | Sealed:
    """Let a caller in who is secured as he must be, and may call this workload."""
    entry, door = arrival.entry, arrival.door
    passage = await _counted(
        site,
        "inbound",
        site.border.into(arrival.client, called, to, vouched=lambda: door.vouched(arrival.source, to)),
    )
    _note_peer(entry, passage)
    verdict = site.border.judge(passage.peer, called, to.port)
    if verdict.would_deny:
        entry.policy = verdict.words
    if not verdict.allowed:
        raise Refused(Outcome.DENIED, verdict.words)
    return passage.end


async def _counted(site: Site, direction: Direction, securing: Awaitable[Passage]) -> Passage:
    """Count how a connection was secured, or why it was not."""
    try:
        passage = await securing
    except Unsafe as unsafe:
        if unsafe.reason:
            site.ledger.handshake(direction, unsafe.reason)
        raise
    if passage.tls:
        how = "resumed" if passage.resumed else "full"
        site.ledger.handshake(direction, BY_KERNEL if passage.tls == BY_KERNEL else how)
    return passage


def _note_peer(entry: Entry, passage: Passage) -> None:
    entry.peer, entry.serial = str(passage.peer or ""), passage.serial
    entry.tls, entry.cipher, entry.resumed = passage.tls, passage.cipher, passage.resumed


async def _dial_endpoint(
    site: Site, arrival: Arrival, route: Route, caller: WorkloadName
) -> socket.socket | Sealed:
    """Connect to the endpoint whose turn it is, and to the next ones while that fails."""
    entry, timeouts = arrival.entry, site.config.timeouts
    turn = site.turns.of(f"{route.service}:{route.port}") if route.kind is Kind.SERVICE else None
    tried: list[str] = []
    outcome, failure = Outcome.CONNECT_FAILED, ""
    with trio.move_on_after(timeouts.connect_s) as deadline:
        while True:
            endpoint = turn.pick(route.candidates, tried) if turn else _only(route, tried)
            if endpoint is None:
                break
            entry.endpoint = str(endpoint.address)
            try:
                passage = await _dial_one(site, arrival.door, endpoint, caller)
            except (Refused, Unsafe) as failed:
                failure = str(failed)
                # Who says no says more than who is silent.
                if not tried or failed.outcome is not Outcome.CONNECT_TIMEOUT:
                    outcome = failed.outcome
                tried.append(endpoint.id)
                continue
            _note_peer(entry, passage)
            return passage.end
    if deadline.cancelled_caught:
        outcome = outcome if tried else Outcome.CONNECT_TIMEOUT
        failure = f"no endpoint answered within {timeouts.connect_s} s; last: {entry.endpoint}"
    raise Refused(outcome, failure)


async def _dial_one(site: Site, door: Door, endpoint: Endpoint, caller: WorkloadName) -> Passage:
    """Connect to this endpoint, and secure that if it is in the mesh. Refused or Unsafe if that fails."""
    to, try_s = endpoint.address, site.config.timeouts.connect_try_s
    with trio.move_on_after(try_s) as patience:
        try:
            neighbour = site.neighbour(door, endpoint)
            sock = door.outbound_socket(to)
            await dial(sock, to)
        except DialError as cause:
            outcome = Outcome.CONNECT_TIMEOUT if cause.timed_out else Outcome.CONNECT_FAILED
            raise Refused(outcome, str(cause)) from cause
        except OSError as cause:
            raise Refused(Outcome.CONNECT_FAILED, f"no socket for {to}: {cause.strerror}") from cause
    if patience.cancelled_caught:
        raise Refused(Outcome.CONNECT_TIMEOUT, f"{to} did not answer within {try_s} s")
    known = site.seen_here(endpoint, neighbour)
    return await _counted(site, "outbound", site.border.out(sock, known, caller, neighbour))


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
