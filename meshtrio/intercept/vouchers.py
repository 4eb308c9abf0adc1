"""Shell. Whose connections come from which source, as the workers of a node vouch for each other.

For connections between two workloads of one node that are not encrypted (`mtls.same_node: kernel`). The map
is the kernel's, made by the agent and handed to its workers alone; no program reads it. A worker that dials
for a workload notes the connection before it sends a byte, and who accepts it takes the note away.
"""

import struct

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.layout import place

_LRU_HASH = 9  # BPF_MAP_TYPE_LRU_HASH, linux/bpf.h
_KEY_BYTES, _VALUE_BYTES = 32 + 24, 4
ENTRIES = 8192
"""How many are kept. A note is taken within milliseconds; full: the oldest goes, and its caller is
anonymous."""


class Vouchers:
    """The notes."""

    def __init__(self, descriptor: int) -> None:
        """Borrow the descriptor of the map."""
        self._descriptor = descriptor

    @staticmethod
    def make() -> int:
        """Make the map, and return its descriptor, which is the caller's. OSError if it cannot be had."""
        return bpf.create_map(_LRU_HASH, "vouchers", (_KEY_BYTES, _VALUE_BYTES, ENTRIES))

    def vouch(self, netns: int, source: Address, to: Address, workload: int) -> None:
        """Note that what comes from `source` to `to`, in that namespace, is this workload's."""
        bpf.update(self._descriptor, _key(netns, source, to), struct.pack("<I", workload))

    def take(self, netns: int, source: Address, to: Address) -> int | None:
        """Return whose connection that is, and forget it. None: nobody has vouched."""
        raw = bpf.take_out(self._descriptor, _key(netns, source, to), _VALUE_BYTES)
        return int(struct.unpack("<I", raw)[0]) if raw else None


def _key(netns: int, source: Address, to: Address) -> bytes:
    return place(netns, source) + struct.pack("<18s6x", to.pack())
