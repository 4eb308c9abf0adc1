"""Shell. Many entries of maps at once: written, or read. A part of bpf.py."""

import contextlib
import ctypes
import errno
import struct
from collections.abc import Mapping

from meshtrio.intercept import bpf

_LOOKUP_BATCH = 24


def update_each(descriptor: int, entries: Mapping[bytes, bytes]) -> int:
    """Set the values of keys, each of one length, in one call (Linux 5.6). Returns how many fit."""
    keys = ctypes.create_string_buffer(b"".join(entries))
    values = ctypes.create_string_buffer(b"".join(entries.values()))
    at = bytearray(
        struct.pack(
            "<QQQQIIQQ",
            0,
            0,
            ctypes.addressof(keys),
            ctypes.addressof(values),
            len(entries),
            descriptor,
            0,
            0,
        )
    )
    try:
        bpf.call(bpf.MAP_UPDATE_BATCH, at)
    except OSError as stopped:
        if stopped.errno not in (errno.E2BIG, errno.ENOMEM):
            raise
        return int(struct.unpack_from("<I", at, 32)[0])
    return len(entries)


def first_values(descriptor: int, most: int, value_bytes: int) -> bytes:
    """Return the values of an array from its begin on, so many at most, in one call (Linux 5.6)."""
    keys, after = ctypes.create_string_buffer(4 * most), ctypes.create_string_buffer(4)
    values = ctypes.create_string_buffer(value_bytes * most)
    at = bytearray(
        struct.pack(
            "<QQQQIIQQ",
            0,
            ctypes.addressof(after),
            ctypes.addressof(keys),
            ctypes.addressof(values),
            most,
            descriptor,
            0,
            0,
        )
    )
    with contextlib.suppress(FileNotFoundError):  # how it says that it has no more than that
        bpf.call(_LOOKUP_BATCH, at)
    (count,) = struct.unpack_from("<I", at, 32)
    return values.raw[: count * value_bytes]
