"""Core. The bytes of grants that kernel and user space share: bpf/include/layout.h, from Python.

A part of layout.py, which has the rest. A test compiles the C side and compares.
"""

import struct

from meshtrio.address import Address
from meshtrio.intercept.followed_layout import DirectLive

GRANTEE_BYTES = 24
GRANT_BYTES = 16
PASSAGE_BYTES = 48
PASSENGER_BYTES = 16
_GRANTEE, _GRANT, _PASSAGE = struct.Struct("<18s2xI"), struct.Struct("<QI4x"), struct.Struct("<Q18s18s4x")


def grantee(service: Address, workload: int) -> bytes:
    """Pack `struct grantee`."""
    return _GRANTEE.pack(service.pack(), workload)


def unpack_grantee(raw: bytes) -> tuple[Address, int]:
    """Read it: the service, and who may go there."""
    service, workload = _GRANTEE.unpack(raw)
    return Address.unpack(service), workload


def grant(until: float, generation: int) -> bytes:
    """Pack `struct grant`; `until` is CLOCK_MONOTONIC, seconds."""
    return _GRANT.pack(int(until * 1e9), generation)


def unpack_grant(raw: bytes) -> tuple[float, int]:
    """Read it: until when, and the generation of the slots."""
    until, generation = _GRANT.unpack(raw)
    return until / 1e9, generation


def passage(netns: int, one: DirectLive) -> bytes:
    """Pack `struct passage`: a connection as it comes into the namespace of the workload that it goes to."""
    return _PASSAGE.pack(netns, one.source.pack(), one.member.pack())


def unpack_passenger(raw: bytes) -> int:
    """Read of `struct passenger` the cookie of the calling socket."""
    return int(struct.unpack_from("<Q", raw)[0])
