"""Shell. What the hooks know of direct services: who serves each address, in which order, what became of it.

Written so that a connect at any moment finds the whole old order or the whole new one: a new generation of
slots is written beside the old one, then the service's entry is replaced in one step, then the old slots go.
Knows addresses, not services. What is here outlives the agent, and a successor finds it by `standing`.
"""

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from msgspec.structs import replace

from meshtrio.address import Address
from meshtrio.intercept import bpf, bpf_entries
from meshtrio.intercept.direct_followed import DirectFollowed
from meshtrio.intercept.direct_layout import (
    GENERATIONS,
    SERVICE_BYTES,
    SLOT_BYTES,
    SLOT_KEY_BYTES,
    UNGUARDED,
    Carried,
    Guard,
    Pick,
    Seat,
    ServiceWords,
    slot,
    slot_key,
    unpack_slot_key,
)
from meshtrio.intercept.direct_seats import DirectSeats, NoRoom, Role
from meshtrio.intercept.followed_layout import DirectLive, EndedWords, unpack_ended
from meshtrio.intercept.grants import Callers, Grants
from meshtrio.intercept.ringbuf import RingBuffer

NO_GUARDS: Mapping[Address, Guard] = {}


class DirectMaps:
    """The maps of direct services. One writer."""

    def __init__(self, maps: Mapping[str, int]) -> None:
        """Borrow the descriptors, and take out what a predecessor did not finish."""
        self._services = maps["services"]
        self._slots = maps["direct_slots"]
        self._seats = DirectSeats(maps["direct_seats"], maps["direct_members"])
        self._followed = DirectFollowed(maps["direct_berths"], maps["direct_live"])
        self._ended = RingBuffer(maps["direct_ended"])
        self.grants = Grants(maps)
        """Who may call guarded services."""
        self.standing: dict[Address, ServiceWords] = {}
        """The addresses that are direct now."""
        self._serving: dict[Address, set[Address]] = {}
        self._leaving: set[Role] = set()
        self._generation = 0
        self._take_over()

    def put(
        self,
        service: Address,
        pick: Pick,
        order: Sequence[Address],
        guards: Mapping[Address, Guard] = NO_GUARDS,
    ) -> None:
        """Let the hooks pick from this order from now on. NoRoom if it does not fit; then all is as before.

        Who is not in it gets no connection that begins after this. With `guards`, of each member, nobody may
        go there until he has a grant for these slots, and who has one for the last slots has none.
        """
        before = self.standing.get(service)
        words = ServiceWords(self._next_generation(), len(order), pick, guarded=bool(guards))
        members = set(order)
        try:
            seats = self._seats_of(service, members)
            self._write_slots(
                service, words, [slot(one, seats[one], guards.get(one, UNGUARDED)) for one in order]
            )
            bpf.update(self._services, service.pack(), replace(words, turn=self._turn(service)).pack())
        except BaseException as failed:
            self._wipe(service, words)
            if isinstance(failed, OSError) and failed.errno in (errno.E2BIG, errno.ENOMEM):
                raise NoRoom("a map of direct services") from failed
            raise
        self.standing[service] = words
        if before is not None:
            self._wipe(service, before)
        if not guards:
            self.grants.drop(service)
        self._leave(service, members)

    def drop(self, service: Address, *, known: bool = True) -> None:
        """Let connections to this address go through the worker from now on; not `known`: it is nobody's."""
        if known:
            bpf.update(self._services, service.pack(), ServiceWords().pack())
        else:
            bpf.delete(self._services, service.pack())
        before = self.standing.pop(service, None)
        if before is not None:
            self._wipe(service, before)
        self.grants.drop(service)
        self._leave(service, set())

    def grant(self, service: Address, callers: Callers) -> Set[int]:
        """Let exactly these workloads go to the members of a guarded service themselves, as they are now.

        Returns those for whom there is no room.
        """
        return self.grants.give(service, self.standing[service].generation, callers)

    def carried(self) -> dict[Role, Carried]:
        """Return what each member of each address has carried, those included that leave."""
        found = {role: self._seats.carried(role) for role in self._seats.roles()}
        return {role: carried for role, carried in found.items() if carried is not None}

    def live(self) -> Iterator[tuple[int, DirectLive]]:
        """Walk over the direct connections that live, by the cookies of their sockets."""
        for cookie, one in self._followed.all():
            if one.has_begun:
                yield cookie, one.live

    def lose(self, workload: int) -> list[tuple[int, DirectLive]]:
        """Follow no connection of a workload any more: its hooks are gone, so they will not see the ends.

        Returns those that had begun, by the cookies of their sockets.
        """
        lost = []
        for cookie, one in self._followed.all():
            if one.live.workload == workload and self._followed.take_out(cookie) and one.has_begun:
                self._seats.end_one(one.seat)
                self.grants.forget(one)
                lost.append((cookie, one.live))
        return lost

    def ended(self, most: int) -> list[EndedWords]:
        """Take out the connections that have ended, so many at most, the oldest first."""
        return list(map(unpack_ended, self._ended.take(most)))

    @property
    def failing(self) -> int:
        """A descriptor that wakes whoever waits until it is readable when a connection has failed."""
        return self._ended.descriptor

    def connections(self, service: Address, member: Address) -> int:
        """Say how many connections a member was given since it serves; 0 if it is not known."""
        carried = self._seats.carried((service, member))
        return carried.connections if carried is not None else 0

    def established(self, service: Address, member: Address) -> int:
        """Say how many connections of a member came to stand since it serves; 0 if it is not known."""
        carried = self._seats.carried((service, member))
        return carried.established if carried is not None else 0

    def sweep(self) -> None:
        """Take out members that have left and whose last connection has ended."""
        for role in list(self._leaving):
            carried = self._seats.carried(role)
            if carried is None or carried.active <= 0:
                self._seats.take_back(role)
                self._leaving.discard(role)

    def sweep_passages(self) -> None:
        """Forget granted connections whose ends no hook has seen. Takes 20 ms for each thousand that live."""
        self.grants.sweep(lambda: {cookie for cookie, _ in self._followed.all()})

    def _take_over(self) -> None:
        keys = {key: unpack_slot_key(key) for key in bpf.keys(self._slots, SLOT_KEY_BYTES)}
        for service in {service for service, _ in keys.values()}:
            if (words := self._words(service)).slots:
                self.standing[service] = words
        for key, (service, generation) in keys.items():
            standing = self.standing.get(service)
            if standing is None or standing.generation != generation:
                bpf.delete(self._slots, key)
                continue
            raw = bpf.look_up(self._slots, key, SLOT_BYTES)
            if raw is not None:
                self._serving.setdefault(service, set()).add(Address.unpack(raw))
        self._generation = max((generation for _, generation in keys.values()), default=0)
        known = {(service, member) for service, members in self._serving.items() for member in members}
        self._leaving = set(self._seats.roles()) - known

    def _words(self, service: Address) -> ServiceWords:
        raw = bpf.look_up(self._services, service.pack(), SERVICE_BYTES)
        return ServiceWords.unpack(raw) if raw is not None else ServiceWords()

    def _turn(self, service: Address) -> int:
        """Say whose turn it is. Those that come before this holds are lost, and their turns given again."""
        return self._words(service).turn

    def _seats_of(self, service: Address, members: set[Address]) -> dict[Address, Seat]:
        seats = {}
        for member in members:
            seats[member], is_new = self._seats.give((service, member))
            if is_new:
                # Until it is in use: if the rest does not fit, the next sweep takes it out.
                self._leaving.add((service, member))
        return seats

    def _write_slots(self, service: Address, words: ServiceWords, order: Iterable[bytes]) -> None:
        slots = {slot_key(service, at, words.generation): one for at, one in enumerate(order)}
        if bpf_entries.update_each(self._slots, slots) < len(slots):
            raise NoRoom("direct_slots")

    def _leave(self, service: Address, staying: set[Address]) -> None:
        gone = self._serving.pop(service, set()) - staying
        self._leaving |= {(service, member) for member in gone}
        self._leaving -= {(service, member) for member in staying}
        if staying:
            self._serving[service] = staying

    def _wipe(self, service: Address, words: ServiceWords) -> None:
        for at in range(words.slots):
            bpf.delete(self._slots, slot_key(service, at, words.generation))

    def _next_generation(self) -> int:
        self._generation = (self._generation + 1) % GENERATIONS
        return self._generation
