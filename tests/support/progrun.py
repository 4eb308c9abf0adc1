"""Shell. BPF_PROG_TEST_RUN, which bcc does not wrap: run a loaded program on a context that the test makes.

Not every type can be run so: sock_addr, sock_ops and cgroup sock programs are refused by the kernel
(ENOTSUPP). sk_lookup can, since 5.13.
"""

import ctypes
import ipaddress
import struct
from typing import NamedTuple

from meshtrio.intercept import bpf

SK_LOOKUP_BYTES = 72
"""sizeof(struct bpf_sk_lookup) as of 5.17; older kernels want 64, and take more if it is zero."""


class Run(NamedTuple):
    """What came of one run."""

    verdict: int
    duration_ns: int
    socket_cookie: int
    """The socket that sk_lookup chose; 0 for none."""


def lookup_context(remote: tuple[str, int], local: tuple[str, int], *, protocol: int = 6) -> bytes:
    """Build `struct bpf_sk_lookup` for a packet from `remote` to `local`."""
    there, here = ipaddress.ip_address(remote[0]), ipaddress.ip_address(local[0])
    family = 2 if there.version == 4 else 10

    def words(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
        return ip.packed + bytes(16) if ip.version == 4 else bytes(4) + ip.packed

    context = struct.pack("<QII", 0, family, protocol) + words(there)
    context += remote[1].to_bytes(2, "big") + bytes(2) + words(here) + struct.pack("<I", local[1])
    return context.ljust(SK_LOOKUP_BYTES, b"\0")


def run_lookup(program: int, context: bytes, *, repeat: int = 1) -> Run:
    """Run a sk_lookup program in the calling thread's network namespace."""
    buffer = ctypes.create_string_buffer(context, len(context))
    at = ctypes.addressof(buffer)
    # union bpf_attr, struct "test": fd, retval, data sizes and pointers, repeat, duration, context sizes and
    # pointers, flags, cpu, batch size. A lookup has no data.
    attributes = bytearray(
        struct.pack(
            "<IIIIQQIIIIQQIIII",
            program,
            0,
            0,
            0,
            0,
            0,
            repeat,
            0,
            len(context),
            len(context),
            at,
            at,
            0,
            0,
            0,
            0,
        )
    )
    bpf.call(bpf.PROG_TEST_RUN, attributes)
    verdict, duration = (
        struct.unpack_from("<I", attributes, 4)[0],
        struct.unpack_from("<I", attributes, 36)[0],
    )
    return Run(verdict, duration, struct.unpack_from("<Q", buffer.raw)[0])
