"""Shell. What a member of a direct service, or of one of UDP, seems to have carried, for tests: written into
the hooks' maps, by its seat.
"""

from collections.abc import Mapping

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.direct_layout import SEAT_BYTES, Carried, Seat, member_key


def seat_of(maps: Mapping[str, int], service: Address, member: Address, kind: str = "direct") -> Seat:
    """Return the seat of a member."""
    raw = bpf.look_up(maps[f"{kind}_seats"], member_key(service, member), SEAT_BYTES)
    assert raw is not None
    return Seat.unpack(raw)


def let_carry(
    maps: Mapping[str, int], role: tuple[Address, Address], carried: Carried, kind: str = "direct"
) -> None:
    """Let a member have carried this."""
    seat = seat_of(maps, *role, kind)
    bpf.update(maps[f"{kind}_members"], seat.key, carried.pack(seat.holder))
