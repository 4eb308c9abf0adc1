"""Shell. Further ways to write entries of maps: only where there is none, many at once. A part of bpf.py."""

import ctypes
import errno
import struct
from collections.abc import Mapping

from meshtrio.intercept import bpf

_NOEXIST = 1


def insert(descriptor: int, key: bytes, value: bytes) -> bool:
    """Set the value of a key that is not there yet; False if it is. E2BIG or ENOMEM when the map is full."""
    key_buffer = ctypes.create_string_buffer(key, len(key))
    raw = ctypes.create_string_buffer(value, len(value))
    attributes = struct.pack(
        "<IIQQQ", descriptor, 0, ctypes.addressof(key_buffer), ctypes.addressof(raw), _NOEXIST
    )
    try:
        bpf.call(bpf.MAP_UPDATE, attributes)
    except FileExistsError:
        return False
    return True


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
