"""Shell. The way of one connection, top to bottom: arrival, route, endpoint, carry, one outcome.

Knows the stages and their order; each stage knows its own business. Does not start tasks.
"""

import socket
import time
from typing import NamedTuple

import trio

from meshtrio.address import Address
from meshtrio.attempts import Arrival, Call, Reached, Refused, reach_endpoint
from meshtrio.catalog.service import Found
from meshtrio.detect.detected import Detected
from meshtrio.detect.detector import Detector
from meshtrio.forward.dial import DialError, dialled, dialled_at_once
from meshtrio.forward.peek import speaks
from meshtrio.forward.sealed import Sealed
from meshtrio.forward.tcp import close_with_reset
from meshtrio.intercept.arrival import Door
from meshtrio.interest import Unanswered
from meshtrio.messages import WorkloadName
from meshtrio.observe import log
from meshtrio.observe.ledger import Entry
from meshtrio.outcome import Outcome
from meshtrio.passages import counted, note_peer
from meshtrio.secure.border import Passage, Unsafe
from meshtrio.worker_site import Site


class Silent(NamedTuple):
    """Whom a caller calls who has not said a byte."""

    called: WorkloadName
    to: Address


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
        now = time.time()
        site.ledger.close(entry, outcome, now, detail)
        if log.heeds(outcome):
            log.ended(entry.seen(now, outcome, detail))


async def _carry(site: Site, arrival: Arrival) -> Outcome:
    if len(site.ledger) > site.config.limits.connections or site.pending >= site.config.limits.pending:
        raise Refused(
            Outcome.LIMIT, "the worker has as many connections as limits.connections or .pending allow"
        )
    site.pending += 1
    try:
        client, reached, silent = await _reach(site, arrival)
    finally:
        site.pending -= 1
    hold, outcome = reached.hold, Outcome.OUR_BUG
    try:
        if silent is not None:
            client = await _hear(site, arrival, silent, reached.upstream)
        outcome = await _relay(site, arrival.entry, client, reached)
    except trio.Cancelled:
        outcome = Outcome.DRAINED
        raise
    finally:
        if hold is not None:
            hold.ended(outcome, time.monotonic())
    return outcome


async def _relay(site: Site, entry: Entry, client: socket.socket | Sealed, reached: Reached) -> Outcome:
    """Carry all bytes. Looks at the first ones of either direction, and at no more."""
    detector, hold = Detector(), reached.hold

    def watch(chunk: bytes) -> bool:
        if hold is not None:
            hold.asked(time.monotonic())
        detected = detector.feed(chunk)
        if detected is not None:
            _note(entry, detected)
        return detected is not None

    def watch_answer(_: bytes) -> bool:
        if hold is not None:
            hold.answered(time.monotonic())
        return True

    idle_s = site.config.timeouts.idle_s
    flow = site.relay.join(
        client, reached.upstream, idle_s=idle_s, watch=watch, watch_answer=watch_answer if hold else None
    )
    if not reached.splice:
        flow.copy_only()
    entry.bytes_now = lambda: (flow.sent_bytes, flow.received_bytes)
    entry.cut = flow.cut
    ending = await site.relay.ended(flow)
    if not entry.protocol:
        _note(entry, detector.eof())
    return ending.outcome


def _note(entry: Entry, detected: Detected) -> None:
    entry.protocol = detected.protocol.value
    entry.sni = detected.sni or ""


async def _reach(site: Site, arrival: Arrival) -> tuple[socket.socket | Sealed, Reached, Silent | None]:
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
        passage = await _admit(site, arrival, workload, origin.destination)
        silent = Silent(workload, origin.destination) if passage.silent else None
        app = await _dial_app(site, door, origin.destination, source)
        return passage.end, Reached(app, splice=workload.accelerated), silent
    try:
        found: Found | None = await site.interest.find(origin.destination)
    except Unanswered:
        found = None
    route = site.routes.route(origin.destination, found)
    entry.service = route.service
    if route.refusal is not None:
        raise Refused(route.refusal)
    reached = await reach_endpoint(site, arrival, Call(route, found, workload))
    return client, reached._replace(splice=workload.accelerated), None


async def _admit(site: Site, arrival: Arrival, called: WorkloadName, to: Address) -> Passage:
    """Let a caller in who is secured as he must be, and may call this workload."""
    entry, door = arrival.entry, arrival.door
    passage = await counted(
        site.ledger,
        "inbound",
        site.border.into(arrival.client, called, to, vouched=lambda: door.vouched(arrival.source, to)),
    )
    note_peer(entry, passage)
    verdict = site.border.judge(passage.peer, called, to.port)
    if verdict.would_deny:
        entry.policy = verdict.words
    if not verdict.allowed:
        raise Refused(Outcome.DENIED, verdict.words)
    return passage


async def _hear(
    site: Site, arrival: Arrival, silent: Silent, app: socket.socket | Sealed
) -> socket.socket | Sealed:
    """Wait until a silent caller or the app has spoken, and secure the caller if it begins as a mesh does.

    Its first words may have been lost on the way and sent again. The app has got nothing so far, so it does
    not matter that it was dialled before. If this raises, the app's side is closed.
    """
    try:
        if not await speaks(arrival.client, app, site.config.mtls.handshake_s):
            return arrival.client
        return (await _admit(site, arrival, *silent)).end
    except BaseException:
        close_with_reset(app)
        raise


async def _dial_app(site: Site, door: Door, to: Address, caller: Address) -> socket.socket:
    """Connect to the called process itself."""
    connect_s = site.config.timeouts.connect_s
    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        with door.app_socket(to, caller) as sock:
            if not dialled_at_once(sock, to):
                with trio.move_on_after(connect_s) as patience:
                    await dialled(sock, to)
                if patience.cancelled_caught:
                    raise Refused(Outcome.CONNECT_TIMEOUT, f"{to} did not answer within {connect_s} s")
            return sock
    except DialError as cause:
        outcome = Outcome.CONNECT_TIMEOUT if cause.timed_out else Outcome.CONNECT_FAILED
        raise Refused(outcome, str(cause)) from cause
    except OSError as cause:
        raise Refused(Outcome.CONNECT_FAILED, f"cannot dial {to}: {cause.strerror}") from cause
