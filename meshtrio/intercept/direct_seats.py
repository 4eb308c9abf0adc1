"""Shell. Where the hooks count what each member of a direct service carries: seats, and who has which.

A connection is counted by the index of its member's seat, for to look a number up costs the hooks nothing.
Each holder of a seat has a number: when it leaves, the seat gets another, and what began with an earlier
holder counts for nobody from then on. `direct_seats` says who has which, for us alone; what nobody has there
is free. Knows members in their roles, not services.
"""

import errno
import struct
from collections import deque
from collections.abc import Iterator
from itertools import filterfalse

from msgspec.structs import replace

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import (
    MEMBER_BYTES,
    MEMBER_KEY_BYTES,
    SEAT_BYTES,
    Carried,
    Seat,
    member_key,
    unpack_member_key,
)

Role = tuple[Address, Address]
"""A service's address, and an endpoint that serves there."""
HOLDERS = 1 << 32


class NoRoom(Exception):
    """A map is full; the service is as it was before."""


class DirectSeats:
    """The seats of members, in two maps. One writer."""

    def __init__(self, seats: int, members: int) -> None:
        """Borrow the descriptors, and take back the seats that a predecessor had begun to take back."""
        self._seats = seats
        self._members = members
        taken = set()
        for key in list(bpf.keys(seats, MEMBER_KEY_BYTES)):
            seat = self._seat(key)
            if seat is not None and self._look_at(seat) is None:
                bpf.delete(seats, key)
            elif seat is not None:
                taken.add(seat.index)
        self._fresh = max(taken, default=-1) + 1
        """From this one on nobody has had any."""
        self._free = deque(filterfalse(taken.__contains__, range(self._fresh)))
        """They are given when no fresh one is left, and who is free for longest first: a hook that has looked
        at the holder just before a seat was taken back, and then counts, has long done so."""

    def give(self, role: Role) -> tuple[Seat, bool]:
        """Return the seat of a member, and whether it is new: nothing is counted. NoRoom if none is free."""
        key = member_key(*role)
        seat = self._seat(key)
        if seat is not None:
            return seat, False
        is_fresh, index = True, self._fresh
        raw = bpf.look_up(self._members, struct.pack("<I", index), MEMBER_BYTES)
        if raw is None and self._free:
            is_fresh, index = False, self._free[0]
            raw = bpf.look_up(self._members, struct.pack("<I", index), MEMBER_BYTES)
        if raw is None:
            raise NoRoom("direct_members")
        holder, _ = Carried.unpack(raw)
        seat = Seat(index, holder)
        # Such a hook may have counted there since.
        bpf.update(self._members, seat.key, Carried().pack(holder))
        try:
            bpf.update(self._seats, key, seat.pack())
        except OSError as full:
            if full.errno in (errno.E2BIG, errno.ENOMEM):
                raise NoRoom("direct_seats") from full
            raise
        if is_fresh:
            self._fresh += 1
        else:
            self._free.popleft()
        return seat, True

    def roles(self) -> Iterator[Role]:
        """Walk over who has a seat."""
        return map(unpack_member_key, list(bpf.keys(self._seats, MEMBER_KEY_BYTES)))

    def carried(self, role: Role) -> Carried | None:
        """Return what a member has carried; None if it has no seat."""
        seat = self._seat(member_key(*role))
        return self._look_at(seat) if seat is not None else None

    def take_back(self, role: Role) -> None:
        """Let a member have no seat. Its connections that live count for nobody from now on."""
        key = member_key(*role)
        seat = self._seat(key)
        if seat is None:
            return
        # In this order: if we are killed in between, our successor sees that the holder is another.
        bpf.update(self._members, seat.key, Carried().pack((seat.holder + 1) % HOLDERS))
        bpf.delete(self._seats, key)
        self._free.append(seat.index)

    def end_one(self, seat: Seat) -> None:
        """Count a connection as ended, if its member still has this seat.

        What begins or ends there in this microsecond may be counted wrong, because the kernel adds to what
        is there, and we can only replace it.
        """
        was = self._look_at(seat)
        if was is not None:
            bpf.update(self._members, seat.key, replace(was, active=was.active - 1).pack(seat.holder))

    def _seat(self, key: bytes) -> Seat | None:
        raw = bpf.look_up(self._seats, key, SEAT_BYTES)
        return Seat.unpack(raw) if raw is not None else None

    def _look_at(self, seat: Seat) -> Carried | None:
        raw = bpf.look_up(self._members, seat.key, MEMBER_BYTES)
        holder, carried = Carried.unpack(raw) if raw is not None else (None, None)
        return carried if holder == seat.holder else None
