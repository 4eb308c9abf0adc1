"""Core. What sk_msg may do wrong to a connection, and which rungs may be used in spite of it.

sk_msg hands what one socket sends to the socket at the other end, past TCP. The programs at both ends must
not be able to tell. Does not know how a hazard is tried.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec


class Hazard(enum.Enum):
    """One thing that must be as it is with TCP alone; the value is its name on the screen."""

    ORDER = "order"
    """Bytes that wait in the receive queue are not overtaken by redirected ones."""
    LATCH = "latch"
    """A direction whose credit is spent goes on by TCP, in order, and for ever."""
    EARLY = "send before accept"
    """What is sent before the server has accepted arrives, first and whole."""
    BULK = "8 MiB"
    """A large transfer both ways has the digest that was sent, redirected and across the latch."""
    MEMORY = "no reader"
    """A sender whose peer does not read is held up, and no byte is lost by that."""
    EDGES = "epoll edges"
    """Each arrival is an edge of epoll: who has read all is woken again."""
    SHORT_READ = "short read"
    """A read that gives less than was asked for has found all that waits, as epoll(7) promises for edges."""
    LOW_WATER = "SO_RCVLOWAT"
    """A socket is not readable before as much is there as its owner asked for."""
    HALF_CLOSE = "half-close"
    """An end of one direction comes after all of its bytes, and leaves the other direction open."""
    RESET = "reset"
    """A reset shows as one, and not as an end."""
    URGENT = "urgent"
    """Urgent data is urgent at the other end."""
    UNREAD = "close with unread data"
    """Who closes without having read all resets the connection (RFC 2525, 2.17), so the sender knows."""
    COUNT = "FIONREAD"
    """FIONREAD counts what waits, however it came. nginx, Java and .NET believe it."""
    SPLICE = "splice"
    """splice(2) finds what waits, however it came. HAProxy and Go's io.Copy depend on it."""


class Rung(enum.Enum):
    """A way to use sk_msg: between which sockets; the value is its name on the screen."""

    OURS = "R3 door to door"
    """Between the sockets of two doors of ours that speak mutual TLS with each other."""
    DOOR = "R4 app to door"
    """Between a program's socket and ours."""
    APPS = "R5 app to app, by sk_msg"
    """Between two programs' sockets. Grants do without it (bpf/grants.c)."""


# TLS carries nothing urgent, and nobody splices what he must decrypt (plain sockets our relay does splice).
# Our relay does not ask for counts, and makes its resets by SO_LINGER.
_OURS = frozenset(Hazard) - {Hazard.URGENT, Hazard.UNREAD, Hazard.COUNT, Hazard.SPLICE}
# What a program asks of its socket nobody can know before.
NEEDS: Mapping[Rung, frozenset[Hazard]] = {
    Rung.OURS: _OURS,
    Rung.DOOR: frozenset(Hazard),
    Rung.APPS: frozenset(Hazard),
}


class Finding(msgspec.Struct, frozen=True):
    """What a trial saw of one hazard."""

    hazard: Hazard
    wrong: str = ""
    """What was not as with TCP; empty: nothing."""


class Verdict(NamedTuple):
    """Whether a rung may be used on this kernel."""

    rung: Rung
    refused_for: tuple[Hazard, ...]
    """What it needs and the kernel has not; none: it may be used."""


def verdicts(findings: Iterable[Finding]) -> list[Verdict]:
    """Judge each rung by itself, the lowest first: one that is refused does not touch the others.

    What was not tried counts as wrong.
    """
    well = {finding.hazard for finding in findings if not finding.wrong}
    return [
        Verdict(rung, tuple(hazard for hazard in Hazard if hazard in needs - well))
        for rung, needs in NEEDS.items()
    ]
