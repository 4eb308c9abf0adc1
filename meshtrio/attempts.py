"""Shell. From a route to an endpoint that answers: choose, dial, secure; and elsewhere while that may help.

A call is tried again only while nothing of it was sent: its connection could not be made, or not secured.
First elsewhere, at once; where every endpoint was tried, after a wait with full jitter. What bounds it is the
deadline of all tries (timeouts.connect_s), `retries.attempts`, and the budget of the service, so that retries
are never a storm. Where hedges are asked for, one may begin before the try before it has failed (hedging.py).

Does not carry a byte: whoever does tells the Hold how the endpoint did.
"""

import socket
import time
from typing import NamedTuple

import trio

from meshtrio.address import Address
from meshtrio.balance.algorithm import HASHING
from meshtrio.balance.backoff import backoff_s
from meshtrio.balance.port import Hold, Port
from meshtrio.caller_key import key_of
from meshtrio.catalog.service import Endpoint, Found
from meshtrio.forward.dial import DialError, dialled, dialled_at_once
from meshtrio.forward.sealed import Sealed
from meshtrio.hedging import first_to_stand
from meshtrio.intercept.arrival import Door
from meshtrio.messages import WorkloadName
from meshtrio.observe.ledger import Entry
from meshtrio.outcome import Outcome
from meshtrio.overtaken import Racing
from meshtrio.passages import counted, note_peer
from meshtrio.route.decision import Kind, Route
from meshtrio.secure.border import Passage, Unsafe
from meshtrio.worker_site import Site


class Refused(Exception):
    """The connection ends before a byte was carried."""

    def __init__(self, outcome: Outcome, detail: str = "", *, ours: bool = False) -> None:
        """Say how, and for whoever debugs, why."""
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail
        self.ours = ours
        """The fault is on this side, and says nothing of an endpoint."""


class Arrival(NamedTuple):
    """A connection that has just come in."""

    door: Door
    client: socket.socket
    source: Address
    entry: Entry


class Call(NamedTuple):
    """What the connection is to be."""

    route: Route
    found: Found | None
    """What the route follows from."""
    caller: WorkloadName


class Reached(NamedTuple):
    """The endpoint answered."""

    upstream: socket.socket | Sealed
    hold: Hold | None = None
    """On the endpoint, where there was a choice. To be ended when the connection ends."""
    splice: bool = True
    """What the workload says of its bytes."""


async def reach_endpoint(site: Site, arrival: Arrival, call: Call) -> Reached:
    """Connect to an endpoint of the route. Refused or Unsafe if none can be reached; nothing is held then."""
    if call.route.kind is not Kind.SERVICE or call.found is None:
        return Reached(await _reach_the_only(site, arrival, call))
    port = site.ports.of(call.found.service, call.route.port)
    if full := port.full():
        raise Refused(Outcome.LIMIT, f"{port.name} has as many connections as {full} allows")
    port.pending += 1
    try:
        return await _reach_some(site, arrival, call, port)
    finally:
        port.pending -= 1


async def _reach_the_only(site: Site, arrival: Arrival, call: Call) -> socket.socket | Sealed:
    (endpoint,) = call.route.candidates
    arrival.entry.endpoint = str(endpoint.address)
    connect_s = site.config.timeouts.connect_s
    with trio.move_on_after(connect_s):
        passage = await _dial(site, arrival.door, endpoint, call.caller)
        note_peer(arrival.entry, passage)
        return passage.end
    raise Refused(Outcome.CONNECT_TIMEOUT, f"{endpoint.address} did not answer within {connect_s} s")


