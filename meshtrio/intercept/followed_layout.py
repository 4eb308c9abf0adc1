"""Core. The bytes of direct connections that kernel and user space share: bpf/include/layout.h, from Python.

A part of layout.py, which has the rest. A test compiles the C side and compares.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from meshtrio.address import Address
from meshtrio.intercept.direct_layout import Seat

LIVE_BYTES = 80
FOLLOWED_BYTES = 112
BERTH_BYTES = 128
BERTHS = 4096
ENDED_BYTES = 120
COOKIE_BYTES = 8
FLOW_BEGUN = 1
FLOW_RELEASED = 2
FLOW_RETRANSMITTED = 4
FLOW_ASTRAY = 8
_FOLLOWS = struct.Struct("<8xQIII")
"""What is behind the live part of `struct followed`."""
_BERTH = struct.Struct("<8xQ112s")
_LIVE, _ENDED = struct.Struct("<18s18s18s2xIIQQ"), struct.Struct("<18s18s18s2xIIQQQQQQII")


class DirectLive(msgspec.Struct, frozen=True):
    """`struct live`: a direct connection. Times are CLOCK_MONOTONIC, seconds."""

    source: Address
    destination: Address
    member: Address
    workload: int
    called: int
    """The workload that it was granted to go to; 0: it needed no grant."""
    netns: int
    began_at: float


class Followed(NamedTuple):
    """`struct followed`: what the hooks know of a connection, or of a connect that did not begin."""

    live: DirectLive
    """If it has not begun, it has no source yet."""
    has_begun: bool
    seat: Seat
    """Where it is counted, if its member has that still."""
    there: int
    """The namespace of the workload that it was granted to go to."""


class DirectEnded(msgspec.Struct, frozen=True):
    """`struct ended`: a direct connection that has ended."""

    was: DirectLive
    cookie: int
    at: float
    sent: int
    received: int
    state: int
    """In which TCP state it was, numbered as in the kernel's net/tcp_states.h."""
    released: bool
    """The process had let go of it."""
    retransmitted: bool
    """Something had to be sent twice."""
    astray: bool = False
    """It did not arrive at the workload that it was granted to go to. It stands, and may send nothing."""


class EndedWords(NamedTuple):
    """`struct ended` as it stands there: of most that have ended no more is needed than this. Times in ns."""

    source: bytes
    destination: bytes
    member: bytes
    workload: int
    called: int
    netns: int
    began: int
    cookie: int
    at: int
    sent: int
    received: int
    state: int
    flags: int

    @property
    def released(self) -> bool:
        """The process had let go of it."""
        return bool(self.flags & FLOW_RELEASED)

    @property
    def retransmitted(self) -> bool:
        """Something had to be sent twice."""
        return bool(self.flags & FLOW_RETRANSMITTED)

    @property
    def astray(self) -> bool:
        """It did not arrive where it was granted to go."""
        return bool(self.flags & FLOW_ASTRAY)

    def whole(self) -> DirectEnded:
        """Give it as a value."""
        return DirectEnded(
            _live(*self[:7]),
            self.cookie,
            self.at / 1e9,
            self.sent,
            self.received,
            self.state,
            self.released,
            self.retransmitted,
            self.astray,
        )


def unpack_followed(raw: bytes) -> Followed:
    """Read `struct followed`."""
    there, index, holder, flags = _FOLLOWS.unpack_from(raw, LIVE_BYTES)
    return Followed(_live(*_LIVE.unpack_from(raw)), bool(flags & FLOW_BEGUN), Seat(index, holder), there)


def unpack_berths(raw: bytes) -> Iterator[tuple[int, Followed]]:
    """Read each `struct berth` that somebody has: the cookie of the socket, and what is known of it."""
    return ((cookie, unpack_followed(known)) for cookie, known in _BERTH.iter_unpack(raw) if cookie)


def unpack_ended(raw: bytes) -> EndedWords:
    """Read `struct ended`."""
    return EndedWords._make(_ENDED.unpack(raw))


def _live(*words: Any) -> DirectLive:
    source, destination, member = map(Address.unpack, words[:3])
    workload, called, netns, began = words[3:]
    return DirectLive(source, destination, member, workload, called, netns, began / 1e9)
