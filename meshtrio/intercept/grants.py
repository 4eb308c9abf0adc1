"""Shell. Which workloads may go to guarded services themselves, as the hooks know it (bpf/grants.c).

A grant is for the slots of one generation, so writing a service anew ends all that were given for it; and it
ends by itself, agent or not. What a predecessor granted holds until something else is given. Knows no why.
"""

import errno
from collections.abc import Callable, Mapping, Set

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.followed_layout import Followed
from meshtrio.intercept.grant_layout import (
    GRANT_BYTES,
    GRANTEE_BYTES,
    PASSAGE_BYTES,
    PASSENGER_BYTES,
    grant,
    grantee,
    passage,
    unpack_grant,
    unpack_grantee,
    unpack_passenger,
)

Callers = Mapping[int, float]
"""Workloads, and until when each has a grant: CLOCK_MONOTONIC, seconds."""
SAME_S = 1.0
"""Ends that differ by less are the same: they are reckoned anew each time, from two clocks."""


class Grants:
    """The grants of this node. One writer."""

    def __init__(self, maps: Mapping[str, int]) -> None:
        """Borrow the descriptors, and find what a predecessor gave."""
        self._grants = maps["grants"]
        self._passages = maps["passages"]
        self._given: dict[Address, tuple[int, dict[int, float]]] = {}
        for key in list(bpf.keys(self._grants, GRANTEE_BYTES)):
            raw = bpf.look_up(self._grants, key, GRANT_BYTES)
            if raw is not None:
                (service, workload), (until, generation) = unpack_grantee(key), unpack_grant(raw)
                _, callers = self._given.setdefault(service, (generation, {}))
                callers[workload] = until

    @property
    def count(self) -> int:
        """How many grants there are."""
        return sum(len(callers) for _, callers in self._given.values())

    def give(self, service: Address, generation: int, callers: Callers) -> Set[int]:
        """Let exactly these workloads go to the members of a service, as its slots are in this generation.

        Returns those for whom there is no room in the kernel's map; they have no grant.
        """
        last, had = self._given.pop(service, (generation, {}))
        for workload in had.keys() - callers.keys():
            bpf.delete(self._grants, grantee(service, workload))
        given: dict[int, float] = {}
        # First those that have one for other slots: they need no room.
        for workload in sorted(callers, key=lambda one: (one not in had, one)):
            until, before = callers[workload], had.get(workload)
            if last == generation and before is not None and abs(before - until) < SAME_S:
                given[workload] = before
            elif self._write(grantee(service, workload), grant(until, generation)):
                given[workload] = until
        for workload in (had.keys() & callers.keys()) - given.keys():
            bpf.delete(self._grants, grantee(service, workload))
        if given:
            self._given[service] = generation, given
        return callers.keys() - given.keys()

    def given(self, service: Address) -> Callers:
        """Return who may go to the members of a service."""
        return self._given.get(service, (0, {}))[1]

    def drop(self, service: Address) -> None:
        """Let nobody go there himself."""
        self.give(service, 0, {})

    def retain(self, services: Set[Address]) -> None:
        """Let nobody go to any other service than these himself."""
        for service in self._given.keys() - services:
            self.drop(service)

    def forget(self, one: Followed) -> None:
        """Forget that a connection was granted, which no hook will see end."""
        if one.there:
            bpf.delete(self._passages, passage(one.there, one.live))

    def sweep(self, living: Callable[[], Set[int]]) -> None:
        """Forget connections whose end no hook has seen; `living` gives the cookies of those that live."""
        noted = {key: self._whose(key) for key in list(bpf.keys(self._passages, PASSAGE_BYTES))}
        alive = living() if noted else frozenset[int]()
        for key, cookie in noted.items():
            # Another one may have set out between the same addresses since.
            if cookie is not None and cookie not in alive and self._whose(key) == cookie:
                bpf.delete(self._passages, key)

    def _write(self, key: bytes, value: bytes) -> bool:
        try:
            bpf.update(self._grants, key, value)
        except OSError as full:
            if full.errno not in (errno.E2BIG, errno.ENOMEM):
                raise
            return False
        return True

    def _whose(self, key: bytes) -> int | None:
        raw = bpf.look_up(self._passages, key, PASSENGER_BYTES)
        return unpack_passenger(raw) if raw is not None else None
