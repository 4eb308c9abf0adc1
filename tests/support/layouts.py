"""Shell. Structs of bpf/include/layout.h as C lays them out, and any values for them, for tests."""

import struct
from typing import Any

from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.intercept.direct_layout import Seat
from meshtrio.intercept.followed_layout import DirectLive

u16, u32, u64 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
addresses = st.builds(Address, st.binary(min_size=16, max_size=16), u16)
moments = st.integers(0, 2**30).map(float)
seats = st.builds(Seat, u32, u32)
living = st.builds(DirectLive, addresses, addresses, addresses, u32, u32, u64, moments)


def laid_out(c: dict[str, int], name: str, **fields: tuple[str, Any]) -> bytes:
    """Write a struct as C has it: each field with its format at its offset."""
    raw = bytearray(c[f"sizeof {name}"])
    for field, (form, value) in fields.items():
        struct.pack_into(f"<{form}", raw, c[f"{name}.{field}"], value)
    return bytes(raw)


def seated(c: dict[str, int], seat: Seat) -> bytes:
    return laid_out(c, "seat", index=("I", seat.index), holder=("I", seat.holder))


def lives(c: dict[str, int], live: DirectLive) -> bytes:
    return laid_out(
        c,
        "live",
        source=("18s", live.source.pack()),
        destination=("18s", live.destination.pack()),
        member=("18s", live.member.pack()),
        workload=("I", live.workload),
        called=("I", live.called),
        netns=("Q", live.netns),
        began=("Q", int(live.began_at * 1e9)),
    )
