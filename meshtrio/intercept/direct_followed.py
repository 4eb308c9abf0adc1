"""Shell. What the hooks know of direct connections that live: found, and taken out when nobody else will.

Most of them have berths, an array; the others are in a hash (bpf/berths.c says which and why).
"""

import struct
from collections.abc import Iterator

from meshtrio.intercept import bpf, bpf_entries
from meshtrio.intercept.followed_layout import (
    BERTH_BYTES,
    BERTHS,
    COOKIE_BYTES,
    FOLLOWED_BYTES,
    Followed,
    unpack_berths,
    unpack_followed,
)


class DirectFollowed:
    """The maps of direct connections that live. The hooks write them; we only take out."""

    def __init__(self, berths: int, crowd: int) -> None:
        """Borrow the descriptors."""
        self._berths = berths
        self._crowd = crowd

    def all(self) -> Iterator[tuple[int, Followed]]:
        """Walk over all, by the cookies of their sockets, those included that have not begun."""
        yield from unpack_berths(bpf_entries.first_values(self._berths, BERTHS, BERTH_BYTES))
        for key in list(bpf.keys(self._crowd, COOKIE_BYTES)):
            found = bpf.look_up(self._crowd, key, FOLLOWED_BYTES)
            if found is not None:
                yield struct.unpack("<Q", key)[0], unpack_followed(found)

    def take_out(self, cookie: int) -> bool:
        """Forget what is known of a socket's connection; False if that is nothing.

        Only if no hook will meet that socket: there is a moment between looking at a berth and emptying it.
        """
        index = struct.pack("<I", cookie % BERTHS)
        raw = bpf.look_up(self._berths, index, BERTH_BYTES)
        if raw is None or [whose for whose, _ in unpack_berths(raw)] != [cookie]:
            return bpf.delete(self._crowd, struct.pack("<Q", cookie))
        bpf.update(self._berths, index, bytes(BERTH_BYTES))
        return True
