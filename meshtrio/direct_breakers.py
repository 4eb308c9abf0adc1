"""Shell. Breakers of direct services: what hooks saw of connections opens them, and who is open is left out.

The agent is to direct connections what a worker is to those that it carries. It counts failures by the same
thresholds, and tells the board, so that all workers hear of them; what workers and the operator say of the
same endpoints holds here, too. Only the trial of a half-open endpoint is the workers' alone, for the kernel
cannot let a few through and wait for what becomes of them. Until it is proven, they carry the service.

Failures are told by the hooks as they happen, and cost nothing where there are none. Successes are not told:
the hooks count how many connections stood, and that is read when it matters, at the next failure.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import NamedTuple

from meshtrio.address import Address
from meshtrio.balance.breaker import Luck
from meshtrio.balance.breaker_table import State
from meshtrio.balance.breakers import NOBODY, PortBreakers
from meshtrio.balance.hearsay import COUNT_BOUND, Counts
from meshtrio.balance.ports import thresholds_of
from meshtrio.balance.verdict import ORDINARY, Verdict
from meshtrio.breaker_board import BreakerBoard
from meshtrio.catalog.service import Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.config.traffic import Settings
from meshtrio.intercept.followed_layout import DirectEnded
from meshtrio.messages import Observed
from meshtrio.observe import log
from meshtrio.observe.direct_ends import SYN_SENT, is_fault

PORTS_BOUND = 4096
"""So many service ports have breakers here. Full: what fails at further ones opens none."""
FAILING_BOUND = 4096
"""Of so many endpoints that fail now and then the successes are known. Full: for further ones failures alone
count."""

Role = tuple[Address, Address]
"""An endpoint in its role for an address of a service: that, and its own."""


class _Failing(NamedTuple):
    port: str
    endpoint: str
    well: int
    """How many of its connections had stood and were not reset at once when we looked last."""
    resets: int


class DirectBreakers:
    """The breakers of direct service ports, by "namespace/name:port", of which something is known."""

    def __init__(
        self,
        board: BreakerBoard,
        snapshot: Callable[[], Snapshot],
        settings: Callable[[Service, ServicePort], Settings],
        established: Callable[[Address, Address], int],
    ) -> None:
        """`established` says how many connections of a member have stood so far."""
        self._board = board
        self._snapshot = snapshot
        self._settings = settings
        self._established = established
        self._luck: Luck = Random()
        self._ports: dict[str, PortBreakers] = {}
        self._followed: dict[str, int] = {}
        """Which version of a port's breakers the kernel's maps follow."""
        self._failing: dict[Role, _Failing] = {}
        self.changed: Callable[[str], object] = str
        """Called with the key of a service of which others may be picked now."""
        board.changed = self._heard

    def blocked(self, service: Service, port: ServicePort) -> frozenset[str]:
        """Name the endpoints of a port to which no connection may go now."""
        name = f"{service.key}:{port.name}"
        known = self._ports.get(name)
        if known is None:
            return NOBODY
        known.settle(thresholds_of(self._settings(service, port).breaker))
        known.retain([one.id for one in port.endpoints])
        found = known.blocked(self._board.clock())
        self._followed[name] = known.version
        return found

    def is_proving(self, service: Service, port: ServicePort) -> bool:
        """Say whether an endpoint that there is now is half open."""
        known = self._ports.get(f"{service.key}:{port.name}")
        if known is None:
            return False
        states = known.states(self._board.clock())
        here = (states[one.id] for one in port.endpoints if one.id in states)
        return any(breaker.state is State.HALF_OPEN for breaker in here)

    def saw(self, ends: Iterable[DirectEnded]) -> None:
        """Learn of direct connections that have ended."""
        faults = [one for one in ends if is_fault(one)]
        resets = Counter(_role(one) for one in faults if one.state != SYN_SENT)
        for role, count in Counter(map(_role, faults)).items():
            name = self._failed(role, count, resets[role])
            if name:
                counts, stands = self._ports[name].sightings.take()
                told = Observed({name: counts} if counts else {}, {name: stands} if stands else {})
                self._board.hear(None, told)

    def move_on(self) -> None:
        """Let services follow whose breakers time alone has changed."""
        now = self._board.clock()
        for name, known in list(self._ports.items()):
            if known.current(now) != self._followed.get(name):
                self._followed[name] = known.version
                self.changed(name.rpartition(":")[0])

    def look_again(self) -> None:
        """Learn of endpoints that failed how many connections have stood since; forget what is no news."""
        now = self._board.clock()
        for role, failing in list(self._failing.items()):
            known = self._ports.get(failing.port)
            if known is None or failing.endpoint not in known.states(now):
                del self._failing[role]
            else:
                self._count_well(role, known, now)
        for name, known in list(self._ports.items()):
            if not known.states(now) and name not in self._board.board.ports:
                del self._ports[name]
                self._followed.pop(name, None)

    def _heard(self, name: str) -> None:
        """Take from the board what breakers of a port came to, and what is forced."""
        said = self._board.board.ports.get(name)
        known = self._ports.get(name)
        if known is None and said is not None and (said.stands or said.forced):
            known = self._made(name)
        if known is not None:
            now = self._board.clock()
            known.obey(said.forced if said else {}, now)
            known.learn({}, said.stands if said else {}, now)
        self.changed(name.rpartition(":")[0])

    def _failed(self, role: Role, count: int, resets: int) -> str:
        """Count failures of an endpoint, and return the name of its port; empty: that has no breakers."""
        found = self._snapshot().lookup(role[0])
        if found is None or found.endpoint is not None:
            return ""
        endpoint = next((one.id for one in found.port.endpoints if one.address == role[1]), None)
        settings = self._settings(found.service, found.port)
        name = f"{found.service.key}:{found.port.name}"
        if endpoint is None or not settings.breaker.enabled:
            return ""
        known = self._ports.get(name) or self._made(name)
        if known is None:
            return ""
        now = self._board.clock()
        known.settle(thresholds_of(settings.breaker))
        known.retain([one.id for one in found.port.endpoints])
        failing = self._failing.get(role)
        if failing is not None:
            self._failing[role] = failing._replace(resets=failing.resets + resets)
        elif len(self._failing) < FAILING_BOUND:
            self._failing[role] = _Failing(name, endpoint, self._established(*role), 0)
        self._count_well(role, known, now)
        for _ in range(count):
            known.record(endpoint, Verdict.FAILURE, now, ticket=ORDINARY)
        breaker = known.states(now).get(endpoint)
        if breaker is None or breaker.state is not State.CLOSED:
            self._failing.pop(role, None)  # it begins anew when it is let in again
        return name

    def _count_well(self, role: Role, known: PortBreakers, now: float) -> None:
        """Count the connections that stood since we looked last, but for those that were reset at once."""
        failing = self._failing.get(role)
        if failing is None:
            return
        well = self._established(*role) - failing.resets
        more = well - failing.well
        if more > 0:
            self._failing[role] = failing._replace(well=well)
            known.record(failing.endpoint, Verdict.SUCCESS, now, ticket=ORDINARY)
            known.learn({failing.endpoint: Counts(min(more - 1, COUNT_BOUND))}, {}, now)

    def _made(self, name: str) -> PortBreakers | None:
        if len(self._ports) >= PORTS_BOUND:
            log.rarely("too many service ports have breakers; what fails at direct ones opens no more")
            return None
        return self._ports.setdefault(name, PortBreakers(thresholds_of(Settings().breaker), self._luck))


def _role(ended: DirectEnded) -> Role:
    return ended.was.destination, ended.was.member