class _Tries:
    """The tries of one call: who is left for it, and what became of those that were tried."""

    __slots__ = (
        "_arrival", "_call", "_port", "_site",
        "failure", "hedge_after_s", "key", "outcome", "retried", "tried", "until",
    )  # fmt: skip

    def __init__(self, site: Site, arrival: Arrival, call: Call, port: Port) -> None:
        self._site, self._arrival, self._call, self._port = site, arrival, call, port
        self.key: int | None = None
        self.until = 0.0
        """When the time of all tries is over."""
        self.hedge_after_s = port.settings.retries.hedge_after_s
        """How long a try may be silent; 0: none is hedged."""
        self.tried: list[str] = []
        self.retried = 0
        self.outcome, self.failure = Outcome.CONNECT_TIMEOUT, ""

    def hold(self) -> Hold | None:
        """Hold an endpoint that was not tried; None: there is none that may be called now."""
        hold = self._port.hold(self._call.route.candidates, time.monotonic(), self.key, self.tried)
        if hold is not None:
            self.tried.append(hold.endpoint.id)
        return hold

    def hedge(self) -> Hold | None:
        """Hold one more, beside a try that is silent; None: that may not be."""
        endpoints, now = self._call.route.candidates, time.monotonic()
        hold = self._port.hedge(endpoints, now, self.key, self.tried, retried=self.retried)
        if hold is not None:
            self.tried.append(hold.endpoint.id)
            self.retried += 1
        return hold

    async def stand(self, hold: Hold) -> Passage | None:
        """Connect where it leads; None: that failed, and is noted. The hold is ended, unless it stands.

        Where a hedge overtakes it in silence, the hold is ended by whoever waits on for the endpoint.
        """
        self._arrival.entry.endpoint = str(hold.endpoint.address)
        site, race = self._site, None
        if self.hedge_after_s:
            race = Racing(site.overtaken, hold, trio.current_time() + self.hedge_after_s, self.until)
        try:
            return await _dial(site, self._arrival.door, hold.endpoint, self._call.caller, race=race)
        except (Refused, Unsafe) as failed:
            ours = isinstance(failed, Refused) and failed.ours
            hold.ended(Outcome.OUR_BUG if ours else failed.outcome, time.monotonic())
            # Who says no says more than who is silent.
            if not self.failure or failed.outcome is not Outcome.CONNECT_TIMEOUT:
                self.outcome = failed.outcome
            self.failure = str(failed)
            return None
        except BaseException:
            if race is None or not race.left:
                late = trio.current_time() >= self.until
                hold.ended(Outcome.CONNECT_TIMEOUT if late else Outcome.DRAINED, time.monotonic())
            raise

    async def hedged(self, hold: Hold) -> tuple[Hold, Passage | None]:
        """Connect as `stand` does, also elsewhere once a try was silent for long; say where it stands."""
        stood = await first_to_stand(hold, self, self.hedge_after_s)
        if stood is None:
            return hold, None
        self._arrival.entry.endpoint = str(stood.hold.endpoint.address)
        self._port.hedges_won += stood.hold is not hold
        return stood


async def _reach_some(site: Site, arrival: Arrival, call: Call, port: Port) -> Reached:
    """Try the endpoints in balanced order."""
    entry, timeouts, retries = arrival.entry, site.config.timeouts, port.settings.retries
    tries = _Tries(site, arrival, call, port)
    with trio.move_on_after(timeouts.connect_s) as deadline:
        tries.until = deadline.deadline
        tries.key = await _key(site, arrival, call.caller, port)
        port.budget.offered(time.monotonic())
        while True:
            hold = tries.hold()
            if hold is None and tries.retried:
                # Every endpoint was tried, so from here on there is none to hedge with.
                tries.hedge_after_s = 0.0
                tries.tried.clear()
                wait_s = backoff_s(tries.retried - 1, retries.base_s, retries.max_s, site.luck.random())
                await trio.sleep(wait_s)
                hold = tries.hold()
            if hold is None:
                if not tries.failure:
                    why_none = port.why_none(call.route.candidates, time.monotonic())
                    tries.outcome, tries.failure = why_none
                break
            if tries.hedge_after_s and tries.retried < retries.attempts:
                hold, passage = await tries.hedged(hold)
            else:
                passage = await tries.stand(hold)
            if passage is not None:
                note_peer(entry, passage)
                return Reached(passage.end, hold)
            if why := port.why_no_retry(tries.retried, time.monotonic()):
                tries.failure = f"{tries.failure} ({why})" if tries.retried else tries.failure
                break
            tries.retried += 1
    if deadline.cancelled_caught:
        tries.failure = f"no endpoint answered within {timeouts.connect_s} s; last: {entry.endpoint}"
    raise Refused(tries.outcome, tries.failure)


async def _key(site: Site, arrival: Arrival, caller: WorkloadName, port: Port) -> int | None:
    """Find what calls that belong together share, if the algorithm asks for it; None if there is none."""

    def identity() -> str:
        return str(site.border.keyring.identity(caller.id) or "")

    if port.settings.algorithm not in HASHING:
        return None
    return await key_of(port.settings, arrival.client, source=arrival.source.ip, identity=identity)


async def _dial(
    site: Site, door: Door, endpoint: Endpoint, caller: WorkloadName, *, race: Racing | None = None
) -> Passage:
    """Connect to this endpoint, and secure that if it is in the mesh. Refused or Unsafe if that fails."""
    to, try_s = endpoint.address, site.config.timeouts.connect_try_s
    # Where all answers are there at once nothing else hears a cancel, nor that the time of all tries is over.
    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        neighbour = site.neighbour(door, endpoint)
        sock = door.outbound_socket(to)
    except OSError as cause:
        raise Refused(Outcome.CONNECT_FAILED, f"no socket for {to}: {cause.strerror}", ours=True) from cause
    try:
        if not dialled_at_once(sock, to):
            with trio.move_on_after(try_s) as patience:
                if race is not None:
                    await race.heard(sock, patience.deadline)
                await dialled(sock, to)
            if patience.cancelled_caught:
                raise Refused(Outcome.CONNECT_TIMEOUT, f"{to} did not answer within {try_s} s")
    except DialError as cause:
        outcome = Outcome.CONNECT_TIMEOUT if cause.timed_out else Outcome.CONNECT_FAILED
        raise Refused(outcome, str(cause)) from cause
    known = site.seen_here(endpoint, neighbour)
    return await counted(site.ledger, "outbound", site.border.out(sock, known, caller, neighbour))
