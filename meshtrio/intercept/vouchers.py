"""Shell. Whose connections come from which source, as the workers of a node vouch for each other.

For connections between two workloads of one node that are not encrypted (`mtls.same_node: kernel`). No
program reads the map. A worker that dials for a workload notes the connection before it sends a byte, and who
accepts it takes the note away.
"""

import struct

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.layout import VOUCHER_WORKLOAD_BYTES, voucher


class Vouchers:
    """The notes."""

    def __init__(self, descriptor: int) -> None:
        """Borrow the descriptor of the map."""
        self._descriptor = descriptor

    def vouch(self, netns: int, source: Address, to: Address, workload: int) -> None:
        """Note that what comes from `source` to `to`, in that namespace, is this workload's."""
        bpf.update(self._descriptor, voucher(netns, source, to), struct.pack("<I", workload))

    def take(self, netns: int, source: Address, to: Address) -> int | None:
        """Return whose connection that is, and forget it. None: nobody has vouched."""
        raw = bpf.take_out(self._descriptor, voucher(netns, source, to), VOUCHER_WORKLOAD_BYTES)
        return int(struct.unpack("<I", raw)[0]) if raw else None
