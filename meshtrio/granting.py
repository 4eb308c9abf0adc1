"""Shell. Who may go to whom within this node: the workloads that are here, as route/granting.py judges them.

Knows the registry, identities and who listens where. Does not write the kernel's maps: direct_keeper.py does.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Set

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint
from meshtrio.config.schema import Config
from meshtrio.intercept.direct_layout import Guard
from meshtrio.intercept.grants import Callers
from meshtrio.intercept.workload import Workload
from meshtrio.messages import Credentials, Trusted
from meshtrio.neighbours import Nearby
from meshtrio.route.granting import Granting, Resident

ONE_LOOK_S = 0.05
"""So long workloads are taken to be the same: all services are judged in one go."""
WITHHELD_S = (60.0, 3600.0)
"""How long a workload gets no grant for a service after a connection of it went astray: at first (then twice
as long each time), and at most."""
WITHHELD_BOUND = 4096
"""So many of those are remembered. Full: all are forgotten, and each may go astray once more."""


class Grantor:
    """Who serves as a workload of this node, and who may go there himself."""

    def __init__(
        self,
        config: Config,
        workloads: Callable[[], Iterable[Workload]],
        near: Nearby,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_now: Callable[[], float] = time.time,
    ) -> None:
        """Begin with nobody's identity, and nobody revoked."""
        self.is_near = near
        self._workloads = workloads
        self._clock = clock
        self._wall_now = wall_now
        self._identities: dict[int, tuple[str, float]] = {}
        """Who each is, and until when it can prove that: wall time; 0: it cannot."""
        self._revoked: Mapping[str, float] = {}
        """Identities, and until when they are revoked; 0: for ever."""
        self._known: tuple[float, Mapping[int, Resident]] = (-1.0, {})
        """The residents, and until when they are taken to be the same."""
        self._withheld: dict[tuple[int, Address], tuple[float, float]] = {}
        """Until when a workload gets no grant for a service's address, and how long that was."""
        self.why_not = ""
        """Why the kernel cannot let anybody through."""
        self.settle(config)

    def settle(self, config: Config) -> None:
        """Let another configuration hold."""
        self._granting = Granting(config)

    @property
    def on(self) -> bool:
        """Whether anybody may be granted anything."""
        return self._granting.on and not self.why_not

    def hear(self, news: Credentials | Trusted) -> Set[int]:
        """Know from now on who a workload is and until when it can prove that, or who is revoked.

        Return the workloads that may have been granted what they are not to have now.
        """
        if isinstance(news, Trusted):
            self._revoked = news.revoked_ids
            return self.numbers(news.revoked_ids.keys())
        before = self.identity(news.workload)
        self._identities[news.workload] = news.spiffe_id, news.not_after if news.chain else 0.0
        return frozenset({news.workload} if self.identity(news.workload) != before else ())

    def look_anew(self) -> None:
        """Take no workload to be the same as a moment ago."""
        self._known = (-1.0, {})

    def revoked(self, wall_now: float) -> frozenset[str]:
        """Return which identities of our workloads are revoked at this time."""
        untils = {one: self._revoked.get(one) for one, _ in self._identities.values()}
        return frozenset(
            one for one, until in untils.items() if until is not None and (until == 0 or wall_now < until)
        )

    def forget(self, workload: int) -> None:
        """Forget a workload that has gone."""
        self._identities.pop(workload, None)

    def identity(self, workload: int) -> str:
        """Return who a workload can prove to be now; empty: nobody."""
        identity, until = self._identities.get(workload, ("", 0.0))
        return identity if until else ""

    def numbers(self, identities: Set[str]) -> frozenset[int]:
        """Return the workloads that are one of these, whether they can prove it or not."""
        return frozenset(number for number, (one, _) in self._identities.items() if one in identities)

    def guards(self, endpoints: Iterable[Endpoint]) -> Mapping[Address, Guard] | None:
        """Return which workload each of these is; None if one of them is none, or cannot be called so."""
        if not self.on:
            return None
        residents = self._residents()
        found: dict[Address, Guard] = {}
        for one in endpoints:
            guard = self.is_near.serving(one.address)
            called = residents.get(guard.workload) if guard is not None else None
            if guard is None or called is None or called.netns != guard.netns:
                return None
            if not self._granting.takes(called, one.address.port, one.identity):
                return None
            found[one.address] = guard
        return found

    def callers(self, service: Address, guards: Mapping[Address, Guard]) -> Callers:
        """Return which workloads may go to each of these members of a service themselves, and until when."""
        residents = self._residents()
        called = {guard.workload for guard in guards.values()}
        return {
            caller.id: self._until({caller.id} | called)
            for caller in residents.values()
            if self._granting.asks(caller)
            and not self._is_withheld(caller.id, service)
            and all(self._may(caller, residents, *one) for one in guards.items())
        }

    def strayed(self, workload: int, service: Address) -> None:
        """Give a workload no grant for this service for a while: a connection did not arrive.

        Others that were under way with it, and did not either, change nothing.
        """
        if self._is_withheld(workload, service):
            return
        if len(self._withheld) >= WITHHELD_BOUND and (workload, service) not in self._withheld:
            self._withheld.clear()
        first_s, most_s = WITHHELD_S
        _, last_s = self._withheld.get((workload, service), (0.0, 0.0))
        for_s = min(most_s, max(first_s, 2 * last_s))
        self._withheld[workload, service] = self._clock() + for_s, for_s

    def _may(self, caller: Resident, residents: Mapping[int, Resident], to: Address, guard: Guard) -> bool:
        called = residents.get(guard.workload)
        # Loopback is another place in another namespace.
        reaches = not to.is_loopback or caller.netns == guard.netns
        return called is not None and reaches and self._granting.may(caller, called, to.port)

    def _until(self, workloads: Set[int]) -> float:
        """Return when the first of these certificates ends, by the monotonic clock."""
        ends = min(self._identities[workload][1] for workload in workloads)
        return self._clock() + max(0.0, ends - self._wall_now())

    def _is_withheld(self, workload: int, service: Address) -> bool:
        until, _ = self._withheld.get((workload, service), (0.0, 0.0))
        return self._clock() < until

    def _residents(self) -> Mapping[int, Resident]:
        until, known = self._known
        now = self._clock()
        if now < until:
            return known
        revoked = self.revoked(self._wall_now())
        known = {
            one.id: Resident(
                id=one.id,
                name=one.spec.name,
                namespace=one.spec.namespace,
                netns=one.site.netns.id,
                identity=identity if (identity := self.identity(one.id)) not in revoked else "",
                hooked=one.rung == "ebpf",
                acceleration=one.spec.acceleration,
            )
            for one in self._workloads()
        }
        self._known = now + ONE_LOOK_S, known
        return known
