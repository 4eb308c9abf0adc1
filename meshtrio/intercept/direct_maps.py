"""Shell. What the hooks know of direct services: who serves each address, in which order, what became of it.

Written so that a connect at any moment finds the whole old order or the whole new one: a new generation of
slots is written beside the old one, then the service's entry is replaced in one step, then the old slots go.
Knows addresses, not services. What is here outlives the agent, and a successor finds it by `standing`.
"""

import errno
import struct
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from meshtrio.address import Address
from meshtrio.intercept import bpf, bpf_entries
from meshtrio.intercept.direct_layout import (
    COOKIE_BYTES,
    FOLLOWED_BYTES,
    GENERATIONS,
    MEMBER_BYTES,
    MEMBER_KEY_BYTES,
    SERVICE_BYTES,
    SLOT_KEY_BYTES,
    TURN_BYTES,
    Carried,
    DirectLive,
    EndedWords,
    Pick,
    ServiceWords,
    member_key,
    slot_key,
    unpack_ended,
    unpack_followed,
    unpack_member_key,
    unpack_slot_key,
)
from meshtrio.intercept.layout import ADDRESS_BYTES
from meshtrio.intercept.ringbuf import RingBuffer


class NoRoom(Exception):
    """A map is full; the service is as it was before."""


class DirectMaps:
    """The maps of direct services. One writer."""

    def __init__(self, maps: Mapping[str, int]) -> None:
        """Borrow the descriptors, and take out what a predecessor did not finish."""
        self._services = maps["services"]
        self._slots = maps["direct_slots"]
        self._turns = maps["direct_turns"]
        self._members = maps["direct_members"]
        self._live = maps["direct_live"]
        self._ended = RingBuffer(maps["direct_ended"])
        self.standing: dict[Address, ServiceWords] = {}
        """The addresses that are direct now."""
        self._serving: dict[Address, set[Address]] = {}
        self._leaving: set[tuple[Address, Address]] = set()
        self._generation = 0
        self._take_over()

    def put(self, service: Address, pick: Pick, order: Sequence[Address]) -> None:
        """Let the hooks pick from this order from now on. NoRoom if it does not fit; then all is as before.

        Who is not in it gets no connection that begins after this.
        """
        before = self.standing.get(service)
        words = ServiceWords(self._next_generation(), len(order), pick)
        slots = {slot_key(service, at, words.generation): one.pack() for at, one in enumerate(order)}
        members = set(order)
        try:
            self._write_slots(slots)
            self._make_room_for(service, members)
            bpf.update(self._services, service.pack(), words.pack())
        except BaseException as failed:
            self._wipe(service, words)
            if before is None:
                bpf.delete(self._turns, service.pack())
            if isinstance(failed, OSError) and failed.errno in (errno.E2BIG, errno.ENOMEM):
                raise NoRoom("a map of direct services") from failed
            raise
        self.standing[service] = words
        if before is not None:
            self._wipe(service, before)
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
        bpf.delete(self._turns, service.pack())
        self._leave(service, set())

    def carried(self) -> dict[tuple[Address, Address], Carried]:
        """Return what each member of each address has carried, those included that leave."""
        found = {}
        for key in list(bpf.keys(self._members, MEMBER_KEY_BYTES)):
            raw = bpf.look_up(self._members, key, MEMBER_BYTES)
            if raw is not None:
                found[unpack_member_key(key)] = Carried.unpack(raw)
        return found

    def live(self) -> Iterator[tuple[int, DirectLive]]:
        """Walk over the direct connections that live, by the cookies of their sockets."""
        for key, live, has_begun in self._followed():
            if has_begun:
                yield struct.unpack("<Q", key)[0], live

    def forget_unbegun(self, workload: int) -> None:
        """Take out what sockets of a workload keep of connects that did not begin: its hooks are gone."""
        for key, live, has_begun in self._followed():
            if live.workload == workload and not has_begun:
                bpf.delete(self._live, key)

    def ended(self, most: int) -> list[EndedWords]:
        """Take out the connections that have ended, so many at most, the oldest first."""
        return list(map(unpack_ended, self._ended.take(most)))

    @property
    def failing(self) -> int:
        """A descriptor that wakes whoever waits until it is readable when a connection has failed."""
        return self._ended.descriptor

    def established(self, service: Address, member: Address) -> int:
        """Say how many connections of a member came to stand since it serves; 0 if it is not known."""
        raw = bpf.look_up(self._members, member_key(service, member), MEMBER_BYTES)
        return Carried.unpack(raw).established if raw is not None else 0

    def lose(self, cookie: int, live: DirectLive) -> None:
        """Follow this connection no more: the hooks of its workload are gone, so they will not see its end.

        A connection of another workload to the same member that begins or ends in this microsecond may be
        counted wrong, because the kernel adds to an entry and we can only replace it.
        """
        if not bpf.delete(self._live, struct.pack("<Q", cookie)):
            return
        key = member_key(live.destination, live.member)
        raw = bpf.look_up(self._members, key, MEMBER_BYTES)
        if raw is not None:
            was = Carried.unpack(raw)
            bpf.update(self._members, key, replace(was, active=was.active - 1).pack())

    def sweep(self) -> None:
        """Take out members that have left and whose last connection has ended."""
        for service, member in list(self._leaving):
            key = member_key(service, member)
            raw = bpf.look_up(self._members, key, MEMBER_BYTES)
            if raw is not None and Carried.unpack(raw).active > 0:
                continue
            last = bpf.take_out(self._members, key, MEMBER_BYTES)
            if last is not None and Carried.unpack(last).active > 0:
                bpf.update(self._members, key, last)  # one began between looking and taking out
            else:
                self._leaving.discard((service, member))

    def _followed(self) -> Iterator[tuple[bytes, DirectLive, bool]]:
        for key in list(bpf.keys(self._live, COOKIE_BYTES)):
            raw = bpf.look_up(self._live, key, FOLLOWED_BYTES)
            if raw is not None:
                yield key, *unpack_followed(raw)

    def _take_over(self) -> None:
        for key in list(bpf.keys(self._turns, ADDRESS_BYTES)):
            raw = bpf.look_up(self._services, key, SERVICE_BYTES)
            words = ServiceWords.unpack(raw) if raw is not None else ServiceWords()
            if words.slots:
                self.standing[Address.unpack(key)] = words
            else:
                bpf.delete(self._turns, key)
        generations = [words.generation for words in self.standing.values()]
        for key in list(bpf.keys(self._slots, SLOT_KEY_BYTES)):
            service, generation = unpack_slot_key(key)
            generations.append(generation)
            standing = self.standing.get(service)
            if standing is None or standing.generation != generation:
                bpf.delete(self._slots, key)
                continue
            raw = bpf.look_up(self._slots, key, ADDRESS_BYTES)
            if raw is not None:
                self._serving.setdefault(service, set()).add(Address.unpack(raw))
        self._generation = max(generations, default=0)
        known = {(service, member) for service, members in self._serving.items() for member in members}
        found = {unpack_member_key(key) for key in bpf.keys(self._members, MEMBER_KEY_BYTES)}
        self._leaving = found - known

    def _write_slots(self, slots: Mapping[bytes, bytes]) -> None:
        if bpf_entries.update_each(self._slots, slots) < len(slots):
            raise NoRoom("direct_slots")

    def _make_room_for(self, service: Address, members: set[Address]) -> None:
        bpf_entries.insert(self._turns, service.pack(), bytes(TURN_BYTES))
        for member in members:
            if bpf_entries.insert(self._members, member_key(service, member), Carried().pack()):
                # Until it is in use: if the rest does not fit, the next sweep takes it out.
                self._leaving.add((service, member))

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
